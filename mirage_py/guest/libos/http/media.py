# SPDX-License-Identifier: MIT
"""Media types with parameters, and what a client prefers by q-values (RFC 9110 sections 8.3, 12.4, 12.5)."""

from .head import is_token

_MAX_PARAMETERS = 16
_MAX_ELEMENTS = 64


def parse(value):
    """(type in lower case, {parameter in lower case: value}) of e.g. b'text/html; charset="utf-8"'; all bytes.

    ValueError for what is malformed. The first of two parameters of one name counts nothing: it is an error.
    """
    parts = split(value, b";", _MAX_PARAMETERS)
    kind = parts[0].strip(b" \t").lower()
    if len(parts) > _MAX_PARAMETERS:
        raise ValueError("too many parameters")
    parameters = {}
    for part in parts[1:]:
        part = part.strip(b" \t")
        if not part:
            continue
        name, equals, given = part.partition(b"=")
        name = name.lower()
        if not equals or not is_token(name) or name in parameters:
            raise ValueError("malformed parameter")
        parameters[name] = unquoted(given)
    return kind, parameters


def unquoted(value):
    """The octets that a token or a quoted string (RFC 9110 section 5.6.4) means. ValueError for what is neither."""
    if is_token(value):
        return value
    if len(value) < 2 or value[0] != 34 or value[-1] != 34:
        raise ValueError("neither a token nor a quoted string")
    value = value[1:-1]
    if b"\\" not in value:
        if b'"' in value:
            raise ValueError("malformed quoted string")
        return value
    out = bytearray()
    index = 0
    while index < len(value):
        octet = value[index]
        if octet == 92:
            index += 1
            if index == len(value):
                raise ValueError("malformed quoted string")
            octet = value[index]
        elif octet == 34:
            raise ValueError("malformed quoted string")
        out.append(octet)
        index += 1
    return bytes(out)


def split(value, separator, most):
    """The parts of value between separators (one octet) that are not in quoted strings; behind `most` all the rest."""
    if b'"' not in value:
        return value.split(separator, most)
    parts = []
    start = 0
    is_quoted = False
    index = 0
    while index < len(value):
        octet = value[index]
        if octet == 34:
            is_quoted = not is_quoted
        elif octet == 92 and is_quoted:
            index += 1
        elif octet == separator[0] and not is_quoted and len(parts) < most:
            parts.append(value[start:index])
            start = index + 1
        index += 1
    parts.append(value[start:])
    return parts


def weights(value):
    """List of (element in lower case, its q in thousandths) of Accept, Accept-Encoding, Accept-Language.

    What is malformed is left out, and so are elements beyond the 64th.
    """
    found = []
    for element in split(value, b",", _MAX_ELEMENTS)[:_MAX_ELEMENTS]:
        name, *parameters = split(element, b";", _MAX_PARAMETERS)
        name = name.strip(b" \t").lower()
        weight = 1000
        for parameter in parameters:
            key, _, given = parameter.strip(b" \t").partition(b"=")
            if key.lower() == b"q":
                weight = _thousandths(given)
        if name and weight is not None:
            found.append((name, weight))
    return found


def _thousandths(value):
    """RFC 9110 section 12.4.2: 0 to 1 with up to three decimals; None for anything else."""
    whole, _, decimals = value.partition(b".")
    if whole not in (b"0", b"1") or len(decimals) > 3 or (decimals and not decimals.isdigit()):
        return None
    weight = int(whole) * 1000 + (int(decimals) * 10 ** (3 - len(decimals)) if decimals else 0)
    return weight if weight <= 1000 else None


def preferred_encoding(value, offers):
    """Which of offers (content codings, the best first, e.g. (b"br", b"gzip", b"identity")) to send; None for none.

    value: Accept-Encoding, or None where there is none, which means only identity here: who says nothing of codings
    may know none. The order of offers decides where q-values are equal (RFC 9110 section 12.5.3).
    """
    if value is None:
        return b"identity" if b"identity" in offers else None
    wanted = dict(weights(value))
    if b"x-gzip" in wanted:
        wanted[b"gzip"] = wanted[b"x-gzip"]
    others = wanted.get(b"*")
    best = None
    best_weight = 0
    for offer in offers:
        weight = wanted.get(offer, others)
        if weight is not None and weight > best_weight:
            best, best_weight = offer, weight
    if best is None and b"identity" in offers and wanted.get(b"identity", others) is None:
        return b"identity"  # acceptable, as nobody speaks of it
    return best


def preferred_type(value, offers):
    """Which of offers (media types, the best first) to send; None when the client takes none. value: Accept or None.

    The most specific range of each type counts; parameters of ranges other than q are not looked at.
    """
    if value is None:
        return offers[0]
    wanted = {}
    for name, weight in weights(value):
        wanted[name] = max(weight, wanted.get(name, 0))
    best = None
    best_weight = 0
    for offer in offers:
        weight = wanted.get(offer)
        if weight is None:
            weight = wanted.get(offer.partition(b"/")[0] + b"/*")
        if weight is None:
            weight = wanted.get(b"*/*", 0)
        if weight > best_weight:
            best, best_weight = offer, weight
    return best
