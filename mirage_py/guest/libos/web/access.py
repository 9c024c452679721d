# SPDX-License-Identifier: MIT
"""The access log, in the Combined Log Format of Apache and nginx: a line on the console for each answer."""

from ..http import dates

# Of each of the target, Referer and User-Agent: a head may have 32 KiB, and a console is slow.
_SHOWN_BYTES = 512


class AccessLog:
    """console: write(text). clock: wall_ns()."""

    def __init__(self, console, clock):
        self._console = console
        self._clock = clock

    def note(self, head, remote_ip, status, length):
        """head: http.server.Request. length: octets of the body that was sent."""
        # "Sun, 06 Nov 1994 08:49:37 GMT" -> 06/Nov/1994:08:49:37
        date = dates.format(self._clock.wall_ns() // 1000000000).decode()
        headers = head.headers
        self._console.write(
            '%s - - [%s/%s/%s:%s +0000] "%s %s HTTP/1.%d" %d %s "%s" "%s"\n'
            % (
                remote_ip,
                date[5:7],
                date[8:11],
                date[12:16],
                date[17:25],
                head.method.decode(),
                _shown(head.target),
                head.version - 10,
                status,
                length or "-",
                _shown(headers.get(b"referer", b"-")),
                _shown(headers.get(b"user-agent", b"-")),
            )
        )


def _shown(value):
    """As Apache writes what a client has sent: nothing in it ends a field or a line, or moves a terminal's cursor."""
    if len(value) > _SHOWN_BYTES:
        value = value[:_SHOWN_BYTES] + b"..."
    for octet in value:
        if octet < 32 or octet > 126 or octet == 34 or octet == 92:
            break
    else:
        return value.decode()
    shown = []
    for octet in value:
        if octet < 32 or octet > 126:
            shown.append("\\x%02x" % octet)
        elif octet == 34 or octet == 92:
            shown.append("\\" + chr(octet))
        else:
            shown.append(chr(octet))
    return "".join(shown)
