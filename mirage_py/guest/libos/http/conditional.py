# SPDX-License-Identifier: MIT
"""Conditional requests (RFC 9110 section 13): whether to do what is asked for, given what the client has.

An entity tag is bytes as in ETag, with quotes: b'"abc"', b'W/"abc"'.
"""

from . import dates

_MAX_TAGS = 64


def evaluate(method, headers, etag=None, modified_s=None):
    """None: go on. 304: the client has it. 412: what the client supposes is not so (section 13.2.2).

    etag, modified_s (Unix seconds): of the representation that would be sent, None where it has none. Both None: there
    is no such representation, for If-Match: *.
    """
    tags = headers.get(b"if-match")
    if tags is not None:
        if not _is_among(_all(headers, b"if-match"), etag, modified_s is not None, True):
            return 412
    elif modified_s is not None:
        since = _date(headers, b"if-unmodified-since")
        if since is not None and modified_s > since:
            return 412
    is_read = method == b"GET" or method == b"HEAD"
    tags = headers.get(b"if-none-match")
    if tags is not None:
        if _is_among(_all(headers, b"if-none-match"), etag, modified_s is not None, False):
            return 304 if is_read else 412
    elif is_read and modified_s is not None:
        since = _date(headers, b"if-modified-since")
        if since is not None and modified_s <= since:
            return 304
    return None


def range_applies(headers, etag=None, modified_s=None):
    """Whether Range is to be looked at, by If-Range (section 13.1.5)."""
    value = headers.get(b"if-range")
    if value is None:
        return True
    if value.endswith(b'"'):
        return etag is not None and value == etag and not etag.startswith(b"W/")
    return modified_s is not None and dates.parse(value) == modified_s


def _date(headers, name):
    value = headers.get(name)
    return None if value is None else dates.parse(value)


def _all(headers, name):
    return b",".join(headers.get_all(name))


def _is_among(value, etag, is_there, strong):
    """Whether etag is in the list, by strong or weak comparison (section 8.8.3.2)."""
    if value.strip(b" \t") == b"*":
        return is_there or etag is not None
    if etag is None:
        return False
    if strong and etag.startswith(b"W/"):
        return False
    opaque = etag[2:] if etag.startswith(b"W/") else etag
    at = 0
    for _ in range(_MAX_TAGS):
        # A tag may have commas in it: go from quote to quote.
        begin = value.find(b'"', at)
        end = value.find(b'"', begin + 1)
        if begin < 0 or end < 0:
            break
        is_weak = value[max(at, begin - 2) : begin] == b"W/"
        if value[begin : end + 1] == opaque and not (strong and is_weak):
            return True
        at = end + 1
    return False
