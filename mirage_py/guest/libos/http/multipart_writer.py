# SPDX-License-Identifier: MIT
"""multipart/form-data (RFC 7578) to send: heads of parts, whose content is sent between them."""

from binascii import hexlify

from .errors import LocalError
from .head import Prepared, scan_text


def boundary(random):
    """A boundary that no content has but by a chance of 2**-128. random: random(count) -> bytes."""
    return b"mirage-" + hexlify(random(16))


def content_type(boundary):
    return b"multipart/form-data; boundary=" + boundary


def part_head(boundary, name, filename=None, headers=()):
    """Octets before a part's content; END_OF_PART follows it. name, filename: text. headers: pairs, as Content-Type."""
    head = b'--%s\r\nContent-Disposition: form-data; name="%s"' % (boundary, _quoted(name))
    if filename is not None:
        head += b'; filename="%s"' % _quoted(filename)
    return head + b"\r\n" + Prepared(headers).octets + b"\r\n"


END_OF_PART = b"\r\n"


def end(boundary):
    return b"--%s--\r\n" % boundary


def build(random, fields):
    """(Content-Type, content) of fields: list of (name, value) or (name, value, filename, type of content).

    value: text or bytes.
    """
    mark = boundary(random)
    parts = []
    for field in fields:
        value = field[1].encode() if isinstance(field[1], str) else field[1]
        more = [("Content-Type", field[3])] if len(field) > 3 else ()
        parts.append(part_head(mark, field[0], field[2] if len(field) > 2 else None, more))
        parts.append(value)
        parts.append(END_OF_PART)
    parts.append(end(mark))
    return content_type(mark), b"".join(parts)


def _quoted(text):
    """The quote and line ends percent-encoded, as browsers do it (HTML section 4.10.21.8); anything else as UTF-8."""
    data = text.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode()
    if scan_text(data, 0, len(data)) != len(data):
        raise LocalError("a name with a control character")
    return data
