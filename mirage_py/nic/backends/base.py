# SPDX-License-Identifier: MIT
"""The interface of a backend: where a model's frames go and come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mirage_py.nic.frame import Frame


class Backend(Protocol):
    """One end of a wire.

    takes_offloads: frames with partial checksums and large TCP segments may be sent, and may be received.
    takes_datagrams: large datagrams too.
    is_cable: what the receiver does not take is lost there, as on a fibre; else it waits where it comes from.
    """

    takes_offloads: bool
    takes_datagrams: bool
    is_cable: bool

    def send(self, frames: list[Frame]) -> int:
        """Sends frames in order; returns how many were taken. Never blocks. The rest is offered again when it can."""
        ...

    def receive(self, limit: int) -> list[Frame]:
        """At most `limit` frames that have arrived. Never blocks."""
        ...

    def fileno(self) -> int:
        """Readable when frames have arrived, writable when `send` takes more; -1 when there is nothing to wait for."""
        ...

    def on_ready(self, callback: Callable[[], None]) -> None:
        """For a backend without a descriptor: called when frames have arrived, or when `send` takes more."""
        ...

    def set_link(self, up: bool) -> None:
        """Whether this end sends light, for a far end that can be told."""
        ...

    def on_link(self, callback: Callable[[bool], None]) -> None:
        """`callback(up)` when light from the far end comes or goes, and at once where there is none."""
        ...

    def close(self) -> None: ...


class NoBackend:
    """A wire with nothing at its end: what is sent is gone."""

    takes_offloads = True
    takes_datagrams = True
    is_cable = True

    def send(self, frames: list[Frame]) -> int:
        return len(frames)

    def receive(self, limit: int) -> list[Frame]:
        return []

    def fileno(self) -> int:
        return -1

    def on_ready(self, callback: Callable[[], None]) -> None:
        pass

    def set_link(self, up: bool) -> None:
        pass

    def on_link(self, callback: Callable[[bool], None]) -> None:
        pass

    def close(self) -> None:
        pass
