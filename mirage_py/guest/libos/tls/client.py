# SPDX-License-Identifier: MIT
"""A TLS client's context: what all its connections share. No I/O, no clock."""

from .client13 import ClientHandshake
from .connection import MAX_SEALED, Connection
from .errors import INTERNAL_ERROR, TlsError
from .offer import Offer
from .schedule import Schedule


class ClientContext:
    """crypto: primitives (crypto.py). verifier: of servers' certificates (x509/verify.py); None where no connection
    verifies. credentials: of ours, for servers that ask. alpn: names (bytes) that we offer, preferred first.

    record_size_limit: octets of plaintext in a record that servers are asked to keep to, 64 to 16384; None: not asked.
    v12: what makes handshakes of TLS 1.2 (connection.py), or None. keylog: callable(line) or None: whoever has those
    lines can read the connections.

    counters: handshakes (complete ones), resumed, failures, truncated (transports that ended without close_notify).
    """

    def __init__(self, crypto, verifier, *, credentials=(), alpn=(), record_size_limit=None, v12=None, keylog=None):
        if record_size_limit is not None and not 64 <= record_size_limit <= 16384:
            raise ValueError("record_size_limit: 64 to 16384")
        self.crypto = crypto
        self.verifier = verifier
        self.alpn = alpn
        self.record_size_limit = record_size_limit
        self.v12 = v12
        self.keylog = keylog
        self.max_sealed = MAX_SEALED
        self.counters = {"handshakes": 0, "resumed": 0, "failures": 0, "truncated": 0}
        self.schedules = {}
        self.replace(credentials)

    def replace(self, credentials):
        """Connections that begin from now on have these certificates of ours."""
        self.credentials = credentials or ()

    def engine(self, hostname, now_ms, wall_s, session=None, verify=True):
        """A connection (connection.py) whose first output is the ClientHello.

        hostname: text, for the server's choice of a certificate and our check of it; None without either. wall_s: Unix
        seconds, or None when they are unknown. session: of an earlier connection, to resume it; where it cannot be, the
        handshake is a full one. What makes verifying impossible is the connection's error at once; nothing is sent.
        """
        connection = Connection(self, now_ms)
        if hostname is not None:
            hostname = hostname.lower()
            connection.server_name = hostname
        if verify and (wall_s is None or hostname is None or self.verifier is None):
            what = "the time is" if wall_s is None else "the host's name is" if hostname is None else "whom to trust is"
            connection.fail(TlsError(INTERNAL_ERROR, what + " unknown: the server cannot be verified"), False)
            return connection
        if session is not None and not session.can_resume(hostname, now_ms, wall_s, verify):
            session = None
        connection.handshake = ClientHandshake(connection, Offer(self, hostname, wall_s, session, verify))
        return connection

    def schedule(self, bits):
        found = self.schedules.get(bits)
        if found is None:
            found = self.schedules[bits] = Schedule(self.crypto, bits)
        return found
