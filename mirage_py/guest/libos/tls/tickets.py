# SPDX-License-Identifier: MIT
"""Session tickets that hold all that a server has to know of a session (RFC 8446 section 4.6.1, RFC 5077): no state.

A ticket is the name of a key (8 octets), a nonce (12) and what is sealed under that key. The key is the context's own,
is nowhere but in memory, and gives way to a new one; the one before still opens. So what a ticket protects is lost with
the memory of the next four hours at most, and a machine that starts anew knows no ticket.
"""

from micropython import const

from .record import SUITES

LIFETIME_S = const(7200)
_LIFETIME_MS = const(7200000)
_NAME_BYTES = const(8)
_NONCE_BYTES = const(12)
# A longer one is none of ours.
_MAX_TICKET = const(1024)


class TicketKeys:
    def __init__(self, crypto):
        self.crypto = crypto
        self.name = crypto.aeads[0]
        self.key_bytes = [suite[3] for suite in SUITES.values() if suite[1] == self.name][0]
        self.keys = []  # (name, AEAD), the newest first; two at most
        self.made_ms = 0

    def seal(self, state, now_ms):
        """A ticket with the octets `state`."""
        crypto = self.crypto
        if not self.keys or now_ms - self.made_ms >= _LIFETIME_MS:
            self._rotate(now_ms)
        name, aead = self.keys[0]
        nonce = bytes(crypto.random(_NONCE_BYTES))
        return aead.seal(nonce, name, state, name + nonce)

    def open(self, ticket, now_ms):
        """What a ticket holds, or None: not ours, too old, or damaged."""
        if not self.keys or len(ticket) > _MAX_TICKET:
            return None
        if now_ms - self.made_ms >= _LIFETIME_MS:
            self._rotate(now_ms)
        for name, aead in self.keys:
            if ticket[:_NAME_BYTES] == name:
                start = _NAME_BYTES + _NONCE_BYTES
                return aead.open(ticket[_NAME_BYTES:start], name, ticket[start:]) if len(ticket) > start else None
        return None

    def _rotate(self, now_ms):
        crypto = self.crypto
        kept = 1 if self.keys and now_ms - self.made_ms < 2 * _LIFETIME_MS else 0
        for _, aead in self.keys[kept:]:
            aead.wipe()
        fresh = (bytes(crypto.random(_NAME_BYTES)), crypto.aead(self.name, crypto.random(self.key_bytes)))
        self.keys = [fresh] + self.keys[:kept]
        self.made_ms = now_ms
