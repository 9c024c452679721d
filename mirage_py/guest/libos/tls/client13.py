# SPDX-License-Identifier: MIT
"""The client's side of a TLS 1.3 handshake (RFC 8446 section 2). No I/O, no clock."""

import struct

from . import authentication, codec, schedule
from .codec import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CERTIFICATE_VERIFY,
    ENCRYPTED_EXTENSIONS,
    FINISHED,
    NEW_SESSION_TICKET,
    SERVER_HELLO,
    message,
    vector16,
)
from .errors import (
    DECODE_ERROR,
    DECRYPT_ERROR,
    ILLEGAL_PARAMETER,
    MISSING_EXTENSION,
    PROTOCOL_VERSION,
    UNEXPECTED_MESSAGE,
    UNSUPPORTED_EXTENSION,
    TlsError,
)
from .offer import ServerHello
from .post13 import Established
from .record import CHANGE_CIPHER_SPEC, HANDSHAKE, SUITES, Keys
from .session import Session
from .signatures import CLIENT_CONTEXT, SERVER_CONTEXT, choose

_MAX_MESSAGE = 65536
_MAX_TICKET_MESSAGE = 16384
_X25519 = 0x001D
_X25519MLKEM768 = 0x11EC
_DOWNGRADES = (b"DOWNGRD\x01", b"DOWNGRD\x00")


class ClientHandshake:
    """The `handshake` (connection.py) from our hello to our Finished."""

    max_bytes = _MAX_MESSAGE

    def __init__(self, connection, offer):
        self.connection = connection
        self.context = connection.context
        self.offer = offer
        self.expected = SERVER_HELLO
        self.transcript = None
        self.suite = None
        self.is_retried = False
        self.is_asked = False  # for a certificate of ours
        self.wanted_schemes = ()
        self.leaf = None
        crypto = connection.crypto
        group = crypto.groups[0]
        privates = {group: crypto.generate(group)}
        if group == _X25519MLKEM768 and _X25519 in crypto.groups:
            # Most servers know no ML-KEM yet: they answer at once, too.
            privates[_X25519] = crypto.generate(_X25519)
        self._send_hello(privates)

    def change_cipher_spec(self):
        if self.connection.is_established:
            raise TlsError(UNEXPECTED_MESSAGE, "change_cipher_spec after the handshake")

    def _send_hello(self, privates):
        """privates: {group: (private, share)}."""
        connection = self.connection
        offer = self.offer
        session = offer.session
        self.privates = privates
        shares = [(group, privates[group][1]) for group in connection.crypto.groups if group in privates]
        if session is None or session.version != 0x0304 or session.suite not in offer.suites:
            self.psk = None
            offer.emit(shares)
        else:
            self.psk = session.secret
            offer.emit(shares, (connection.now_ms - session.received_ms + session.age_add) & 0xFFFFFFFF)
            keys = self.context.schedule(SUITES[session.suite][2])
            # A list of one binder: two octets of its length, one of the binder's.
            size = len(offer.message) - 3 - keys.size
            transcript = keys.new_hash() if self.transcript is None else self.transcript.copy()
            transcript.update(memoryview(offer.message)[:size])
            binder = keys.binder(self.psk, transcript.digest())
            offer.message = offer.message[: size + 3] + binder
        if self.transcript is not None:
            self.transcript.update(offer.message)
        connection.write(HANDSHAKE, offer.message)

    def receive(self, kind, data):
        if kind == CERTIFICATE_REQUEST and self.expected == CERTIFICATE and not self.is_asked:
            self._certificate_request(data)
        elif kind != self.expected:
            raise TlsError(UNEXPECTED_MESSAGE, "message %d where %d was due" % (kind, self.expected))
        elif kind == SERVER_HELLO:
            self._server_hello(data)
        elif kind == ENCRYPTED_EXTENSIONS:
            self._encrypted_extensions(data)
        elif kind == CERTIFICATE:
            self._certificate(data)
        elif kind == CERTIFICATE_VERIFY:
            self._certificate_verify(data)
        else:
            self._finished(data)

    # --- the server's hello (section 4.1.3) --------------------------------------------------------------------------

    def _server_hello(self, data):
        connection = self.connection
        offer = self.offer
        hello = ServerHello(data)
        if hello.version != 0x0304:
            if self.is_retried or hello.version != 0x0303 or self.context.v12 is None:
                raise TlsError(PROTOCOL_VERSION, "server speaks no version that was offered")
            if hello.random[24:] in _DOWNGRADES:
                raise TlsError(ILLEGAL_PARAMETER, "downgraded: the server could speak 1.3")
            self.context.v12.client(connection, offer, hello)
            return
        if hello.session_id != offer.session_id:
            raise TlsError(ILLEGAL_PARAMETER, "session id is not ours")
        if hello.suite not in offer.suites or (self.suite is not None and hello.suite != self.suite):
            raise TlsError(ILLEGAL_PARAMETER, "cipher suite was not offered")
        allowed = (codec.EXT_SUPPORTED_VERSIONS, codec.EXT_KEY_SHARE)
        allowed += (codec.EXT_COOKIE if hello.is_retry else codec.EXT_PRE_SHARED_KEY,)
        for kind in hello.extensions:
            if kind not in allowed or (kind != codec.EXT_COOKIE and kind not in offer.sent):
                raise TlsError(UNSUPPORTED_EXTENSION, "extension that was not asked for")
        self.suite = hello.suite
        suite = SUITES[hello.suite]
        keys = self.schedule = self.context.schedule(suite[2])
        connection.version = 0x0304
        connection.cipher = suite[0]
        if hello.is_retry:
            self._retry(hello)
            return
        group, shared = self._agree(hello)
        psk = None
        chosen = hello.extensions.get(codec.EXT_PRE_SHARED_KEY)
        if chosen is not None:
            if len(chosen) != 2:
                raise codec.damaged("ServerHello")
            if chosen != b"\0\0" or self.psk is None or SUITES[offer.session.suite][2] != suite[2]:
                raise TlsError(ILLEGAL_PARAMETER, "PSK was not offered")
            psk = self.psk
            connection.is_resumed = True
        if self.transcript is None:
            self.transcript = keys.new_hash(offer.message)
        self.transcript.update(data)
        connection.group = group
        secret = connection.keep(keys.handshake_secret(connection.keep(shared), psk))
        hashed = self.transcript.digest()
        self.client_secret = connection.keep(keys.expand(secret, schedule.CLIENT_HANDSHAKE, hashed))
        self.server_secret = connection.keep(keys.expand(secret, schedule.SERVER_HANDSHAKE, hashed))
        if self.context.keylog is not None:
            self._log("CLIENT_HANDSHAKE_TRAFFIC_SECRET", self.client_secret)
            self._log("SERVER_HANDSHAKE_TRAFFIC_SECRET", self.server_secret)
        if not self.is_retried:
            self._send_spec()
        connection.set_reader(Keys(connection.crypto, suite, self.server_secret))
        connection.set_writer(Keys(connection.crypto, suite, self.client_secret))
        self.master = connection.keep(keys.master_secret(secret))
        self.privates = None
        self.expected = ENCRYPTED_EXTENSIONS

    def _agree(self, hello):
        data = hello.extensions.get(codec.EXT_KEY_SHARE)
        if data is None:
            raise TlsError(MISSING_EXTENSION, "ServerHello without key_share")
        reader = codec.Reader(data, "key_share")
        group = reader.number(2)
        share = reader.vector(2, 1)
        reader.finish()
        if group not in self.privates:
            raise TlsError(ILLEGAL_PARAMETER, "key share of a group that was not offered")
        try:
            return group, self.connection.crypto.agree(group, self.privates[group][0], share)
        except ValueError:
            raise TlsError(ILLEGAL_PARAMETER, "key share is no key")

    def _retry(self, hello):
        """HelloRetryRequest (section 4.1.4): once, and only for what changes something."""
        if self.is_retried:
            raise TlsError(UNEXPECTED_MESSAGE, "HelloRetryRequest twice")
        self.is_retried = True
        found = hello.extensions
        privates = self.privates
        data = found.get(codec.EXT_KEY_SHARE)
        if data is not None:
            if len(data) != 2:
                raise codec.damaged("HelloRetryRequest")
            group = data[0] << 8 | data[1]
            if group not in self.connection.crypto.groups or group in privates:
                raise TlsError(ILLEGAL_PARAMETER, "HelloRetryRequest for a group that was not offered, or was sent")
            privates = {group: self.connection.crypto.generate(group)}
        cookie = found.get(codec.EXT_COOKIE)
        if cookie is not None:
            reader = codec.Reader(cookie, "cookie")
            self.offer.cookie = reader.vector(2, 1)
            reader.finish()
        elif data is None:
            raise TlsError(ILLEGAL_PARAMETER, "HelloRetryRequest for nothing")
        self.transcript = self.schedule.retried(self.offer.message)
        self.transcript.update(hello.message)
        session = self.offer.session
        if session is not None and session.version == 0x0304 and SUITES[session.suite][2] != self.schedule.bits:
            self.offer.session = None  # its PSK is of another hash
        self._send_spec()
        self._send_hello(privates)

    def _send_spec(self):
        """A change_cipher_spec before our second flight, for middleboxes (section D.4)."""
        if self.offer.session_id:
            self.connection.write(CHANGE_CIPHER_SPEC, b"\x01")

    # --- the server's flight -----------------------------------------------------------------------------------------

    def _encrypted_extensions(self, data):
        connection = self.connection
        found = codec.extensions(data, 4, "EncryptedExtensions")
        for kind in found:
            if kind not in self.offer.sent:
                raise TlsError(UNSUPPORTED_EXTENSION, "extension that was not asked for")
            if kind not in (
                codec.EXT_SERVER_NAME,
                codec.EXT_SUPPORTED_GROUPS,
                codec.EXT_ALPN,
                codec.EXT_RECORD_SIZE_LIMIT,
            ):
                raise TlsError(ILLEGAL_PARAMETER, "extension in the wrong message")
        if found.get(codec.EXT_SERVER_NAME):
            raise codec.damaged("EncryptedExtensions")
        chosen = found.get(codec.EXT_ALPN)
        if chosen is not None:
            names = codec.alpn_names(chosen, "EncryptedExtensions")
            if len(names) != 1 or names[0] not in self.context.alpn:
                raise TlsError(ILLEGAL_PARAMETER, "protocol that was not offered")
            connection.alpn = names[0]
        limit = found.get(codec.EXT_RECORD_SIZE_LIMIT)
        if limit is not None:
            if len(limit) != 2:
                raise codec.damaged("EncryptedExtensions")
            limit = limit[0] << 8 | limit[1]
            if not 64 <= limit <= 16385:
                raise TlsError(ILLEGAL_PARAMETER, "record_size_limit out of its bounds")
            connection.write_limit = limit - 1
            connection.read_limit = self.context.record_size_limit
            connection.max_body = connection.read_limit + connection.reader.overhead
        self.transcript.update(data)
        self.expected = FINISHED if connection.is_resumed else CERTIFICATE

    def _certificate_request(self, data):
        reader = codec.Reader(data, "CertificateRequest", 4)
        if reader.vector(1):
            raise TlsError(ILLEGAL_PARAMETER, "certificate wanted for another request")
        found = reader.extensions()
        if codec.EXT_SIGNATURE_ALGORITHMS not in found:
            raise TlsError(MISSING_EXTENSION, "CertificateRequest without signature_algorithms")
        self.wanted_schemes = codec.numbers(found[codec.EXT_SIGNATURE_ALGORITHMS], "CertificateRequest")
        self.is_asked = True
        self.transcript.update(data)

    def _certificate(self, data):
        connection = self.connection
        request, chain = authentication.read_chain(data)
        if request:
            raise TlsError(ILLEGAL_PARAMETER, "certificate for another request")
        if not chain:
            raise TlsError(DECODE_ERROR, "server without a certificate")  # section 4.4.2.4
        offer = self.offer
        if offer.is_verifying:
            self.leaf = authentication.check_chain(self.context.verifier, chain, offer.wall_s, "server", offer.hostname)
        connection.peer_chain = chain
        self.transcript.update(data)
        self.expected = CERTIFICATE_VERIFY

    def _certificate_verify(self, data):
        if self.leaf is not None:
            signed = SERVER_CONTEXT + self.transcript.digest()
            authentication.check_verify(self.connection.crypto, self.leaf.public_key, data, signed)
        self.transcript.update(data)
        self.expected = FINISHED

    def _finished(self, data):
        connection = self.connection
        keys = self.schedule
        transcript = self.transcript
        if len(data) != 4 + keys.size:
            raise codec.damaged("Finished")
        if not connection.crypto.equal(data[4:], keys.finished(self.server_secret, transcript.digest())):
            raise TlsError(DECRYPT_ERROR, "Finished wrong")
        transcript.update(data)
        hashed = transcript.digest()
        client_secret = connection.keep(keys.expand(self.master, schedule.CLIENT_TRAFFIC, hashed))
        server_secret = connection.keep(keys.expand(self.master, schedule.SERVER_TRAFFIC, hashed))
        if self.context.keylog is not None:
            self._log("CLIENT_TRAFFIC_SECRET_0", client_secret)
            self._log("SERVER_TRAFFIC_SECRET_0", server_secret)
        suite = SUITES[self.suite]
        connection.set_reader(Keys(connection.crypto, suite, server_secret))
        flight = self._own_certificate() if self.is_asked else b""
        done = message(FINISHED, keys.finished(self.client_secret, transcript.digest()))
        transcript.update(done)
        connection.write(HANDSHAKE, flight + done)
        connection.set_writer(Keys(connection.crypto, suite, client_secret))
        master = keys.expand(self.master, schedule.RESUMPTION_MASTER, transcript.digest())
        connection.establish(EstablishedClient(connection, self, master))

    def _own_certificate(self):
        """Certificate and CertificateVerify (section 4.4); an empty one where none of ours will do."""
        for credential in self.context.credentials:
            chosen = choose(credential.key_kind, self.wanted_schemes)
            if chosen is not None:
                break
        else:
            flight = authentication.write_chain(b"", ())
            self.transcript.update(flight)
            return flight
        flight = authentication.write_chain(b"", credential.chain)
        self.transcript.update(flight)
        number, algorithm = chosen
        signed = credential.signer.sign(algorithm, CLIENT_CONTEXT + self.transcript.digest())
        proof = message(CERTIFICATE_VERIFY, struct.pack(">H", number) + vector16(signed))
        self.transcript.update(proof)
        return flight + proof

    def _log(self, label, secret):
        """A line as Wireshark and others read it (SSLKEYLOGFILE)."""
        self.context.keylog("%s %s %s" % (label, self.offer.random.hex(), secret.hex()))


class EstablishedClient(Established):
    """As a server's, and NewSessionTicket (section 4.6.1): the connection's `session` is of the newest one."""

    max_bytes = _MAX_TICKET_MESSAGE

    def __init__(self, connection, handshake, master):
        super().__init__(connection)
        self.master = master
        self.suite = handshake.suite
        offer = handshake.offer
        self.hostname = offer.hostname
        self.is_verified = offer.is_verifying
        self.expires_s = getattr(handshake.leaf, "not_after_s", None)
        if connection.is_resumed:
            # It stands on what was verified then.
            self.expires_s = offer.session.expires_s
            self.is_verified = offer.session.is_verified
            connection.peer_chain = offer.session.peer_chain

    def receive(self, kind, data):
        if kind != NEW_SESSION_TICKET:
            super().receive(kind, data)
            return
        connection = self.connection
        connection.note_idle()
        reader = codec.Reader(data, "NewSessionTicket", 4)
        lifetime_s = reader.number(4)
        age_add = reader.number(4)
        nonce = reader.vector(1)
        ticket = reader.vector(2, 1)
        reader.extensions()
        if not lifetime_s:
            return
        keys = connection.context.schedule(SUITES[self.suite][2])
        secret = keys.ticket_secret(self.master, nonce)
        session = Session(0x0304, self.suite, secret, ticket, lifetime_s, age_add, connection.now_ms)
        session.hostname = self.hostname
        session.is_verified = self.is_verified
        session.expires_s = self.expires_s
        session.peer_chain = connection.peer_chain
        connection.session = session
