# SPDX-License-Identifier: MIT
"""PEM (RFC 7468): texts that have DER in base64 between lines."""

import binascii

_BEGIN = b"-----BEGIN "
_END = b"-----END "
_DASHES = b"-----"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def decode(data):
    """list of (label, DER as bytes) of everything that is in `data`, bytes or text; [] when there is no PEM in it.

    What stands between the blocks is passed over. Raises ValueError for a block that has no end, another's end, or
    something else than base64 in it.
    """
    if isinstance(data, str):
        data = data.encode()
    found = []
    label = None
    for line in bytes(data).split(b"\n"):
        line = line.strip()
        if line.startswith(_BEGIN) and line.endswith(_DASHES):
            if label is not None:
                raise ValueError("PEM: %s begins before the end of %s" % (_text(line), label))
            label = _text(line[len(_BEGIN) : -len(_DASHES)])
            end = b"-----END " + line[len(_BEGIN) :]
            body = []
        elif line.startswith(_END):
            if label is None or line != end:
                raise ValueError("PEM: %s where nothing such began" % _text(line))
            found.append((label, _base64(b"".join(body), label)))
            label = None
        elif label is not None:
            body.append(line)
    if label is not None:
        raise ValueError("PEM: %s has no end" % label)
    return found


def _text(line):
    return "".join([chr(octet) if 32 <= octet < 127 else "?" for octet in line])


def _base64(text, label):
    digits = text.rstrip(b"=")
    if b":" in text:
        # RFC 1421's headers: a key that OpenSSL has encrypted in the old way.
        raise ValueError("PEM: %s is encrypted, or has headers" % label)
    for octet in digits:
        if octet not in _BASE64:
            raise ValueError("PEM: %s is not base64" % label)
    if len(text) % 4 or len(text) - len(digits) > 2 or not digits:
        raise ValueError("PEM: %s is cut off" % label)
    return binascii.a2b_base64(text)
