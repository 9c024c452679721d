# SPDX-License-Identifier: MIT
"""How QEMU and the emulated 82599 are told of each other: command lines, and the sockets where they meet."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from mirage_py.run.network import Network

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
