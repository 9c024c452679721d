# SPDX-License-Identifier: MIT
"""How QEMU and the emulated 82599 are told of each other: command lines, and the sockets where they meet."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mirage_py.run.cards import IXGBE
from mirage_py.run.network import Network

DRY_RUN_FOLDER = "card"


@dataclass(frozen=True)
class Sockets:
    """Where QEMU and a model meet. device: vfio-user; wire and hub: the two ends of the user-mode network's cable."""

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


def dry_run_sockets(networks: Iterable[Network]) -> dict[str, Sockets]:
    """By card's name, what a dry run shows."""
    cards = [network.card.name for network in networks if network.card.driver == IXGBE]
    return {
        name: Sockets(Path(f"{DRY_RUN_FOLDER}-{name}" if number else DRY_RUN_FOLDER))
        for number, name in enumerate(cards)
    }


def model_command(sockets: Sockets, network: Network) -> list[str]:
    """The command line of the model, which ends when QEMU has gone."""
    if network.tap is not None:
        backend = f"tap:{network.tap}"
    elif network.link is not None:
        backend = f"dgram:{network.link.local}:{network.link.remote}"
    else:
        backend = f"dgram:{sockets.wire}:{sockets.hub}"
    line = [sys.executable, "-m", "mirage_py.nic", "--socket", str(sockets.device), "--once"]
    line += ["--backend", backend, "--mac", network.mac]
    return line if network.pcap is None else [*line, "--pcap", str(network.pcap)]


def memory_options(memory_mb: int) -> list[str]:
    """The guest's memory, shared: models read and write it."""
    return ["-object", f"memory-backend-memfd,id=mem,size={memory_mb}M,share=on"]


def device_options(sockets: Sockets, identifier: str, slot: int) -> list[str]:
    """The options that plug the model into QEMU."""
    device = {
        "driver": "vfio-user-pci",
        "id": identifier,
        "addr": f"{slot:#x}",
        "socket": {"path": str(sockets.device), "type": "unix"},
        "rombar": 0,
    }
    return ["-device", json.dumps(device, separators=(",", ":"))]


def cable_options(sockets: Sockets, number: int) -> list[str]:
    """The options that lead the user-mode network `net{number}` through a hub to the model: a datagram is a frame."""
    cable = f"local.type=unix,local.path={sockets.hub},remote.type=unix,remote.path={sockets.wire}"
    line = ["-netdev", f"hubport,id=hub{number}-0,hubid={number},netdev=net{number}"]
    line += ["-netdev", f"dgram,id=cable{number},{cable}"]
    return [*line, "-netdev", f"hubport,id=hub{number}-1,hubid={number},netdev=cable{number}"]
