# SPDX-License-Identifier: MIT
"""The server's side of a TLS 1.3 handshake (RFC 8446 section 2). No I/O, no clock."""

from struct import pack, unpack_from

from . import authentication, codec, schedule
from .client_hello import ClientHello
from .codec import CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_HELLO, FINISHED, extension, message, vector8, vector16
from .errors import (
    CERTIFICATE_REQUIRED,
    DECRYPT_ERROR,
    HANDSHAKE_FAILURE,
    ILLEGAL_PARAMETER,
    MISSING_EXTENSION,
    PROTOCOL_VERSION,
    UNEXPECTED_MESSAGE,
    TlsError,
)
from .post13 import Established
from .record import CHANGE_CIPHER_SPEC, HANDSHAKE, SUITES, Keys
from .signatures import CLIENT_CONTEXT, SERVER_CONTEXT, acceptable, choose
from .tickets import LIFETIME_S

_MAX_HELLO = 16384
_MAX_CERTIFICATES = 65536
_MAX_FINISHED = 48
# Early data of a client that has another's ticket, or an old one of ours. We promise none.
_MAX_EARLY_DATA = 32768
# Identities of a client's that are looked at: it has one or two.
_MAX_IDENTITIES = 4
_RETRY_RANDOM = (
    b"\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91"
    b"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"
)
_TICKET_VERSION = b"\x04"
_VERSION = b"\x00\x2b\x00\x02\x03\x04"  # supported_versions, chosen


class ServerHandshake:
    """The `handshake` (connection.py) from the beginning to the client's Finished."""

    def __init__(self, connection, wall_s):
        self.connection = connection
        self.wall_s = wall_s
        self.context = connection.context
        self.expected = CLIENT_HELLO
        self.max_bytes = _MAX_HELLO
        self.transcript = None  # a hash, from the choice of the suite on
        self.suite = None  # its number
        self.retry_group = None  # what HelloRetryRequest asked for
        self.is_spec_sent = False

    def change_cipher_spec(self):
        if self.expected == CLIENT_HELLO and self.retry_group is None:
            raise TlsError(UNEXPECTED_MESSAGE, "change_cipher_spec before a hello")

    def receive(self, kind, data):
        if kind != self.expected:
            raise TlsError(UNEXPECTED_MESSAGE, "message %d where %d was due" % (kind, self.expected))
        if kind == CLIENT_HELLO:
            self._client_hello(data)
        elif kind == FINISHED:
            self._finished(data)
        elif kind == CERTIFICATE:
            self._certificate(data)
        else:
            self._certificate_verify(data)

    # --- the client's hello (section 4.1.2), and our flight ----------------------------------------------------------

    def _client_hello(self, data):
        connection = self.connection
        context = self.context
        hello = ClientHello(data)
        versions = hello.versions()
        if 0x0304 not in versions:
            if self.retry_group is not None:
                raise TlsError(ILLEGAL_PARAMETER, "second hello without the version")
            if context.v12 is None or 0x0303 not in versions:
                raise TlsError(PROTOCOL_VERSION, "no version in common")
            connection.server_name = hello.server_name
            context.v12.server(connection, hello)
            return
        found = hello.extensions
        if hello.is_compressing:
            raise TlsError(ILLEGAL_PARAMETER, "compression")
        if codec.EXT_KEY_SHARE not in found or codec.EXT_SUPPORTED_GROUPS not in found:
            raise TlsError(MISSING_EXTENSION, "hello without key_share or supported_groups")
        connection.server_name = hello.server_name
        number = self._choose_suite(hello.suites)
        suite = SUITES[number]
        keys = context.schedule(suite[2])
        if connection.version is None:
            connection.version = 0x0304
            connection.cipher = suite[0]
        shares = hello.shares()
        group = self._choose_group(hello, shares)
        if group is None:
            return
        if self.transcript is None:
            self.transcript = keys.new_hash()
        # psk_dhe_ke (section 4.2.9): whom a ticket would serve.
        self.is_resumable = b"\x01" in found.get(codec.EXT_PSK_MODES, b"")[1:]
        psk = index = None
        if codec.EXT_PRE_SHARED_KEY in found:
            psk, index = self._resume(hello, keys)
            if psk is not None:
                connection.keep(psk)
        credential = signature = None
        is_named = False
        if psk is None:
            if not hello.schemes:
                raise TlsError(MISSING_EXTENSION, "hello without signature_algorithms")
            credential, signature, is_named = context.choose_credential(
                hello.server_name, lambda kind: choose(kind, hello.schemes)
            )
        connection.alpn = context.choose_alpn(hello.alpn)
        limit = self._record_size(found)
        self.transcript.update(data)
        try:
            share, shared = connection.crypto.respond(group, shares[group])
        except ValueError:
            raise TlsError(ILLEGAL_PARAMETER, "key share is no key")
        connection.group = group
        self._server_hello(hello, group, share, index)
        secret = connection.keep(keys.handshake_secret(connection.keep(shared), psk))
        hashed = self.transcript.digest()
        self.client_secret = connection.keep(keys.expand(secret, schedule.CLIENT_HANDSHAKE, hashed))
        server_secret = connection.keep(keys.expand(secret, schedule.SERVER_HANDSHAKE, hashed))
        if context.keylog is not None:
            self._log("CLIENT_HANDSHAKE_TRAFFIC_SECRET", self.client_secret)
            self._log("SERVER_HANDSHAKE_TRAFFIC_SECRET", server_secret)
        if limit is not None:
            connection.write_limit = limit
            connection.read_limit = context.record_size_limit
        connection.set_reader(Keys(connection.crypto, suite, self.client_secret))
        connection.set_writer(Keys(connection.crypto, suite, server_secret))
        if codec.EXT_EARLY_DATA in found:
            connection.skippable = _MAX_EARLY_DATA
        self._flight(hello, keys, server_secret, credential, signature, is_named)
        master = connection.keep(keys.master_secret(secret))
        hashed = self.transcript.digest()
        self.application_secret = connection.keep(keys.expand(master, schedule.CLIENT_TRAFFIC, hashed))
        server_secret = connection.keep(keys.expand(master, schedule.SERVER_TRAFFIC, hashed))
        if context.keylog is not None:
            self._log("CLIENT_TRAFFIC_SECRET_0", self.application_secret)
            self._log("SERVER_TRAFFIC_SECRET_0", server_secret)
        connection.set_writer(Keys(connection.crypto, suite, server_secret))
        self.master = master
        self.schedule = keys

    def _choose_suite(self, offered):
        for number in self.context.suites:
            if number in offered:
                if self.suite is not None and number != self.suite:
                    raise TlsError(ILLEGAL_PARAMETER, "second hello with other suites")
                self.suite = number
                return number
        raise TlsError(HANDSHAKE_FAILURE, "no cipher suite in common")

    def _choose_group(self, hello, shares):
        """The group, or None when HelloRetryRequest was sent."""
        for group in shares:
            if group not in hello.groups:
                raise TlsError(ILLEGAL_PARAMETER, "key share of a group that is not offered")
        retried = self.retry_group
        if retried is not None:
            # Section 4.2.8: exactly the share that was asked for.
            if len(shares) != 1 or retried not in shares or codec.EXT_EARLY_DATA in hello.extensions:
                raise TlsError(ILLEGAL_PARAMETER, "second hello is not what was asked for")
            self.connection.skippable = 0
            return retried
        wanted = None
        for group in self.context.crypto.groups:
            if group in shares:
                return group
            if wanted is None and group in hello.groups:
                wanted = group
        if wanted is None:
            raise TlsError(HANDSHAKE_FAILURE, "no group in common")
        self._retry(hello, wanted)
        return None

    def _retry(self, hello, group):
        """HelloRetryRequest (section 4.1.4). We keep what we need to know, so there is no cookie."""
        self.retry_group = group
        found = extension(codec.EXT_KEY_SHARE, pack(">H", group)) + _VERSION
        data = self._hello_message(hello, _RETRY_RANDOM, found)
        self.transcript = self.context.schedule(SUITES[self.suite][2]).retried(hello.message)
        self.transcript.update(data)
        self.connection.write(HANDSHAKE, data)
        self._send_spec(hello)
        if codec.EXT_EARLY_DATA in hello.extensions:
            self.connection.skippable = _MAX_EARLY_DATA

    def _server_hello(self, hello, group, share, index):
        found = extension(codec.EXT_KEY_SHARE, pack(">H", group) + vector16(share)) + _VERSION
        if index is not None:
            found = extension(codec.EXT_PRE_SHARED_KEY, pack(">H", index)) + found
        self.random = hello.random
        data = self._hello_message(hello, bytes(self.connection.crypto.random(32)), found)
        self.transcript.update(data)
        self.connection.write(HANDSHAKE, data)
        self._send_spec(hello)

    def _hello_message(self, hello, random, found):
        parts = (b"\x03\x03", random, vector8(hello.session_id), pack(">HB", self.suite, 0), vector16(found))
        return message(codec.SERVER_HELLO, b"".join(parts))

    def _send_spec(self, hello):
        """A change_cipher_spec behind our first message, for middleboxes (section D.4)."""
        if hello.session_id and not self.is_spec_sent:
            self.is_spec_sent = True
            self.connection.write(CHANGE_CIPHER_SPEC, b"\x01")

    def _record_size(self, found):
        """Octets of plaintext that the client takes in a record; None when it does not say (RFC 8449 section 4)."""
        data = found.get(codec.EXT_RECORD_SIZE_LIMIT)
        if data is None:
            return None
        if len(data) != 2:
            raise codec.damaged("record_size_limit")
        limit = data[0] << 8 | data[1]
        if limit < 64:
            raise TlsError(ILLEGAL_PARAMETER, "record_size_limit too small")
        return min(limit - 1, 16384)  # it counts the octet of the type

    def _flight(self, hello, keys, secret, credential, signature, is_named):
        """EncryptedExtensions to Finished, in as few records as they fit."""
        connection = self.connection
        context = self.context
        transcript = self.transcript
        flight = self._encrypted_extensions(hello, is_named)
        self.expected = FINISHED
        self.max_bytes = _MAX_FINISHED
        if credential is not None:
            if context.client_auth != "none":
                flight += self._certificate_request()
            flight += authentication.write_chain(b"", credential.chain)
            transcript.update(flight)
            number, algorithm = signature
            signed = credential.signer.sign(algorithm, SERVER_CONTEXT + transcript.digest())
            proof = message(CERTIFICATE_VERIFY, pack(">H", number) + vector16(signed))
            transcript.update(proof)
            flight += proof
        else:
            connection.is_resumed = True
            transcript.update(flight)
        data = message(FINISHED, keys.finished(secret, transcript.digest()))
        transcript.update(data)
        connection.write(HANDSHAKE, flight + data)

    def _encrypted_extensions(self, hello, is_named):
        found = b"\0\0\0\0" if is_named else b""
        if self.connection.alpn is not None:
            found += extension(codec.EXT_ALPN, codec.alpn_list((self.connection.alpn,)))
        if codec.EXT_RECORD_SIZE_LIMIT in hello.extensions:
            found += extension(codec.EXT_RECORD_SIZE_LIMIT, pack(">H", self.context.record_size_limit + 1))
        return message(codec.ENCRYPTED_EXTENSIONS, vector16(found))

    # --- resumption (section 4.2.11) ---------------------------------------------------------------------------------

    def _resume(self, hello, keys):
        """(PSK, its index) of the first identity that is a ticket of ours; (None, None) without one."""
        found = hello.extensions
        if not codec.is_last(hello.message, codec.EXT_PRE_SHARED_KEY, found):
            raise TlsError(ILLEGAL_PARAMETER, "pre_shared_key is not the last extension")
        modes = found.get(codec.EXT_PSK_MODES)
        if modes is None:
            raise TlsError(MISSING_EXTENSION, "pre_shared_key without its modes")
        if len(modes) < 2 or modes[0] != len(modes) - 1:
            raise codec.damaged("psk_key_exchange_modes")
        data = found[codec.EXT_PRE_SHARED_KEY]
        reader = codec.Reader(data, "pre_shared_key")
        identities = codec.Reader(reader.vector(2, 7), "pre_shared_key")
        binders_at = reader.at
        binders = codec.Reader(reader.vector(2, 33), "pre_shared_key")
        reader.finish()
        index = 0
        chosen = (None, None)
        while identities.at < identities.end:
            ticket = identities.vector(2, 1)
            identities.number(4)  # its age matters to early data only
            binder = binders.vector(1, 32)
            if chosen[0] is None and index < _MAX_IDENTITIES and self.is_resumable:
                psk = self._open_ticket(ticket, hello)
                if psk is not None and len(psk) == keys.size:
                    transcript = self.transcript.copy()
                    transcript.update(memoryview(hello.message)[: len(hello.message) - len(data) + binders_at])
                    if not self.connection.crypto.equal(binder, keys.binder(psk, transcript.digest())):
                        raise TlsError(DECRYPT_ERROR, "binder wrong")
                    chosen = (psk, index)
            index += 1
        binders.finish()
        return chosen

    def _open_ticket(self, ticket, hello):
        tickets = self.context.tickets
        state = None if tickets is None else tickets.open(ticket, self.connection.now_ms)
        if state is None or state[:1] != _TICKET_VERSION:
            return None
        # What we sealed ourselves: it parses.
        issued_ms, size = unpack_from(">QB", state, 1)
        if self.connection.now_ms - issued_ms > LIFETIME_S * 1000:
            return None
        # Another name may be another certificate, and another service.
        if state[10 + size :] != (hello.server_name or "").encode():
            return None
        self.connection.keep(state)
        return state[10 : 10 + size]

    def _send_ticket(self):
        """NewSessionTicket (section 4.6.1). Who has shown a certificate shows it again: tickets hold none."""
        connection = self.connection
        tickets = self.context.tickets
        if tickets is None or not self.is_resumable or connection.peer_chain:
            return
        keys = self.schedule
        master = keys.expand(self.master, schedule.RESUMPTION_MASTER, self.transcript.digest())
        psk = connection.keep(keys.ticket_secret(connection.keep(master), b"\0"))
        state = b"".join(
            (
                _TICKET_VERSION,
                pack(">QB", connection.now_ms, len(psk)),
                psk,
                (connection.server_name or "").encode(),
            )
        )
        ticket = tickets.seal(connection.keep(state), connection.now_ms)
        body = b"".join(
            (pack(">I", LIFETIME_S), bytes(connection.crypto.random(4)), b"\x01\x00", vector16(ticket), b"\0\0")
        )
        connection.write(HANDSHAKE, message(codec.NEW_SESSION_TICKET, body))

    # --- the client's answer -----------------------------------------------------------------------------------------

    def _certificate_request(self):
        self.expected = CERTIFICATE
        self.max_bytes = _MAX_CERTIFICATES
        schemes = extension(codec.EXT_SIGNATURE_ALGORITHMS, codec.number_list(acceptable(self.context.crypto)))
        return message(codec.CERTIFICATE_REQUEST, b"\0" + vector16(schemes))

    def _certificate(self, data):
        context = self.context
        request, chain = authentication.read_chain(data)
        if request:
            raise TlsError(ILLEGAL_PARAMETER, "certificate for another request")
        self.transcript.update(data)
        if not chain:
            if context.client_auth == "required":
                raise TlsError(CERTIFICATE_REQUIRED, "client without a certificate")
            self.expected = FINISHED
            return
        self.leaf = authentication.check_chain(context.verifier, chain, self.wall_s, "client")
        self.chain = chain
        self.expected = CERTIFICATE_VERIFY

    def _certificate_verify(self, data):
        signed = CLIENT_CONTEXT + self.transcript.digest()
        authentication.check_verify(self.connection.crypto, self.leaf.public_key, data, signed)
        self.transcript.update(data)
        self.connection.peer_chain = self.chain
        self.expected = FINISHED

    def _finished(self, data):
        connection = self.connection
        keys = self.schedule
        if len(data) != 4 + keys.size:
            raise codec.damaged("Finished")
        if not connection.crypto.equal(data[4:], keys.finished(self.client_secret, self.transcript.digest())):
            raise TlsError(DECRYPT_ERROR, "Finished wrong")
        self.transcript.update(data)
        connection.set_reader(Keys(connection.crypto, SUITES[self.suite], self.application_secret))
        self._send_ticket()
        connection.establish(Established(connection))

    def _log(self, label, secret):
        """A line as Wireshark and others read it (SSLKEYLOGFILE)."""
        self.context.keylog("%s %s %s" % (label, self.random.hex(), secret.hex()))
