# SPDX-License-Identifier: MIT
"""Records what passes a backend into a pcap file, both directions, with nanosecond times."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

from mirage_py.nic.backends.base import Backend
from mirage_py.nic.frame import Frame
from mirage_py.support.errors import UserError

_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1
_SNAP_BYTES = 262144


class PcapBackend:
    """A backend around another. Frames are recorded as they are handed over: large segments uncut."""

    def __init__(self, inner: Backend, path: Path) -> None:
        self._inner = inner
        self.takes_offloads = inner.takes_offloads
        self.takes_datagrams = inner.takes_datagrams
        self.is_cable = inner.is_cable
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise UserError(f"recording to {path}: {error.strerror}", "choose another file") from error
        self._file.write(struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAP_BYTES, _LINKTYPE_ETHERNET))

    def _record(self, frames: list[Frame]) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        for frame in frames:
            data = bytes(frame.joined())[:_SNAP_BYTES]
            self._file.write(struct.pack("<IIII", seconds, nanoseconds, len(data), frame.length) + data)
        self._file.flush()

    def send(self, frames: list[Frame]) -> int:
        taken = self._inner.send(frames)
        self._record(frames[:taken])
        return taken

    def receive(self, limit: int) -> list[Frame]:
        frames = self._inner.receive(limit)
        if frames:
            self._record(frames)
        return frames

    def fileno(self) -> int:
        return self._inner.fileno()

    def on_ready(self, callback: Callable[[], None]) -> None:
        self._inner.on_ready(callback)

    def set_link(self, up: bool) -> None:
        self._inner.set_link(up)

    def on_link(self, callback: Callable[[bool], None]) -> None:
        self._inner.on_link(callback)

    def close(self) -> None:
        self._file.close()
        self._inner.close()
