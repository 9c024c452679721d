# SPDX-License-Identifier: MIT
"""An engine: one TLS connection without I/O and without a clock (RFC 8446 sections 5 and 6; RFC 5246 as well).

Here is what versions and sides have in common: octets become records, records become messages, data and alerts, and
the other way round. What messages mean is known to `handshake`, an object with these members:

    receive(kind, message)    a whole handshake message, bytes, its header included. It answers by the connection's
                              write(), set_reader(), set_writer(), establish(); what it raises, a TlsError, ends the
                              connection with that alert
    change_cipher_spec()      the peer's record of that kind, checked to be one octet 1. 1.3 ignores it or raises, 1.2
                              sets its reader
    max_bytes                 a longer message is refused before it is stored
    limit_reached()           of the object that establish() got: MAX_SEALED records have been sent under one key. 1.3
                              sends KeyUpdate, 1.2 raises
    update_keys(request_peer) of the object that establish() got, in 1.3

The first one is of TLS 1.3 (server13.py, client13.py). It puts the next one into its place: that of TLS 1.2, or the one
for what comes after a handshake, so that what only a handshake needs is gone afterwards.

The seam to TLS 1.2 is the object that a context has as `v12`, or None where an image has no 1.2:

    suites            octets: the numbers of its cipher suites, preferred first, which a client adds to its offer
    extensions(session) -> octets: whole extensions that a client adds to its offer; session: the Session that is to be
                      resumed (session.py), of either version, or None
    server(connection, hello): sets connection.handshake. The client offers no 1.3. hello: its ClientHello, parsed
                      (client_hello.py); hello.message begins the transcript. Called within receive(); sends ServerHello
                      and what follows it. Its random must end with DOWNGRADE_12 (section 4.1.3)
    client(connection, offer, hello): sets connection.handshake. The server chose 1.2. offer: Offer (offer.py), what was
                      sent; offer.message and hello.message begin the transcript. hello: ServerHello (offer.py). That
                      1.2 was offered and that the random has no downgrade mark has been checked

Both may use codec, record, signatures, authentication; a server's part nothing that only a client needs, and the other
way round. They set version, cipher, group, alpn, is_resumed, peer_chain, session of the connection. `version` must be
set before set_reader(). Their Keys have what record.Keys has: overhead, sequence, kind, seal, seal_data, open, wipe.
Secrets are wiped when they went through keep(). A record_size_limit is negotiated by write_limit and read_limit.
"""

import struct

from micropython import const

from .errors import (
    BAD_RECORD_MAC,
    CLOSE_NOTIFY,
    DECODE_ERROR,
    INTERNAL_ERROR,
    PROTOCOL_VERSION,
    RECORD_OVERFLOW,
    UNEXPECTED_MESSAGE,
    USER_CANCELED,
    TlsError,
)

DOWNGRADE_12 = b"DOWNGRD\x01"  # section 4.1.3

_CHANGE_CIPHER_SPEC = const(20)
_ALERT = const(21)
_HANDSHAKE = const(22)
_APPLICATION_DATA = const(23)
_MAX_PLAINTEXT = const(16384)
# Plaintext of the records that are sealed into one object.
_SEALED_BYTES = const(65536)
_MAX_CIPHERTEXT = const(16640)
_TLS13 = const(0x0304)
_FATAL = const(2)

# Records in a row that bring nothing (no data, ignored alerts and change_cipher_specs); OpenSSL bears 32, too.
_MAX_IDLE_RECORDS = const(32)
# Records under one key of ours (section 5.5: 2**24.5 of full size for AES-GCM); and of the peer's, who must see to that
# itself: what a sequence number has room for here.
MAX_SEALED = const(1 << 23)
_MAX_OPENED = const((1 << 32) - 1)


class Connection:
    """What context.engine() returns.

    data: list of bytes, received plaintext; the caller pops from its front. output: list of records to be sent, some of
    them several in one object, for those who would rather write one after the other than have take_output() join them.
    error: None, or the TlsError that ended the connection. is_established: data may be sent. is_peer_closed: its
    close_notify came; no more data will. is_closed: close() was called, or it failed.
    version: 0x0304, 0x0303, None before it is known. cipher: the suite's IANA name. group: number, None without
    (EC)DHE. alpn: bytes or None. server_name: text that the client asked for or None. is_resumed. peer_chain: the DER
    of the peer's certificates, leaf first, empty when it showed none. session: a client's newest Session, or None.
    now_ms: the time of the engine's making; whoever has a clock may set it anew: tickets are as old as it says.
    """

    # What most connections never change is here: each attribute of its own is memory that an idle one holds.
    error = None
    is_established = False
    is_peer_closed = False
    is_closed = False
    version = None
    cipher = None
    group = None
    alpn = None
    server_name = None
    is_resumed = False
    peer_chain = ()
    session = None
    handshake = None
    reader = None
    writer = None
    # Octets of plaintext in a record of ours, in one of the peer's (record_size_limit, RFC 8449), and of its body.
    write_limit = _MAX_PLAINTEXT
    read_limit = _MAX_PLAINTEXT
    max_body = _MAX_CIPHERTEXT
    # Octets of records that do not open and are skipped: early data that we refuse (section 4.2.10).
    skippable = 0
    _secrets = None  # list, during the handshake
    _partial = None  # bytearray: the begin of a record
    _messages = None  # bytearray: the begin of a handshake message
    _rest = 0  # octets behind the message in hand: none where keys change
    _idle = 0
    _is_update_queued = False

    def __init__(self, context, now_ms):
        self.context = context
        self.crypto = context.crypto
        self.now_ms = now_ms
        self.data = []
        self.output = []

    # --- what a flow calls -------------------------------------------------------------------------------------------

    def receive_data(self, data):
        """Takes octets from the transport; b"" says that it has ended. Never raises for what they are."""
        if self.handshake is None or self.is_peer_closed:
            return
        if not data:
            where = "" if self.is_established else " within the handshake"
            self.fail(TlsError(CLOSE_NOTIFY, "truncated: the transport ended without close_notify" + where), False)
            return
        try:
            self._receive(data)
        except TlsError as error:
            self.fail(error, not error.is_remote)
        except MemoryError:
            # Where there is none for this, there may be none for an alert; others' connections go on.
            self.fail(TlsError(INTERNAL_ERROR, "no memory for what the peer sent"), False)

    def take_output(self):
        """What is to be sent now; b"" when nothing is."""
        output = self.output
        if not output:
            return b""
        octets = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        if self._is_update_queued:
            self._is_update_queued = False
        return octets

    def send(self, data):
        """Seals plaintext. TlsError when the connection is not established, or closed for writing."""
        if not self.is_established or self.is_closed:
            raise self.error or TlsError(INTERNAL_ERROR, "closed" if self.is_closed else "not established")
        if self.writer.sequence >= self.context.max_sealed:
            self.handshake.limit_reached()
        count = len(data)
        limit = self.write_limit
        if count <= limit:
            if count:
                self.output.append(self.writer.seal(_APPLICATION_DATA, data))
            return
        view = memoryview(data)
        step = _SEALED_BYTES // limit * limit
        for at in range(0, count, step):
            self.writer.seal_data(view[at : at + step], limit, self.output)

    def close(self):
        """Sends close_notify, once. What the peer still sends can be received."""
        if self.is_closed:
            return
        self.is_closed = True
        self._send_alert(CLOSE_NOTIFY)
        if not self.is_established:
            self._end()
        elif self.is_peer_closed:
            self._wipe()

    def update_keys(self, request_peer=False):
        """TLS 1.3: new keys for what we send (section 4.6.3), and the same wanted of the peer."""
        if not self.is_established or self.is_closed or self.version != _TLS13:
            raise TlsError(INTERNAL_ERROR, "no keys to update")
        self.handshake.update_keys(request_peer)

    # --- what a handshake calls --------------------------------------------------------------------------------------

    def write(self, kind, data):
        """Sends `data` in records of that type, under the keys that there are."""
        writer = self.writer
        limit = self.write_limit
        view = memoryview(data)
        for at in range(0, len(data), limit):
            part = view[at : at + limit]
            if writer is None:
                self.output.append(struct.pack(">BHH", kind, 0x0303, len(part)) + part)
            else:
                self.output.append(writer.seal(kind, part))

    def set_reader(self, keys):
        """The peer's records are under `keys` from the next one on; the keys before are wiped."""
        if self._rest:
            raise TlsError(UNEXPECTED_MESSAGE, "message across a change of keys")  # section 5.1
        if self.reader is not None:
            self.reader.wipe()
        self.reader = keys
        self.max_body = self.read_limit + keys.overhead

    def set_writer(self, keys):
        if self.writer is not None:
            self.writer.wipe()
        self.writer = keys

    def keep(self, secret):
        """A secret of the handshake, which is overwritten at its end, whatever that is. Returns it."""
        if self._secrets is None:
            self._secrets = [secret]
        else:
            self._secrets.append(secret)
        return secret

    def establish(self, handshake):
        """The handshake is done; `handshake` is for what comes later."""
        self._forget()
        self.handshake = handshake
        self.is_established = True
        if self._idle:
            self._idle = 0
        counters = self.context.counters
        counters["handshakes"] += 1
        if self.is_resumed:
            counters["resumed"] += 1

    def queue_update(self):
        """Whether an answer to a KeyUpdate may be sent: one at a time, so that a flood of them stores nothing."""
        if self._is_update_queued:
            return False
        self._is_update_queued = True
        return True

    def note_idle(self):
        """Counts a record that brought nothing; a peer that sends only such ones is not heard for ever."""
        self._idle += 1
        if self._idle > _MAX_IDLE_RECORDS:
            raise TlsError(UNEXPECTED_MESSAGE, "records without content")

    # --- records -----------------------------------------------------------------------------------------------------

    def _receive(self, data):
        partial = self._partial
        if partial is not None:
            partial.extend(data)
            data = partial
            self._partial = None
        total = len(data)
        at = 0
        view = memoryview(data)
        while total - at >= 5:
            length = data[at + 3] << 8 | data[at + 4]
            end = at + 5 + length
            if length > self.max_body or end > total or self.reader is None:
                self._check_header(data[at], data[at + 1], length)
                if end > total:
                    break
            self._record(data[at], view[at:end])
            at = end
            if self.is_peer_closed:
                return
        if at < total:
            self._partial = partial if at == 0 and partial is not None else bytearray(view[at:])

    def _check_header(self, kind, major, length):
        """What is no TLS at all is refused before we wait for the rest of it."""
        if not _CHANGE_CIPHER_SPEC <= kind <= _APPLICATION_DATA:
            raise TlsError(UNEXPECTED_MESSAGE, "record of an unknown type")
        if major != 3:
            raise TlsError(PROTOCOL_VERSION, "record of no TLS version")
        if length > self.max_body:
            raise TlsError(RECORD_OVERFLOW, "record too long")

    def _record(self, kind, record):
        reader = self.reader
        if reader is None or (kind != _APPLICATION_DATA and self.version == _TLS13):
            return self._plain_record(kind, bytes(record[5:]))
        if reader.sequence >= _MAX_OPENED:
            raise TlsError(UNEXPECTED_MESSAGE, "too many records under one key")
        plain = reader.open(record)
        if plain is None:
            self._skip(len(record))
            return None
        if self.skippable:
            self.skippable = 0
        kind = reader.kind
        if kind == _APPLICATION_DATA:
            if not self.is_established or self._messages:
                raise TlsError(UNEXPECTED_MESSAGE, "data within a handshake")
            if plain:
                if self._idle:
                    self._idle = 0
                self.data.append(plain)
            else:
                self.note_idle()
        elif kind == _HANDSHAKE:
            self._handshake_record(plain)
        else:
            self._other_record(kind, plain)
        return None

    def _skip(self, count):
        """A record that is not authentic, or data before there are keys."""
        if not self.skippable:
            if self.reader is None:
                raise TlsError(UNEXPECTED_MESSAGE, "data before the handshake")
            raise TlsError(BAD_RECORD_MAC, "record not authentic")
        self.skippable -= count
        if self.skippable <= 0:
            raise TlsError(UNEXPECTED_MESSAGE, "too much early data")

    def _plain_record(self, kind, plain):
        if kind == _APPLICATION_DATA:
            return self._skip(len(plain))
        if len(plain) > _MAX_PLAINTEXT:
            raise TlsError(RECORD_OVERFLOW, "record too long")
        # Before its first record under keys, a client's alert about our ServerHello is in the clear.
        if self.reader is not None and (kind == _HANDSHAKE or (kind == _ALERT and self.is_established)):
            raise TlsError(UNEXPECTED_MESSAGE, "record in the clear")
        if kind == _HANDSHAKE:
            return self._handshake_record(plain)
        return self._other_record(kind, plain)

    def _other_record(self, kind, plain):
        if self._messages:
            raise TlsError(UNEXPECTED_MESSAGE, "record within a message")  # section 5.1
        if kind == _ALERT:
            self._alert(plain)
        elif kind == _CHANGE_CIPHER_SPEC:
            if plain != b"\x01":
                raise TlsError(UNEXPECTED_MESSAGE, "malformed change_cipher_spec")
            self.note_idle()
            self.handshake.change_cipher_spec()
        else:
            raise TlsError(UNEXPECTED_MESSAGE, "record of an unknown type")

    def _handshake_record(self, plain):
        if not plain:
            raise TlsError(UNEXPECTED_MESSAGE, "empty handshake record")  # section 5.1
        begun = self._messages
        if begun is not None:
            # It grows in place: a message in records of an octet each must not be copied for each.
            begun.extend(plain)
            plain = begun
        at = 0
        total = len(plain)
        while total - at >= 4:
            length = plain[at + 1] << 16 | plain[at + 2] << 8 | plain[at + 3]
            if length > self.handshake.max_bytes:
                raise TlsError(DECODE_ERROR, "message too long")
            end = at + 4 + length
            if end > total:
                break
            self._rest = total - end
            if begun is not None:
                self._messages = begun = None
                plain = bytes(plain)
            self.handshake.receive(plain[at], plain if end - at == total else plain[at:end])
            at = end
        if at < total and begun is None:
            self._messages = bytearray(plain[at:])
        self._rest = 0

    # --- alerts and the end (section 6) ------------------------------------------------------------------------------

    def _alert(self, plain):
        if len(plain) != 2:
            # Section 5.4 names the alert for an empty one.
            raise TlsError(DECODE_ERROR if plain else UNEXPECTED_MESSAGE, "malformed alert")
        level, number = plain
        if number == CLOSE_NOTIFY:
            if not self.is_established:
                raise TlsError(CLOSE_NOTIFY, "closed within the handshake", True)
            self.is_peer_closed = True
            self._partial = None
            if self.is_closed:
                self._wipe()
        elif number == USER_CANCELED or (level != _FATAL and self.version != _TLS13):
            self.note_idle()  # 1.2 has warnings; a server may send one before its ServerHello
        else:
            raise TlsError(number, "alert %d from the peer" % number, True)

    def _send_alert(self, number):
        # The level means nothing in 1.3; 1.2 has one kind of warning besides, which v12 sends.
        self.write(_ALERT, bytes((1 if number == CLOSE_NOTIFY else _FATAL, number)))

    def fail(self, error, is_told):
        """Ends the connection; is_told: with an alert."""
        self.error = error
        if is_told and not self.is_closed:
            self._send_alert(error.alert)
        self.is_closed = True
        is_truncated = error.alert == CLOSE_NOTIFY and not error.is_remote
        self.context.counters["truncated" if is_truncated else "failures"] += 1
        self._end()

    def _end(self):
        """Nothing more is read or written: what is left of the connection is its data, output and error."""
        self.is_established = False
        self._partial = None
        self._messages = None
        self.handshake = None
        self._forget()
        self._wipe()

    def _forget(self):
        for secret in self._secrets or ():
            self.crypto.wipe(secret)
        self._secrets = None

    def _wipe(self):
        for keys in (self.reader, self.writer):
            if keys is not None:
                keys.wipe()
        self.reader = self.writer = None
