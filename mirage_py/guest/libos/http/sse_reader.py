# SPDX-License-Identifier: MIT
"""Server-sent events (HTML, section 9.2), the client's side: octets to events. No I/O, no clock."""

from .errors import RemoteError

_MAX_BYTES = 1 << 16


class Event:
    """data, name ("message" where none is given), id (the last one that came): text."""

    def __init__(self, data, name, id):
        self.data = data
        self.name = name
        self.id = id


class EventReader:
    """max_bytes: of one event. last_id: for Last-Event-ID when connecting again; retry_ms: when, or None."""

    def __init__(self, max_bytes=_MAX_BYTES):
        self._max_bytes = max_bytes
        self._buf = b""
        self._at = 0
        self._is_first = True
        self._after_cr = False
        self._data = []
        self._name = ""
        self._size = 0
        self.last_id = ""
        self.retry_ms = None

    def receive_data(self, data):
        """Octets of the content (bytes). An event that has not ended when the content does is dropped."""
        self._buf = self._buf[self._at :] + data
        self._at = 0

    def next_event(self):
        """Event, or None when there is none yet. RemoteError 502 when one is longer than max_bytes."""
        while True:
            line = self._line()
            if line is None:
                return None
            if not line:
                event = None
                if self._data:
                    event = Event("\n".join(self._data), self._name or "message", self.last_id)
                self._data = []
                self._name = ""
                self._size = 0
                if event is not None:
                    return event
                continue
            self._size += len(line) + 1
            if self._size > self._max_bytes:
                raise RemoteError(502, "an event of more than %d octets" % self._max_bytes)
            self._field(line)

    def _line(self):
        """The next whole line, which ends with CR LF, LF or CR; None when there is none."""
        buf = self._buf
        if self._after_cr and self._at < len(buf):
            self._after_cr = False
            if buf[self._at] == 10:
                self._at += 1
        at = self._at
        end = buf.find(b"\n", at)
        other = buf.find(b"\r", at)
        if other >= 0 and (end < 0 or other < end):
            end = other
            self._after_cr = True
        if end < 0:
            if len(buf) - at > self._max_bytes:
                raise RemoteError(502, "an event of more than %d octets" % self._max_bytes)
            return None
        self._at = end + 1
        line = buf[at:end]
        if self._is_first:
            self._is_first = False
            if line.startswith(b"\xef\xbb\xbf"):
                line = line[3:]
        return line

    def _field(self, line):
        name, _, value = line.partition(b":")
        if not name:
            return  # a comment
        if value.startswith(b" "):
            value = value[1:]
        try:
            text = str(value, "utf-8")
        except ValueError:
            raise RemoteError(502, "an event that is not UTF-8")
        if name == b"data":
            self._data.append(text)
        elif name == b"event":
            self._name = text
        elif name == b"id":
            if "\0" not in text:
                self.last_id = text
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_ms = int(value)
