# SPDX-License-Identifier: MIT
"""After a handshake of TLS 1.3 (RFC 8446 section 4.6): KeyUpdate, both ways. A client: client13.py."""

from .codec import KEY_UPDATE
from .errors import DECODE_ERROR, ILLEGAL_PARAMETER, UNEXPECTED_MESSAGE, TlsError
from .record import HANDSHAKE


class Established:
    """The `handshake` of an established connection (connection.py)."""

    max_bytes = 1

    def __init__(self, connection):
        self.connection = connection

    def receive(self, kind, message):
        if kind != KEY_UPDATE:
            raise TlsError(UNEXPECTED_MESSAGE, "message %d after the handshake" % kind)
        if len(message) != 5:
            raise TlsError(DECODE_ERROR, "malformed KeyUpdate")
        if message[4] > 1:
            raise TlsError(ILLEGAL_PARAMETER, "KeyUpdate asks for what there is not")
        connection = self.connection
        # Who changes keys again and again and sends nothing only makes us work (BoringSSL bears 32, too).
        connection.note_idle()
        connection.set_reader(connection.reader.successor())
        if message[4] and not connection.is_closed and connection.queue_update():
            self.update_keys(False)

    def change_cipher_spec(self):
        raise TlsError(UNEXPECTED_MESSAGE, "change_cipher_spec after the handshake")

    def update_keys(self, request_peer):
        connection = self.connection
        connection.write(HANDSHAKE, b"\x18\x00\x00\x01\x01" if request_peer else b"\x18\x00\x00\x01\x00")
        connection.set_writer(connection.writer.successor())

    def limit_reached(self):
        self.update_keys(False)
