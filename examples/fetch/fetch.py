# SPDX-License-Identifier: MIT
"""Fetches one URL, prints the status, the type and the content, and ends; with exit code 1 where that fails."""

import sys


class Fetch:
    def __init__(self, client, console, url):
        self.client = client
        self.console = console
        self.url = url

    async def start(self):
        try:
            async with await self.client.get(self.url) as response:
                self.console.write(f"{response.status} {response.reason}\n")
                self.console.write(response.headers.get("content-type", b"(no type)") + b"\n\n")
                async for piece in response:
                    self.console.write(piece)
        except (OSError, ValueError) as error:
            self.console.write(f"fetch: {self.url}: {error}\n")
            sys.exit(1)
        await self.client.close()
