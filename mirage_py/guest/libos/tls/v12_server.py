# SPDX-License-Identifier: MIT
"""The server's side of a TLS 1.2 handshake (RFC 5246 section 7, RFC 8422), and of resuming by a ticket (RFC 5077)."""

import struct

from micropython import const

from . import authentication, codec, v12
from .codec import CERTIFICATE, CERTIFICATE_VERIFY, FINISHED, extension, message, vector8, vector16
from .connection import DOWNGRADE_12
from .errors import (
    HANDSHAKE_FAILURE,
    ILLEGAL_PARAMETER,
    INAPPROPRIATE_FALLBACK,
    UNEXPECTED_MESSAGE,
    TlsError,
)
from .signatures import acceptable
from .tickets import LIFETIME_S
from .v12 import CHANGE_CIPHER_SPEC, HANDSHAKE, SPEC, SUITES

_CLIENT_KEY_EXCHANGE = const(16)
_FALLBACK_SCSV = const(0x5600)  # RFC 7507
_RENEGOTIATION_SCSV = const(0x00FF)  # RFC 5746 section 3.3
_SECP256R1 = const(0x0017)
_SECP384R1 = const(0x0018)
_MAX_CERTIFICATES = const(65536)
_MAX_SHORT = const(1024)
_TICKET_VERSION = b"\x03"


class ServerVersion12:
    """A context's `v12` (connection.py)."""

    def server(self, connection, hello):
        """The client offers no 1.3. hello: ClientHello. Sends our flight."""
        Handshake(connection, hello)


class Handshake:
    """The `handshake` (connection.py) from our ServerHello to the client's Finished."""

    def __init__(self, connection, hello):
        before = connection.handshake
        connection.handshake = self
        self.connection = connection
        self.context = connection.context
        self.wall_s = before.wall_s
        self.max_bytes = _MAX_SHORT
        self.client_random = hello.random
        self.leaf = None
        self.chain = ()
        self.is_resuming = False
        self.with_ticket = False
        self.log = None  # all messages, where a client's signature of them may come
        self._check(hello)
        connection.version = 0x0303
        self.server_random = bytes(connection.crypto.random(24)) + DOWNGRADE_12
        master = self._resume(hello)
        if master is None:
            self._full(hello)
        else:
            self._abbreviated(hello, master)

    def _check(self, hello):
        found = hello.extensions
        if _FALLBACK_SCSV in hello.suites:
            raise TlsError(INAPPROPRIATE_FALLBACK, "the client has fallen back from 1.3, which we speak")
        if codec.EXT_MASTER_SECRET not in found:
            raise TlsError(HANDSHAKE_FAILURE, "client without the extended master secret")
        if found.get(codec.EXT_RENEGOTIATION_INFO, b"\0") != b"\0":
            raise TlsError(HANDSHAKE_FAILURE, "renegotiation of another connection")
        formats = found.get(codec.EXT_POINT_FORMATS)
        if formats is not None and (not formats or formats[0] != len(formats) - 1 or 0 not in formats[1:]):
            raise TlsError(ILLEGAL_PARAMETER, "client that knows no uncompressed points")

    # --- our flight --------------------------------------------------------------------------------------------------

    def _hello(self, hello, session_id, with_ticket):
        """ServerHello; the transcript begins."""
        connection = self.connection
        context = self.context
        found = hello.extensions
        name, _, self.bits, _, _, _ = self.suite
        connection.cipher = name
        connection.alpn = context.choose_alpn(hello.alpn)
        parts = [extension(codec.EXT_MASTER_SECRET, b"")]
        if codec.EXT_RENEGOTIATION_INFO in found or _RENEGOTIATION_SCSV in hello.suites:
            parts.append(extension(codec.EXT_RENEGOTIATION_INFO, b"\0"))
        if codec.EXT_POINT_FORMATS in found:
            parts.append(extension(codec.EXT_POINT_FORMATS, b"\x01\0"))
        if connection.alpn is not None:
            parts.append(extension(codec.EXT_ALPN, codec.alpn_list((connection.alpn,))))
        limit = found.get(codec.EXT_RECORD_SIZE_LIMIT)
        if limit is not None:
            if len(limit) != 2:
                raise codec.damaged("record_size_limit")
            limit = limit[0] << 8 | limit[1]
            if limit < 64:
                raise TlsError(ILLEGAL_PARAMETER, "record_size_limit too small")
            self.write_limit = min(limit, 16384)
            parts.append(extension(codec.EXT_RECORD_SIZE_LIMIT, struct.pack(">H", context.record_size_limit)))
        else:
            self.write_limit = None
        if with_ticket:
            parts.append(extension(codec.EXT_SESSION_TICKET, b""))
        body = b"".join(
            (
                b"\x03\x03",
                self.server_random,
                vector8(session_id),
                struct.pack(">HB", self.number, 0),
                vector16(b"".join(parts)),
            )
        )
        data = message(codec.SERVER_HELLO, body)
        crypto = connection.crypto
        self.transcript = (crypto.sha256 if self.bits == 256 else crypto.sha384)(hello.message)
        self.transcript.update(data)
        return data

    def _full(self, hello):
        connection = self.connection
        context = self.context
        crypto = connection.crypto
        credential, chosen, is_named = context.choose_credential(
            hello.server_name, lambda kind: self._choose(kind, hello)
        )
        self.number, scheme, algorithm = chosen
        self.suite = SUITES[self.number]
        # Where the client names no groups, it is P-256 that all know (RFC 8422 section 4).
        offered = hello.groups or (_SECP256R1,)
        for group in v12.groups(crypto):
            if group in offered:
                break
        else:
            raise TlsError(HANDSHAKE_FAILURE, "no group in common")
        connection.group = group
        found = hello.extensions
        self.with_ticket = context.tickets is not None and codec.EXT_SESSION_TICKET in found
        data = self._hello(hello, b"", self.with_ticket)
        if context.client_auth != "none":
            self.log = bytearray(hello.message + data)
        self.private, share = crypto.generate(group)
        params = b"\x03" + struct.pack(">H", group) + vector8(share)
        signed = credential.signer.sign(algorithm, self.client_random + self.server_random + params)
        flight = v12.write_chain(credential.chain) + message(
            codec.SERVER_KEY_EXCHANGE, params + struct.pack(">H", scheme) + vector16(signed)
        )
        self.expected = _CLIENT_KEY_EXCHANGE
        if context.client_auth != "none":
            self.expected = CERTIFICATE
            self.max_bytes = _MAX_CERTIFICATES
            # ecdsa_sign and rsa_sign; no authorities.
            wanted = b"\x02\x40\x01" + codec.number_list(acceptable(crypto)) + b"\0\0"
            flight += message(codec.CERTIFICATE_REQUEST, wanted)
        flight += message(codec.SERVER_HELLO_DONE, b"")
        self._note(flight)
        connection.write(HANDSHAKE, data + flight)

    def _choose(self, kind, hello):
        """(suite, scheme, algorithm) for a key of that kind; None when the client cannot do with it."""
        curve = _SECP256R1 if kind == "p256" else _SECP384R1 if kind == "p384" else None
        if curve is not None and hello.groups and curve not in hello.groups:
            return None  # RFC 8422 section 5.1
        chosen = v12.choose(kind, hello.schemes)
        if chosen is None:
            return None
        is_rsa = kind == "rsa"
        for aead in self.connection.crypto.aeads:
            for number in hello.suites:
                suite = SUITES.get(number)
                if suite is not None and suite[1] == aead and suite[5] == is_rsa:
                    return (number, chosen[0], chosen[1])
        return None

    # --- resumption (RFC 5077) ---------------------------------------------------------------------------------------

    def _resume(self, hello):
        """The master secret of a ticket of ours, or None."""
        context = self.context
        connection = self.connection
        ticket = hello.extensions.get(codec.EXT_SESSION_TICKET)
        if not ticket or context.tickets is None:
            return None
        state = context.tickets.open(ticket, connection.now_ms)
        if state is None or connection.keep(state)[:1] != _TICKET_VERSION:
            return None
        issued_ms, number = struct.unpack_from(">QH", state, 1)
        if connection.now_ms - issued_ms > LIFETIME_S * 1000 or number not in hello.suites:
            return None
        # Another name may be another certificate, and another service.
        if state[59:] != (hello.server_name or "").encode() or SUITES[number][1] not in connection.crypto.aeads:
            return None
        self.number = number
        return connection.keep(state[11:59])

    def _abbreviated(self, hello, master):
        connection = self.connection
        self.suite = SUITES[self.number]
        self.is_resuming = connection.is_resumed = True
        data = self._hello(hello, hello.session_id, False)
        self.master = master
        self._make_keys()
        connection.write(HANDSHAKE, data)
        self._send_finished()
        self.expected = SPEC

    def _ticket(self):
        connection = self.connection
        state = connection.keep(
            b"".join(
                (
                    _TICKET_VERSION,
                    struct.pack(">QH", connection.now_ms, self.number),
                    self.master,
                    (connection.server_name or "").encode(),
                )
            )
        )
        ticket = self.context.tickets.seal(state, connection.now_ms)
        return message(codec.NEW_SESSION_TICKET, struct.pack(">I", LIFETIME_S) + vector16(ticket))

    # --- the client's flight -----------------------------------------------------------------------------------------

    def receive(self, kind, data):
        if kind != self.expected:
            raise TlsError(UNEXPECTED_MESSAGE, "message %d where %d was due" % (kind, self.expected))
        if kind == _CLIENT_KEY_EXCHANGE:
            self._client_key_exchange(data)
        elif kind == CERTIFICATE:
            self._certificate(data)
        elif kind == CERTIFICATE_VERIFY:
            self._certificate_verify(data)
        else:
            self._finished(data)

    def change_cipher_spec(self):
        if self.expected != SPEC:
            raise TlsError(UNEXPECTED_MESSAGE, "change_cipher_spec where none was due")
        self.connection.set_reader(self.client_keys)
        self.expected = FINISHED

    def _note(self, data):
        """What goes into the transcript."""
        self.transcript.update(data)
        if self.log is not None:
            self.log.extend(data)

    def _certificate(self, data):
        chain = v12.read_chain(data)
        if not chain and self.context.client_auth == "required":
            raise TlsError(HANDSHAKE_FAILURE, "client without a certificate")
        if chain:
            self.leaf = authentication.check_chain(self.context.verifier, chain, self.wall_s, "client")
            self.chain = chain
        else:
            self.log = None
        self._note(data)
        self.max_bytes = _MAX_SHORT
        self.expected = _CLIENT_KEY_EXCHANGE

    def _client_key_exchange(self, data):
        connection = self.connection
        crypto = connection.crypto
        reader = codec.Reader(data, "ClientKeyExchange", 4)
        share = reader.vector(1, 1)
        reader.finish()
        try:
            shared = connection.keep(crypto.agree(connection.group, self.private, share))
        except ValueError:
            raise TlsError(ILLEGAL_PARAMETER, "key share is no key")
        self.private = None
        self._note(data)
        hashed = self.transcript.digest()
        self.master = connection.keep(v12.master_secret(crypto, self.bits, shared, hashed))
        self._make_keys()
        self.expected = SPEC if self.leaf is None else CERTIFICATE_VERIFY

    def _certificate_verify(self, data):
        reader = codec.Reader(data, "CertificateVerify", 4)
        number = reader.number(2)
        signature = reader.vector(2)
        reader.finish()
        v12.check_signature(self.connection.crypto, self.leaf.public_key, number, bytes(self.log), signature)
        self.log = None
        self.transcript.update(data)
        self.connection.peer_chain = self.chain
        self.expected = SPEC

    def _make_keys(self):
        connection = self.connection
        if self.context.keylog is not None:
            self.context.keylog("CLIENT_RANDOM %s %s" % (self.client_random.hex(), bytes(self.master).hex()))
        if self.write_limit is not None:
            connection.write_limit = self.write_limit
            connection.read_limit = self.context.record_size_limit
        self.client_keys, self.server_keys = v12.key_pair(
            connection.crypto, self.suite, self.master, self.client_random, self.server_random
        )

    def _send_finished(self):
        connection = self.connection
        connection.write(CHANGE_CIPHER_SPEC, b"\x01")
        connection.set_writer(self.server_keys)
        hashed = self.transcript.digest()
        data = v12.finished(connection.crypto, self.bits, self.master, b"server finished", hashed)
        self.transcript.update(data)
        connection.write(HANDSHAKE, data)

    def _finished(self, data):
        connection = self.connection
        hashed = self.transcript.digest()
        v12.check_finished(connection.crypto, self.bits, self.master, b"client finished", hashed, data)
        if not self.is_resuming:
            self.transcript.update(data)
            if self.with_ticket:
                # Who has shown a certificate shows it again: for him the ticket is empty (RFC 5077 section 3.3).
                ticket = message(codec.NEW_SESSION_TICKET, bytes(6)) if connection.peer_chain else self._ticket()
                self.transcript.update(ticket)
                connection.write(HANDSHAKE, ticket)
            self._send_finished()
        connection.establish(v12.Established(connection, True))
