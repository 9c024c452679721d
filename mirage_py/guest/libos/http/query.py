# SPDX-License-Identifier: MIT
"""Query strings, and forms as application/x-www-form-urlencoded (WHATWG URL, section 5): octets to pairs and back."""

from . import percent
from .utf8 import text_of

MAX_FIELDS = 1000


def parse(data, max_fields=MAX_FIELDS):
    """List of (name, value), text, in their order. data: bytes, without the "?".

    ValueError for malformed percent-encoding, for what is no UTF-8, and for more than max_fields.
    """
    pairs = []
    if data.count(b"&") >= max_fields:
        raise ValueError("more than %d fields" % max_fields)
    for field in data.split(b"&"):
        if field:
            name, _, value = field.partition(b"=")
            pairs.append((_text(name), _text(value)))
    return pairs


def _text(data):
    if b"+" in data:
        data = data.replace(b"+", b" ")
    return text_of(percent.decode(data) if b"%" in data else data)


def build(pairs):
    """ASCII text "a=1&b=two+words". pairs: iterable of (name, value), each text, bytes or int; or a dict."""
    if isinstance(pairs, dict):
        pairs = pairs.items()
    return "&".join([_encoded(name) + "=" + _encoded(value) for name, value in pairs])


def _encoded(value):
    if isinstance(value, int):
        value = str(value)
    return percent.encode(value, b" *").replace(" ", "+")
