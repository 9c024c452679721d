# SPDX-License-Identifier: MIT
"""Server-sent events (HTML, section 9.2), the server's side: an event to octets of a text/event-stream."""

from .errors import LocalError

CONTENT_TYPE = b"text/event-stream"
# A comment: keeps a connection from being idle.
KEEP_ALIVE = b":\n\n"


def event(data="", name=None, id=None, retry_ms=None):
    """Octets of one event. data: text, any lines. name, id: one line each. retry_ms: until a client connects again."""
    lines = []
    if name is not None:
        lines.append("event: " + _line(name))
    if id is not None:
        if "\0" in id:
            raise LocalError("an id with NUL")
        lines.append("id: " + _line(id))
    if retry_ms is not None:
        lines.append("retry: %d" % retry_ms)
    # All three ends of a line count as one, so that data cannot begin a field of its own.
    for line in data.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        lines.append("data: " + line)
    return ("\n".join(lines) + "\n\n").encode()


def _line(text):
    if "\n" in text or "\r" in text:
        raise LocalError("a name or an id of more than one line")
    return text
