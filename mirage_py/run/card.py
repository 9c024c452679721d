# SPDX-License-Identifier: MIT
"""The emulated 82599 beside QEMU: a process of `mirage_py.nic`, and their sockets in a folder of its own."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mirage_py.errors import UserError
from mirage_py.run.network import Network
from mirage_py.run.session import dies_with_us

START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 3.0
DRY_RUN_FOLDER = Path("card")


@dataclass(frozen=True)
class Sockets:
    """Where QEMU and the model meet. device: vfio-user; wire and hub: the two ends of the user-mode network's cable."""

    folder: Path

    @property
    def device(self) -> Path:
        return self.folder / "device"

    @property
    def wire(self) -> Path:
        return self.folder / "wire"

    @property
    def hub(self) -> Path:
        return self.folder / "hub"


def model_command(sockets: Sockets, network: Network, pcap: Path | None) -> list[str]:
    """The command line of the model, which ends when QEMU has gone."""
    backend = f"tap:{network.tap}" if network.tap is not None else f"dgram:{sockets.wire}:{sockets.hub}"
    line = [sys.executable, "-m", "mirage_py.nic", "--socket", str(sockets.device), "--once"]
    line += ["--backend", backend, "--mac", network.mac]
    return line if pcap is None else [*line, "--pcap", str(pcap)]


def qemu_options(sockets: Sockets, memory_mb: int) -> list[str]:
    """The options that plug the model into QEMU. The guest's memory is shared: the model reads and writes it."""
    device = {
        "driver": "vfio-user-pci",
        "socket": {"path": str(sockets.device), "type": "unix"},
        "rombar": 0,
    }
    memory = f"memory-backend-memfd,id=mem,size={memory_mb}M,share=on"
    return ["-object", memory, "-device", json.dumps(device, separators=(",", ":"))]


def cable_options(sockets: Sockets) -> list[str]:
    """The options that lead the user-mode network `net0` through a hub to the model: one datagram is one frame."""
    cable = f"local.type=unix,local.path={sockets.hub},remote.type=unix,remote.path={sockets.wire}"
    line = ["-netdev", "hubport,id=hub0,hubid=0,netdev=net0"]
    line += ["-netdev", f"dgram,id=cable,{cable}"]
    return [*line, "-netdev", "hubport,id=hub1,hubid=0,netdev=cable"]


class Card:
    """A running model. Raises UserError when it does not start."""

    def __init__(self, network: Network, pcap: Path | None) -> None:
        self.sockets = Sockets(Path(tempfile.mkdtemp(prefix="mirage-py-")))
        self._complaints = tempfile.TemporaryFile(prefix="mirage-py-")  # noqa: SIM115 (closed with us)
        self.process = subprocess.Popen(
            model_command(self.sockets, network, pcap),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
            preexec_fn=dies_with_us(),  # noqa: PLW1509 (no threads yet)
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_TIMEOUT_S)
        if not ready or b"ready" not in os.read(self.process.stdout.fileno(), 4096):
            why = self.why()
            self.close()
            raise UserError(f"the emulated network card does not start: {why}", "`mirage-py doctor` says what it needs")

    def why(self) -> str:
        """The last line that the model wrote to its standard error."""
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("mirage-py: error: ") if lines else "it said nothing"

    def close(self) -> None:
        """End the model, if it has not ended with QEMU, and remove its folder."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(END_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        shutil.rmtree(self.sockets.folder, ignore_errors=True)
