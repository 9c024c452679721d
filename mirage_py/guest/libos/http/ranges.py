# SPDX-License-Identifier: MIT
"""Ranges of octets (RFC 9110 section 14). Only one range is ever sent: docs/http.md says why."""

UNSATISFIABLE = False
_MAX_DIGITS = 18
_MAX_RANGES = 16


def parse(value, size):
    """(start, end) of the octets to send, end not included; None: send all; UNSATISFIABLE: answer 416.

    value: Range, bytes. size: octets that there are. What is malformed, of another unit, or several ranges that are not
    one when taken together means all (section 14.2: a server may ignore Range).
    """
    unit, equals, rest = value.partition(b"=")
    if unit.strip(b" \t").lower() != b"bytes" or not equals:
        return None
    start = end = None
    is_there = False
    texts = rest.split(b",")
    if len(texts) > _MAX_RANGES:
        return None
    for text in texts:
        text = text.strip(b" \t")
        if not text:
            continue
        first, dash, last = text.partition(b"-")
        if not dash or not _is_number(first) or not _is_number(last) or not (first or last):
            return None
        if not first:
            begin, stop = max(0, size - int(last)), size
        else:
            begin = int(first)
            stop = min(int(last) + 1, size) if last else size
            if last and int(last) < begin:
                return None
        is_there = True
        if begin >= stop:
            continue
        if start is None:
            start, end = begin, stop
        elif begin <= end and stop >= start:
            start, end = min(start, begin), max(end, stop)
        else:
            return None
    if not is_there:
        return None
    return UNSATISFIABLE if start is None else (start, end)


def _is_number(text):
    return not text or (text.isdigit() and len(text) <= _MAX_DIGITS)


def content_range(start, end, size):
    """The value of Content-Range for these octets; with start None, for 416."""
    if start is None:
        return b"bytes */%d" % size
    return b"bytes %d-%d/%d" % (start, end - 1, size)


def parse_content_range(value):
    """(start, end, size) of a Content-Range, size None for "*"; None for what is malformed or of another unit."""
    unit, _, rest = value.partition(b" ")
    span, slash, size = rest.partition(b"/")
    first, dash, last = span.partition(b"-")
    if unit.lower() != b"bytes" or not slash or not dash or not first or not last:
        return None
    if not _is_number(first) or not _is_number(last) or not (size == b"*" or (size and _is_number(size))):
        return None
    start, end = int(first), int(last) + 1
    size = None if size == b"*" else int(size)
    if start >= end or (size is not None and end > size):
        return None
    return start, end, size
