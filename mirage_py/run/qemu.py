# SPDX-License-Identifier: MIT
"""QEMU's command line for an image, and what its end means."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mirage_py.run import network as networks
from mirage_py.run import vfio_user
from mirage_py.run.image import Image
from mirage_py.run.network import Network
from mirage_py.support.errors import UserError

# The guest's runtime leaves with these (targets/common/port_abi.h).
EXIT_FAULT = 70
EXIT_LARGEST = 127
DEBUG_EXIT_PORT = 0xF4

RUNNABLE_CONSOLE = "stdio,id=console"  # for --dry-run: what a person can paste into a shell


@dataclass(frozen=True)
class Machine:
    """Everything that a QEMU command line is made of.

    networks: of the cards that are to be attached. slots: card's name -> its slot on bus 0. gdb: port, None for none.
    boot_args: all of the guest's. rng_slot: of a virtio-rng, prompt: the socket of its prompt; None for none.
    """

    qemu: str
    accelerator: str
    cpu: str
    kind: str
    memory_mb: int
    image: Image
    networks: list[Network] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)
    boot_args: list[str] = field(default_factory=list)
    gdb: int | None = None
    prompt: Path | None = None
    rng_slot: int | None = None
    extra: list[str] = field(default_factory=list)


def _escape(value: object) -> str:
    # QEMU's option syntax: a comma inside a value is doubled.
    return str(value).replace(",", ",,")


def command(
    machine: Machine,
    *,
    console: str = RUNNABLE_CONSOLE,
    monitor: str | None = None,
    tap_fds: Mapping[str, int] | None = None,
    sockets: Mapping[str, vfio_user.Sockets] | None = None,
) -> list[str]:
    """The command line.

    console, monitor: -chardev values with the ids "console" and "monitor"; who has the monitor starts the guest with
        `cont`. By card's name: tap_fds: open TAPs that QEMU inherits; sockets: of the emulated cards.
    """
    line = [machine.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    line += ["-name", _escape(machine.image.name)]
    kind = f"{machine.kind},memory-backend=mem" if sockets else machine.kind
    line += ["-machine", kind, "-accel", machine.accelerator, "-cpu", machine.cpu]
    line += ["-m", f"{machine.memory_mb}M"]
    line += ["-chardev", console, "-serial", "chardev:console"]
    if machine.prompt is not None:
        path = _escape(machine.prompt)
        line += ["-chardev", f"socket,id=prompt,path={path},server=on,wait=off", "-serial", "chardev:prompt"]
    if monitor is not None:
        line += ["-chardev", monitor, "-qmp", "chardev:monitor"]
    line += ["-device", f"isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=4", "-device", "pvpanic"]
    if sockets:
        line += vfio_user.memory_options(machine.memory_mb)
    for network in machine.networks:
        line += _card_options(network, machine.slots[network.card.name], tap_fds or {}, sockets or {})
    if machine.rng_slot is not None:
        line += ["-device", f"virtio-rng-pci,addr={machine.rng_slot:#x}"]
    if machine.gdb is not None:
        line += ["-gdb", f"tcp:127.0.0.1:{machine.gdb}"]
    if machine.gdb is not None or monitor is not None:
        line.append("-S")
    line += ["-kernel", str(machine.image.path)]
    if machine.boot_args:
        line += ["-append", shlex.join(machine.boot_args)]
    return line + machine.extra


def identifier(network: Network) -> str:
    """What QEMU calls the card."""
    return f"card{network.number}"


def _card_options(
    network: Network, slot: int, tap_fds: Mapping[str, int], sockets: Mapping[str, vfio_user.Sockets]
) -> list[str]:
    name, number = network.card.name, network.number
    if name in sockets:
        line = vfio_user.device_options(sockets[name], identifier(network), slot)
        if network.is_user_mode:
            line += ["-netdev", networks.netdev(network, None), *vfio_user.cable_options(sockets[name], number)]
        return line
    line = ["-netdev", networks.netdev(network, tap_fds.get(name))]
    # No option ROM: nobody boots from the network, and the firmware starts sooner.
    options = f"netdev=net{number},id={identifier(network)},addr={slot:#x},mac={network.mac},disable-legacy=on,romfile="
    line += ["-device", f"virtio-net-pci,{options}"]
    if network.pcap is not None:
        line += ["-object", f"filter-dump,id=pcap{number},netdev=net{number},file={_escape(network.pcap)}"]
    return line


@dataclass(frozen=True)
class End:
    """How QEMU ended.

    status: of the process, negative for a signal. reason: of QMP's SHUTDOWN event, None when there was none.
    panicked: GUEST_PANICKED was seen. complaints: what it wrote to standard error. has_run: the guest was started.
    """

    status: int
    reason: str | None
    panicked: bool
    complaints: str
    has_run: bool = False


def _complaint(text: str) -> str | None:
    """The first error in QEMU's standard error; its warnings do not count."""
    for line in text.splitlines():
        match = re.match(r"\S*qemu\S*: (.*)", line)
        # "qemu-system-x86_64: -option value: warning: ..."
        if match and not re.match(r"(-\S.*?: )?(warning|info|terminating on signal)\b", match[1]):
            return match[1]
    return None


class PortTakenError(UserError):
    """Between our look at a host port and QEMU's bind somebody else took it."""


def _failure(complaint: str) -> UserError:
    forward = re.search(r"host forwarding rule '(\w+):([\d.]+):(\d+)-", complaint)
    if forward:
        return PortTakenError(
            f"host port {forward[2]}:{forward[3]}/{forward[1]} was taken just now", "run again, or use --publish"
        )
    if "RAM" in complaint and ("allocate" in complaint or "memory" in complaint):
        return UserError(f"QEMU: {complaint}", "give less --memory")
    if "gdbstub" in complaint:
        return UserError(f"QEMU: {complaint}", "the port may be taken; choose another one with --gdb PORT")
    if "filter-dump" in complaint or "net dump" in complaint:
        return UserError(f"QEMU: {complaint}", "name a file that can be written with --pcap")
    if "PVH" in complaint or "ELF" in complaint:
        return UserError(f"QEMU: {complaint}", "this file is no image to boot; build it again with `make`")
    return UserError(f"QEMU: {complaint}", "`mirage-py run --dry-run` prints its command line")


def exit_code(end: End) -> tuple[int, str | None]:
    """The guest's exit code, and a remark for the user where there is something to say.

    isa-debug-exit makes QEMU exit with (code << 1) | 1, which for code 0 is also how QEMU itself fails before the guest
    runs: an error on its standard error tells the two apart then.
    Raises UserError when QEMU failed, not the guest.
    """
    complaint = _complaint(end.complaints)
    if end.status < 0:
        raise UserError(f"QEMU was ended by signal {-end.status}" + (f" ({complaint})" if complaint else ""))
    if end.panicked:
        return EXIT_FAULT, "the guest panicked"
    if end.reason == "guest-reset":
        return EXIT_FAULT, "the guest reset the machine (a triple fault, where it says nothing before)"
    remark = f"QEMU: {complaint}" if complaint else None
    if end.status == 1 and complaint is not None and not end.has_run:
        raise _failure(complaint)
    if end.status & 1:
        return end.status >> 1, remark
    if end.status == 0:
        return 0, remark
    raise UserError(f"QEMU ended with status {end.status}" + (f" ({complaint})" if complaint else ""))
