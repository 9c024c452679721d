# SPDX-License-Identifier: MIT
"""What the server answers with: the files in www/, a little JSON, and a chat."""


class Pages:
    def __init__(self, server, files):
        self.server = server
        self.visits = 0
        self.guests = set()
        server.folder("/", files)
        server.route("GET", "/api/visits", self.count)
        server.route("GET", "/api/hello/<name>", self.hello)
        server.websocket("/chat", self.chat)

    async def start(self):
        await self.server.serve()

    async def count(self, request):
        self.visits += 1
        return {"visits": self.visits}

    async def hello(self, request):
        return {"hello": request.params["name"]}

    async def chat(self, ws):
        """Whatever one says, all hear."""
        self.guests.add(ws)
        try:
            async for message in ws:
                for guest in list(self.guests):
                    try:
                        await guest.send(message)
                    except OSError:
                        pass  # has just left
        finally:
            self.guests.discard(ws)
