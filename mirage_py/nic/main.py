# SPDX-License-Identifier: MIT
"""Runs emulated 82599s as a process: vfio-user sockets, backends, and a control socket for the fault switches."""

from __future__ import annotations

import hashlib
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from mirage_py.nic.backends.base import Backend, NoBackend
from mirage_py.nic.backends.dgram import DgramBackend
from mirage_py.nic.backends.pair import PairEnd, pair
from mirage_py.nic.backends.pcap import PcapBackend
from mirage_py.nic.backends.tap import TapBackend
from mirage_py.nic.control import Control
from mirage_py.nic.faults import SWITCHES, Faults
from mirage_py.nic.pci import IxgbePci
from mirage_py.nic.vfio_user.loop import Loop
from mirage_py.nic.vfio_user.server import Server
from mirage_py.support.errors import EXIT_USAGE, UserError

log = logging.getLogger(__name__)

BACKENDS = "none, tap:NAME, dgram:LOCAL:REMOTE (paths of Unix datagram sockets), or wire:NAME (to another card here)"


@dataclass
class Options:
    """What `serve` needs.

    sockets: one vfio-user socket per card; backends: one specification per card, as BACKENDS says.
    macs: addresses, six octets each; those that are left out are derived from the sockets' paths.
    once: end when the last client has gone.
    """

    sockets: list[Path]
    backends: list[str]
    macs: list[bytes] = field(default_factory=list)
    pcap: Path | None = None
    control: Path | None = None
    faults: dict[str, int] = field(default_factory=dict)
    offloads: bool = True
    once: bool = False


def parse_mac(text: str) -> bytes:
    """A MAC address as people write it. Raises UserError."""
    try:
        mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        mac = b""
    if len(mac) != 6 or mac[0] & 1:
        raise UserError(f"{text!r} is not the address of a network card", "give six octets such as 02:00:00:00:00:01")
    return mac


def parse_fault(text: str) -> tuple[str, int]:
    """NAME or NAME=NUMBER. Raises UserError."""
    name, _, value = text.partition("=")
    if name not in SWITCHES or (value and not value.isdecimal()):
        raise UserError(f"there is no fault {text!r}", f"choose one of {', '.join(SWITCHES)}")
    return name, int(value or 1)


def default_mac(path: Path) -> bytes:
    """A locally administered address that stays the same for the same socket."""
    return b"\x02\x82\x59" + hashlib.sha256(str(path.resolve()).encode()).digest()[:3]


def open_backend(text: str, offloads: bool = True) -> Backend:
    """A backend from its specification. Raises UserError."""
    kind, _, rest = text.partition(":")
    if kind == "none" and not rest:
        return NoBackend()
    if kind == "tap" and rest:
        return TapBackend(rest, offloads)
    if kind == "dgram" and rest.count(":") == 1:
        local, remote = rest.split(":")
        return DgramBackend.at(Path(local), Path(remote))
    raise UserError(f"backend {text!r}", f"choose {BACKENDS}")


class Wires:
    """Wires between cards of this process, by name: each has two ends."""

    def __init__(self) -> None:
        self._open: dict[str, PairEnd] = {}
        self._used: set[str] = set()

    def end(self, name: str) -> PairEnd:
        """The first or the second end of a wire. Raises UserError for a third."""
        if name in self._open:
            return self._open.pop(name)
        if name in self._used:
            raise UserError(f"wire {name} has two ends", "give the third card another backend")
        self._used.add(name)
        ours, self._open[name] = pair(takes_offloads=True)
        return ours

    def check(self) -> None:
        """Raises UserError when a wire leads nowhere."""
        for name in self._open:
            raise UserError(f"wire {name} has one end", f"give a second card the backend wire:{name}")


def serve(options: Options) -> int:
    """Serves until a signal ends it, or with `once` until the clients have gone. Returns an exit code."""
    if len(options.sockets) != len(options.backends):
        raise UserError(
            f"{len(options.sockets)} sockets and {len(options.backends)} backends", "give one backend for each socket"
        )
    loop = Loop()
    cards: list[IxgbePci] = []
    servers: list[Server] = []
    waiting = set(range(len(options.sockets)))
    wires = Wires()

    def gone(number: int) -> None:
        waiting.discard(number)
        if options.once and not waiting:
            loop.stop()

    control = None
    try:
        for number, (path, text) in enumerate(zip(options.sockets, options.backends, strict=True)):
            kind, _, name = text.partition(":")
            backend = wires.end(name) if kind == "wire" and name else open_backend(text, options.offloads)
            if options.pcap is not None:
                file = options.pcap if number == 0 else options.pcap.with_suffix(f".{number}{options.pcap.suffix}")
                backend = PcapBackend(backend, file)
            mac = options.macs[number] if number < len(options.macs) else default_mac(path)
            faults = Faults()
            cards.append(IxgbePci(mac, backend, loop, faults))
            for fault, value in options.faults.items():
                faults.set(fault, value)
            server = Server(path, cards[-1], loop, lambda number=number: gone(number))  # type: ignore[misc]
            try:
                server.listen()
            except OSError as error:
                raise UserError(f"socket {path}: {error.strerror}", "choose another path") from error
            servers.append(server)
            log.info("82599 %s at %s, wired to %s", mac.hex(":"), path, text)
        wires.check()
        if options.control is not None:
            control = Control(options.control, loop, [card.model for card in cards])
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.stop())
        print("ready", flush=True)
        loop.run()
    finally:
        if control is not None:
            control.close()
        for server in servers:
            server.close()
        for card in cards:
            card.close()
        loop.close()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m mirage_py.nic`."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.exit(EXIT_USAGE, f"mirage-py nic: error: {message}; see `mirage-py nic --help`\n")

    parser = Parser(prog="mirage-py nic", description="An emulated Intel 82599 for a virtual machine.")
    parser.add_argument(
        "--socket", type=Path, action="append", required=True, help="vfio-user socket; repeat for more cards"
    )
    parser.add_argument("--backend", action="append", default=[], help=f"the wire of the same card: {BACKENDS}")
    parser.add_argument(
        "--mac", action="append", default=[], help="address of the same card (default: from the socket)"
    )
    parser.add_argument("--pcap", type=Path, help="record frames to this file")
    parser.add_argument(
        "--control", type=Path, help="socket that takes fault switches and tells counters, as JSON lines"
    )
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME[=N]", help=f"one of {', '.join(SWITCHES)}"
    )
    parser.add_argument("--no-offloads", action="store_true", help="cut large segments and fill in checksums here")
    parser.add_argument("--once", action="store_true", help="end when the virtual machine ends")
    parser.add_argument("--log", default="warning", choices=["debug", "info", "warning", "error"])
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=arguments.log.upper(), format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        backends = arguments.backend + ["none"] * (len(arguments.socket) - len(arguments.backend))
        return serve(
            Options(
                sockets=arguments.socket,
                backends=backends,
                macs=[parse_mac(text) for text in arguments.mac],
                pcap=arguments.pcap,
                control=arguments.control,
                faults=dict(parse_fault(text) for text in arguments.fault),
                offloads=not arguments.no_offloads,
                once=arguments.once,
            )
        )
    except UserError as error:
        print(f"mirage-py nic: error: {error}", file=sys.stderr)
        return error.exit_code
