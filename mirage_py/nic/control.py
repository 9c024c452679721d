# SPDX-License-Identifier: MIT
"""A control socket: one JSON object per line, to turn fault switches under traffic and to read counters.

{"fault": "link-down", "value": 1, "card": 0} -> {"ok": true}
{"counters": true, "card": 0}                 -> {"ok": true, "counters": {...}, "faults": {...}}
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from pathlib import Path

from mirage_py.nic.ixgbe.device import Ixgbe82599
from mirage_py.nic.vfio_user.loop import READ, Loop
from mirage_py.support.errors import UserError

log = logging.getLogger(__name__)

_MAX_LINE_BYTES = 65536


class Control:
    """Listens at a Unix socket. Raises UserError when it cannot."""

    def __init__(self, path: Path, loop: Loop, models: list[Ixgbe82599]) -> None:
        self._path = path
        self._loop = loop
        self._models = models
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._listener.bind(str(path))
            os.chmod(path, 0o600)
            self._listener.listen(4)
        except OSError as error:
            self._listener.close()
            raise UserError(f"control socket {path}: {error.strerror}", "choose another path") from error
        loop.watch(self._listener.fileno(), READ, self._accept)

    def _accept(self, events: int) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        fd = client.fileno()
        self._clients[fd] = client, bytearray()
        self._loop.watch(fd, READ, lambda events: self._read(fd))

    def _read(self, fd: int) -> None:
        client, pending = self._clients[fd]
        try:
            data = client.recv(4096)
            pending += data
            while b"\n" in pending:
                line, _, rest = bytes(pending).partition(b"\n")
                pending[:] = rest
                client.sendall(json.dumps(self._answer(line)).encode() + b"\n")
        except OSError:
            data = b""
        if not data or len(pending) > _MAX_LINE_BYTES:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        client, _ = self._clients.pop(fd)
        self._loop.unwatch(fd)
        client.close()

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            model = self._models[request.get("card", 0)]
            if "fault" in request:
                model.faults.set(request["fault"], int(request.get("value", 1)))
                return {"ok": True}
            return {"ok": True, "counters": counters(model), "faults": model.faults.counts}
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            return {"ok": False, "error": str(error)}

    def close(self) -> None:
        for fd in list(self._clients):
            self._drop(fd)
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def counters(model: Ixgbe82599) -> dict[str, object]:
    """What an operator wants to know of a card; reading them here clears nothing."""
    stats = model.stats
    return {
        "rx_packets": stats.gprc,
        "rx_bytes": stats.gorc,
        "rx_missed": sum(stats.mpc),
        "rx_dropped": sum(stats.qprdc),
        "tx_packets": stats.gptc,
        "tx_bytes": stats.gotc,
        "interrupts": model.interrupts.messages,
        "bad_rx_descriptors": model.rx.bad_descriptors,
        "bad_tx_descriptors": model.tx.bad_descriptors,
        "link": model.phy.is_up,
    }
