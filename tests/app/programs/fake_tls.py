# SPDX-License-Identifier: MIT
"""A stand-in for libos.tls: the interface of its engines, over records that anybody can read. Nothing is secret here.

A record: kind, length in 3 octets, payload. The handshake: HELLO, HELLO back, FINISHED, and a TICKET.
"""

HELLO, FINISHED, TICKET, DATA, UPDATE, ALERT = range(6)
RECORD = 16384


class TlsError(OSError):
    def __init__(self, alert, reason, is_remote=False):
        super().__init__(reason)
        self.alert = alert
        self.reason = reason
        self.is_remote = is_remote


def record(kind, payload):
    return bytes([kind]) + len(payload).to_bytes(3, "big") + bytes(payload)


class Crypto:
    discard = None


class Engine:
    version = 0x0304
    crypto = Crypto

    def __init__(self, context, is_server, session=None):
        self.context = context
        self.is_server = is_server
        self.data = []
        self.error = None
        self.is_established = self.is_peer_closed = self.is_closed = False
        self.session = session
        self.is_resumed = session is not None
        self._in = b""
        self.output = [] if is_server else [record(HELLO, session or b"")]

    def receive_data(self, data):
        if self.error is not None:
            return
        if not data and not self.is_peer_closed:
            self.fail(0, "truncated")
        data = self._in + data
        at = 0
        while len(data) - at >= 4 and self.error is None:
            end = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
            if end > at + 4 + RECORD:
                self.fail(22, "record too long")
                return
            if len(data) < end:
                break
            self._record(data[at], data[at + 4 : end])
            at = end
        self._in = data[at:]

    def _record(self, kind, payload):
        if kind == HELLO and not self.is_established:
            if self.is_server:
                self.is_resumed = bool(payload)
                self.output.append(record(HELLO, b""))
            else:
                self.output.append(record(FINISHED, b""))
                self.is_established = True
        elif kind == FINISHED and self.is_server:
            self.is_established = True
            self.context.counters["handshakes"] += 1
            self.output.append(record(TICKET, b"ticket"))
        elif kind == TICKET and not self.is_server:
            self.session = payload
        elif kind == DATA and self.is_established:
            if payload:
                self.data.append(payload)
        elif kind == UPDATE and self.is_established:
            self.output.append(record(TICKET, b"ticket") if self.is_server else record(DATA, b""))
        elif kind == ALERT:
            if payload[0] == 0:
                self.is_peer_closed = True
            else:
                self.error = TlsError(payload[0], "from the peer", True)
                self.is_closed = True
        else:
            self.fail(10, "unexpected message")

    def fail(self, alert, reason):
        self.error = TlsError(alert, reason)
        self.is_closed = True
        self.context.counters["failures"] += 1
        if alert:
            self.output.append(record(ALERT, bytes([alert])))

    def take_output(self):
        out = b"".join(self.output)
        self.output = []
        return out

    def send(self, data):
        if self.is_closed or not self.is_established:
            raise TlsError(80, "closed for writing")
        for at in range(0, len(data), RECORD):
            self.output.append(record(DATA, data[at : at + RECORD]))

    def close(self):
        if not self.is_closed:
            self.is_closed = True
            self.output.append(record(ALERT, b"\0"))


class Context:
    def __init__(self):
        self.counters = {"handshakes": 0, "failures": 0}
        self.credentials = None

    def replace(self, credentials):
        self.credentials = credentials


class ServerContext(Context):
    def engine(self, now_ms, wall_s=None):
        return Engine(self, True)


class ClientContext(Context):
    def __init__(self):
        super().__init__()
        self.asked = []

    def engine(self, hostname, now_ms, wall_s, session=None, verify=True):
        self.asked.append((hostname, wall_s, session, verify))
        return Engine(self, False, session)
