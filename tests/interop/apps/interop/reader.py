# SPDX-License-Identifier: MIT
"""Lines and counted octets from a flow."""


class Reader:
    """What a flow has brought beyond what was asked for stays here."""

    def __init__(self, flow):
        self.flow = flow
        self.rest = b""

    async def line(self, limit):
        """Up to and without the next line feed, and without a carriage return before it; b"" at the end.

        Raises ValueError when there are more than `limit` octets without one.
        """
        while True:
            end = self.rest.find(b"\n")
            if end >= 0:
                line = self.rest[:end]
                self.rest = self.rest[end + 1 :]
                return line.rstrip(b"\r")
            if len(self.rest) > limit:
                raise ValueError("a line of more than %d octets" % limit)
            data = await self.flow.read()
            if not data:
                line = self.rest
                self.rest = b""
                return line
            self.rest += data

    async def some(self, limit=65536):
        """At most `limit` octets, as soon as there are any; b"" at the end."""
        if not self.rest:
            return await self.flow.read(limit)
        data = self.rest[:limit]
        self.rest = self.rest[limit:]
        return data

    async def exactly(self, count):
        """`count` octets. Raises OSError (EPIPE) when the peer ends before."""
        parts = []
        while count:
            data = await self.some(count)
            if not data:
                raise OSError(32)
            parts.append(data)
            count -= len(data)
        return b"".join(parts)
