# SPDX-License-Identifier: MIT
"""A datagram socket, one frame to a datagram: QEMU's `-netdev dgram`, or another model."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

from mirage_py.nic.frame import Frame
from mirage_py.support.errors import UserError

# A frame of the largest size that the model sends, and more than the user-mode network ever sends.
_READ_BYTES = 65536
_SOCKET_BUFFER_BYTES = 4 << 20


class DgramBackend:
    """Frames as datagrams. Large segments are cut and checksums finished before: a peer expects whole frames."""

    takes_offloads = False
    takes_datagrams = False
    is_cable = True

    def __init__(self, sock: socket.socket, remote: Path | None = None, local: Path | None = None) -> None:
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        self._socket = sock
        self._remote = str(remote) if remote is not None else None
        self._local = local
        self._is_connected = remote is None

    @classmethod
    def at(cls, local: Path, remote: Path) -> DgramBackend:
        """A Unix datagram socket at `local` that sends to `remote`, which need not exist yet. Raises UserError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(FileNotFoundError):
            local.unlink()
        try:
            sock.bind(str(local))
        except OSError as error:
            sock.close()
            raise UserError(f"socket {local}: {error.strerror}", "choose another path") from error
        return cls(sock, remote, local)

    @classmethod
    def couple(cls) -> tuple[DgramBackend, DgramBackend]:
        """Both ends of a wire between two models."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        return cls(left), cls(right)

    def send(self, frames: list[Frame]) -> int:
        if not self._is_connected and not self._connect():
            return len(frames)  # nobody is there yet: lost, as on an unplugged wire
        sock = self._socket
        for number, frame in enumerate(frames):
            try:
                sock.sendmsg(frame.parts)
            except BlockingIOError:
                return number
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return number
                if error.errno in (errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET):
                    self._is_connected = self._remote is None
        return len(frames)

    def _connect(self) -> bool:
        """Connected, for only then does the socket say when its peer takes more (unix(7))."""
        assert self._remote is not None
        try:
            self._socket.connect(self._remote)
        except OSError:
            return False
        self._is_connected = True
        return True

    def receive(self, limit: int) -> list[Frame]:
        frames = []
        for _ in range(limit):
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue
            if len(data) >= 14:
                frames.append(Frame([data], len(data)))
        return frames

    def fileno(self) -> int:
        return self._socket.fileno()

    def on_ready(self, callback: Callable[[], None]) -> None:
        pass

    def set_link(self, up: bool) -> None:
        pass

    def on_link(self, callback: Callable[[bool], None]) -> None:
        pass

    def close(self) -> None:
        self._socket.close()
        if self._local is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._local)
            self._local = None
