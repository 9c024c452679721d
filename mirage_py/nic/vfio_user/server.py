# SPDX-License-Identifier: MIT
"""The vfio-user server: a listening socket, one client at a time, and the commands of the protocol.

Whatever a client sends, the server goes on: a request that makes no sense gets an error reply, a stream that cannot be
cut into messages any more ends that connection, and the next client may come.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from mirage_py.nic.vfio_user.connection import Connection
from mirage_py.nic.vfio_user.device import Device
from mirage_py.nic.vfio_user.loop import READ, Loop

log = logging.getLogger(__name__)


class Server:
    """Offers a device at a Unix socket.

    on_disconnect: called when a client has gone; `run_once` programs stop their loop there.
    """

    def __init__(self, path: Path, device: Device, loop: Loop, on_disconnect: Callable[[], None] | None = None) -> None:
        self.path = path
        self.device = device
        self.loop = loop
        self.on_disconnect = on_disconnect
        self.connection: Connection | None = None
        self._socket: socket.socket | None = None

    def listen(self) -> None:
        """Creates the socket; a stale one of a server that is gone is replaced. Raises OSError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._bind(listener)
            listener.listen(4)
        except BaseException:
            listener.close()
            raise
        self._socket = listener
        self.loop.watch(listener.fileno(), READ, self._accept)

    def _bind(self, listener: socket.socket) -> None:
        try:
            listener.bind(str(self.path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._is_stale():
                raise
            self.path.unlink()
            listener.bind(str(self.path))
        os.chmod(self.path, 0o600)

    def _is_stale(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return False

    def _accept(self, events: int) -> None:
        assert self._socket is not None
        try:
            client, _ = self._socket.accept()
        except OSError as error:
            log.warning("accepting a client: %s", error)
            return
        if self.connection is not None:
            # It may have hung up without our having read that yet.
            self.connection.poll()
        if self.connection is not None:
            log.warning("refused a second client")
            client.close()
            return
        self.connection = Connection(client, self.device, self.loop, self._closed)

    def _closed(self) -> None:
        self.connection = None
        if self.on_disconnect is not None:
            self.on_disconnect()

    def close(self) -> None:
        """Ends the connection and removes the socket."""
        if self.connection is not None:
            self.connection.close()
        if self._socket is not None:
            self.loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
