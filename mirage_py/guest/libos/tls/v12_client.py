# SPDX-License-Identifier: MIT
"""The client's side of a TLS 1.2 handshake (RFC 5246 section 7, RFC 8422), and of resuming by a ticket (RFC 5077)."""

import struct

from micropython import const

from . import authentication, codec, v12
from .codec import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CERTIFICATE_VERIFY,
    FINISHED,
    NEW_SESSION_TICKET,
    extension,
    message,
    vector8,
    vector16,
)
from .errors import (
    BAD_CERTIFICATE,
    DECODE_ERROR,
    HANDSHAKE_FAILURE,
    ILLEGAL_PARAMETER,
    UNEXPECTED_MESSAGE,
    UNSUPPORTED_EXTENSION,
    TlsError,
)
from .session import Session
from .v12 import CHANGE_CIPHER_SPEC, HANDSHAKE, SPEC, SUITES

_SERVER_KEY_EXCHANGE = const(12)
_SERVER_HELLO_DONE = const(14)
_CLIENT_KEY_EXCHANGE = const(16)
_NAMED_CURVE = const(3)
_MAX_MESSAGE = const(65536)
# Where a server says nothing of it.
_LIFETIME_S = const(3600)


class ClientVersion12:
    """A context's `v12` (connection.py). crypto: the context's."""

    def __init__(self, crypto):
        self.suites = b""
        for aead in crypto.aeads:
            for number in (0xC02B, 0xCCA9, 0xC02C, 0xC02F, 0xCCA8, 0xC030):
                suite = SUITES[number]
                kinds = ("rsa",) if suite[5] else ("p256", "p384", "ed25519")
                if suite[1] == aead and any([kind in kinds for kind in crypto.key_kinds]):
                    self.suites += struct.pack(">H", number)

    def extensions(self, session):
        ticket = session.ticket if session is not None and session.version == 0x0303 else b""
        return b"".join(
            (
                extension(codec.EXT_POINT_FORMATS, b"\x01\0"),
                extension(codec.EXT_MASTER_SECRET, b""),
                extension(codec.EXT_SESSION_TICKET, ticket),
                extension(codec.EXT_RENEGOTIATION_INFO, b"\0"),
            )
        )

    def client(self, connection, offer, hello):
        """The server chose 1.2. offer: Offer; hello: ServerHello."""
        Handshake(connection, offer, hello, self.suites)


class Handshake:
    """The `handshake` (connection.py) from the server's hello to the last Finished."""

    max_bytes = _MAX_MESSAGE

    def __init__(self, connection, offer, hello, suites):
        connection.handshake = self
        connection.version = 0x0303
        self.connection = connection
        self.context = connection.context
        self.offer = offer
        self.server_random = hello.random
        self.log = bytearray(offer.message + hello.message)  # all messages: what a signature of ours would be of
        self.leaf = None
        self.wanted = None  # the schemes of a CertificateRequest
        self.session = None
        self.number = hello.suite
        at = [suites[at] << 8 | suites[at + 1] for at in range(0, len(suites), 2)]
        if self.number not in at:
            raise TlsError(ILLEGAL_PARAMETER, "cipher suite was not offered")
        self.suite = SUITES[self.number]
        connection.cipher = self.suite[0]
        self.bits = self.suite[2]
        crypto = connection.crypto
        self.transcript = (crypto.sha256 if self.bits == 256 else crypto.sha384)(bytes(self.log))
        self._extensions(hello.extensions)
        session = offer.session
        if session is None or session.version != 0x0303 or hello.session_id != offer.session_id:
            if hello.session_id == offer.session_id:
                raise TlsError(ILLEGAL_PARAMETER, "session was not offered")
            self.expected = CERTIFICATE
            return
        if self.number != session.suite:
            raise TlsError(ILLEGAL_PARAMETER, "session resumed with another suite")
        connection.is_resumed = True
        connection.peer_chain = session.peer_chain
        self.master = connection.keep(bytearray(session.secret))
        self._make_keys()
        self.expected = NEW_SESSION_TICKET if self.with_ticket else SPEC

    def _extensions(self, found):
        connection = self.connection
        for kind in found:
            if kind not in (
                codec.EXT_SERVER_NAME,
                codec.EXT_SUPPORTED_GROUPS,
                codec.EXT_POINT_FORMATS,
                codec.EXT_ALPN,
                codec.EXT_MASTER_SECRET,
                codec.EXT_RECORD_SIZE_LIMIT,
                codec.EXT_SESSION_TICKET,
                codec.EXT_RENEGOTIATION_INFO,
            ):
                raise TlsError(UNSUPPORTED_EXTENSION, "extension that was not asked for")
        if found.get(codec.EXT_MASTER_SECRET) != b"":
            raise TlsError(HANDSHAKE_FAILURE, "server without the extended master secret")
        if found.get(codec.EXT_RENEGOTIATION_INFO) != b"\0":
            raise TlsError(HANDSHAKE_FAILURE, "server without secure renegotiation")
        formats = found.get(codec.EXT_POINT_FORMATS)
        if formats is not None and (not formats or formats[0] != len(formats) - 1 or 0 not in formats[1:]):
            raise TlsError(ILLEGAL_PARAMETER, "server that knows no uncompressed points")
        if found.get(codec.EXT_SERVER_NAME):
            raise codec.damaged("ServerHello")
        chosen = found.get(codec.EXT_ALPN)
        if chosen is not None:
            names = codec.alpn_names(chosen, "ServerHello")
            if len(names) != 1 or names[0] not in self.context.alpn:
                raise TlsError(ILLEGAL_PARAMETER, "protocol that was not offered")
            connection.alpn = names[0]
        self.write_limit = None
        limit = found.get(codec.EXT_RECORD_SIZE_LIMIT)
        if limit is not None:
            if self.context.record_size_limit is None:
                raise TlsError(UNSUPPORTED_EXTENSION, "extension that was not asked for")
            if len(limit) != 2:
                raise codec.damaged("ServerHello")
            limit = limit[0] << 8 | limit[1]
            if not 64 <= limit <= 16385:
                raise TlsError(ILLEGAL_PARAMETER, "record_size_limit out of its bounds")
            self.write_limit = min(limit, 16384)
        self.with_ticket = codec.EXT_SESSION_TICKET in found

    # --- the server's flight -----------------------------------------------------------------------------------------

    def receive(self, kind, data):
        expected = self.expected
        if kind == CERTIFICATE_REQUEST and expected == _SERVER_HELLO_DONE and self.wanted is None:
            self._certificate_request(data)
        elif kind != expected:
            raise TlsError(UNEXPECTED_MESSAGE, "message %d where %d was due" % (kind, expected))
        elif kind == CERTIFICATE:
            self._certificate(data)
        elif kind == _SERVER_KEY_EXCHANGE:
            self._key_exchange(data)
        elif kind == _SERVER_HELLO_DONE:
            if len(data) != 4:
                raise TlsError(DECODE_ERROR, "malformed ServerHelloDone")
            self._note(data)
            self._answer()
        elif kind == NEW_SESSION_TICKET:
            self._new_ticket(data)
        else:
            self._finished(data)

    def change_cipher_spec(self):
        if self.expected != SPEC:
            raise TlsError(UNEXPECTED_MESSAGE, "change_cipher_spec where none was due")
        self.connection.set_reader(self.server_keys)
        self.expected = FINISHED

    def _note(self, data):
        """What goes into the transcript."""
        self.transcript.update(data)
        if self.log is not None:
            self.log.extend(data)

    def _certificate(self, data):
        chain = v12.read_chain(data)
        if not chain:
            raise TlsError(DECODE_ERROR, "server without a certificate")
        offer = self.offer
        if offer.is_verifying:
            leaf = authentication.check_chain(self.context.verifier, chain, offer.wall_s, "server", offer.hostname)
            if (leaf.public_key[0] == "rsa") != self.suite[5]:
                raise TlsError(BAD_CERTIFICATE, "certificate whose key is not of the suite's kind")
            self.leaf = leaf
        self.connection.peer_chain = chain
        self._note(data)
        self.expected = _SERVER_KEY_EXCHANGE

    def _key_exchange(self, data):
        connection = self.connection
        crypto = connection.crypto
        reader = codec.Reader(data, "ServerKeyExchange", 4)
        curve_type = reader.number(1)
        group = reader.number(2)
        share = reader.vector(1, 1)
        params = data[4 : reader.at]
        number = reader.number(2)
        signature = reader.vector(2)
        reader.finish()
        if curve_type != _NAMED_CURVE or group not in v12.groups(crypto):
            raise TlsError(ILLEGAL_PARAMETER, "group that was not offered")
        if self.leaf is not None:
            signed = self.offer.random + self.server_random + params
            v12.check_signature(crypto, self.leaf.public_key, number, signed, signature)
        connection.group = group
        private, self.share = crypto.generate(group)
        try:
            self.shared = connection.keep(crypto.agree(group, private, share))
        except ValueError:
            raise TlsError(ILLEGAL_PARAMETER, "key share is no key")
        self._note(data)
        self.expected = _SERVER_HELLO_DONE

    def _certificate_request(self, data):
        reader = codec.Reader(data, "CertificateRequest", 4)
        reader.vector(1, 1)
        self.wanted = codec.numbers(vector16(reader.vector(2, 2)), "CertificateRequest")
        reader.vector(2)
        reader.finish()
        self._note(data)

    # --- our flight --------------------------------------------------------------------------------------------------

    def _answer(self):
        connection = self.connection
        crypto = connection.crypto
        flight = b""
        credential = chosen = None
        if self.wanted is not None:
            for found in self.context.credentials:
                chosen = v12.choose(found.key_kind, self.wanted)
                # P-384 is no group of ours, and in 1.2 a certificate is of a group that was offered (RFC 8422).
                if chosen is not None and found.key_kind != "p384":
                    credential = found
                    break
            flight = v12.write_chain(() if credential is None else credential.chain)
        flight += message(_CLIENT_KEY_EXCHANGE, vector8(self.share))
        self._note(flight)
        hashed = self.transcript.digest()
        master = v12.master_secret(crypto, self.bits, self.shared, hashed)
        # A copy, as a Session has one of its own.
        self.master = connection.keep(bytearray(master))
        crypto.wipe(master)
        if credential is not None:
            number, algorithm = chosen
            signed = credential.signer.sign(algorithm, bytes(self.log))
            proof = message(CERTIFICATE_VERIFY, struct.pack(">H", number) + vector16(signed))
            self.transcript.update(proof)
            flight += proof
        self.log = None
        self._make_keys()
        connection.write(HANDSHAKE, flight)
        self._send_finished()
        self.expected = NEW_SESSION_TICKET if self.with_ticket else SPEC

    def _make_keys(self):
        connection = self.connection
        random = self.offer.random
        if self.context.keylog is not None:
            self.context.keylog("CLIENT_RANDOM %s %s" % (bytes(random).hex(), bytes(self.master).hex()))
        if self.write_limit is not None:
            connection.write_limit = self.write_limit
            # 1.3 counts the octet of the type, and the offer is for either (RFC 8449 section 4).
            connection.read_limit = min(self.context.record_size_limit + 1, 16384)
        self.client_keys, self.server_keys = v12.key_pair(
            connection.crypto, self.suite, self.master, random, self.server_random
        )

    def _send_finished(self):
        connection = self.connection
        connection.write(CHANGE_CIPHER_SPEC, b"\x01")
        connection.set_writer(self.client_keys)
        hashed = self.transcript.digest()
        data = v12.finished(connection.crypto, self.bits, self.master, b"client finished", hashed)
        self.transcript.update(data)
        connection.write(HANDSHAKE, data)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _new_ticket(self, data):
        reader = codec.Reader(data, "NewSessionTicket", 4)
        lifetime_s = reader.number(4) or _LIFETIME_S
        ticket = reader.vector(2)
        reader.finish()
        self.transcript.update(data)
        self.expected = SPEC
        if not ticket:
            return
        connection = self.connection
        offer = self.offer
        before = offer.session if connection.is_resumed else None
        session = Session(0x0303, self.number, bytes(self.master), ticket, lifetime_s, 0, connection.now_ms)
        session.hostname = offer.hostname
        session.is_verified = offer.is_verifying if before is None else before.is_verified
        session.expires_s = getattr(self.leaf, "not_after_s", None) if before is None else before.expires_s
        session.peer_chain = connection.peer_chain
        self.session = session

    def _finished(self, data):
        connection = self.connection
        hashed = self.transcript.digest()
        v12.check_finished(connection.crypto, self.bits, self.master, b"server finished", hashed, data)
        if connection.is_resumed:
            self.transcript.update(data)
            self._send_finished()
            # The server's ticket goes on: TLS 1.2 lets one be used again.
            self.session = self.session or self.offer.session
        connection.session = self.session
        connection.establish(v12.Established(connection, False))
