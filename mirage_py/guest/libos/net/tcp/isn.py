# SPDX-License-Identifier: MIT
"""Initial sequence numbers (RFC 6528) and ports of outgoing connections (RFC 6056, algorithm 3), from a keyed hash.

SHA-256 over key and addresses: a key of 16 octets out of the machine's entropy, new at every boot.
"""

import hashlib

FIRST_PORT = 49152  # RFC 6335: the dynamic ports
PORTS = 65536 - FIRST_PORT


class Secrets:
    """random: bytes(n)."""

    def __init__(self, random):
        self._isn_key = random.bytes(16)
        self._port_key = random.bytes(16)
        self._timestamp_key = random.bytes(16)
        self._next_port = 0

    def isn(self, key, now_ms):
        """The number for the connection with this table key: the 4 us clock of RFC 9293 plus a hash."""
        return (_hash(self._isn_key, key) + now_ms * 250) & 0xFFFFFFFF

    def timestamp_offset(self, key):
        """What is added to the clock in timestamps, so that they tell nothing about uptime (RFC 7323 section 7.1)."""
        return _hash(self._timestamp_key, key)

    def next_port(self, destination):
        """A port to try for a destination (addresses and remote port, as octets). Call again when it is taken."""
        offset = _hash(self._port_key, destination)
        self._next_port += 1
        return FIRST_PORT + (offset + self._next_port) % PORTS


def _hash(secret, data):
    digest = hashlib.sha256(secret + data).digest()
    return digest[0] << 24 | digest[1] << 16 | digest[2] << 8 | digest[3]
