# SPDX-License-Identifier: MIT
"""Hosts and ports in URLs, in Host and in the targets of CONNECT (RFC 3986 section 3.2, RFC 9110 section 7.2)."""

# A name has at most 253 octets (RFC 1035); those of a percent-encoded one are not looked up by anybody.
_MAX_BYTES = 300


def is_authority(data):
    """Whether data (bytes) is `host [":" port]` and has only octets that those have (RFC 3986 section 3.2)."""
    host = data
    if len(data) > _MAX_BYTES:
        return False
    if data.startswith(b"["):
        end = data.find(b"]") + 1
        host = data[:end]
        port = data[end:]
        if not end or host[1:-1].strip(b"0123456789abcdefABCDEF:.") or len(host) < 4:
            return False
    else:
        host, colon, port = data.partition(b":")
        port = colon + port
        # unreserved, sub-delims, and percent-encoding.
        if host.strip(b"etaonisrlcdupmhgbyfvwkxqjz.0123456789-_ETAONISRLCDUPMHGBYFVWKXQJZ~!$&'()*+,;=%"):
            return False
    if not port:
        return True
    return (
        port.startswith(b":") and len(port) <= 6 and (len(port) == 1 or (port[1:].isdigit() and int(port[1:]) < 65536))
    )
