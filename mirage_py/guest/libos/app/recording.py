# SPDX-License-Identifier: MIT
"""A stack whose card is recorded, and the recording as a pcap stream: `nc HOST PORT | wireshark -k -i -`."""

import asyncio

from libos.wire import pcap as wire

_CHUNK_BYTES = 16384


class RecordedStack:
    """stack: over the card that `recorder` (net.recorder.Recorder) stands on; port: of the stream, None for none.

    It is that stack in everything else.
    """

    def __init__(self, stack, recorder, port=None):
        self.stack = stack
        self.tcp = stack.tcp
        self.udp = stack.udp
        self._recorder = recorder
        self._readers = []  # an Event of each client
        if port is not None:
            recorder.start(port)
            recorder.on_record = self._wake
            stack.tcp.listen(port, self._serve, 4)

    def __getattr__(self, name):
        return getattr(self.stack, name)

    async def listen(self):
        """Serves until the image ends."""
        await self.stack.listen()

    def _wake(self):
        for event in self._readers:
            event.set()

    async def _serve(self, flow):
        """What is in the ring, then what comes, as long as the client reads."""
        event = asyncio.Event()
        self._readers.append(event)
        recorder = self._recorder
        number = recorder.first
        try:
            await flow.write(wire.emit_header())
            while True:
                event.clear()
                data, number, lost = recorder.read(number, _CHUNK_BYTES)
                if lost:
                    self.stack.log.warning("pcap", "%s:%d reads too slowly: %d frames lost" % (flow.remote + (lost,)))
                if data:
                    await flow.write(data)
                else:
                    await event.wait()
        finally:
            self._readers.remove(event)
