# SPDX-License-Identifier: MIT
"""What a client keeps of a connection, to resume it (RFC 8446 section 4.6.1; RFC 5077). Opaque to applications."""


class Session:
    """version: 0x0304 or 0x0303. suite: number. secret: the PSK, or TLS 1.2's master secret. ticket: octets.

    lifetime_ms: from received_ms on, at most seven days. age_add: TLS 1.3's. hostname: what it was verified for.
    is_verified: whether the server's certificate was; until expires_s (Unix seconds; None: not known). peer_chain: list
    of DER.
    """

    def __init__(self, version, suite, secret, ticket, lifetime_s, age_add, received_ms):
        self.version = version
        self.suite = suite
        self.secret = secret
        self.ticket = ticket
        self.lifetime_ms = min(lifetime_s, 604800) * 1000
        self.age_add = age_add
        self.received_ms = received_ms
        self.hostname = None
        self.is_verified = False
        self.expires_s = None
        self.peer_chain = []

    def can_resume(self, hostname, now_ms, wall_s, is_verifying):
        """Whether it is good for that host, still, and was verified where that is wanted."""
        if hostname != self.hostname or not 0 <= now_ms - self.received_ms < self.lifetime_ms:
            return False
        if not is_verifying:
            return True
        return self.is_verified and (self.expires_s is None or (wall_s is not None and wall_s <= self.expires_s))
