# SPDX-License-Identifier: MIT
"""What `mirage-py run` was asked to do: plain values, checked where they can be without looking at the machine."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from mirage_py.support.errors import UserError

MACHINES = ("q35", "pc", "microvm")
ACCELERATORS = ("kvm", "tcg")
DEFAULT_GDB_PORT = 1234

_PUBLISH_FORM = "write it as [HOST_ADDRESS:]HOST_PORT:GUEST_PORT[/udp], for example 8080:80"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Forward:
    """One host port that QEMU's user-mode network hands on to the guest.

    instead_of: the port that it would have been, were that one not taken.
    """

    host_port: int
    guest_port: int
    host_address: str = "127.0.0.1"
    proto: str = "tcp"
    instead_of: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"forwarding {self.host_address}:{self.host_port} -> guest {self.guest_port}/{self.proto}"

    @property
    def warning(self) -> str | None:
        """What its user has to know who counts on the port that it always is."""
        if self.instead_of is None:
            return None
        suffix = "" if self.proto == "tcp" else f"/{self.proto}"
        return (
            f"port {self.host_address}:{self.instead_of}/{self.proto} is taken by another program: the guest is at "
            f"{self.host_address}:{self.host_port} this time; end that program, or choose a port with "
            f"--publish PORT:{self.guest_port}{suffix}"
        )


@dataclass
class RunOptions:
    """The options of `mirage-py run`; `commands.run` takes them.

    image: the built file; None: what output_dir/mirage/config.json names, in output_dir/dist.
    output_dir: where `configure` wrote.
    memory_mb: guest RAM in MiB; None: what the image asks for.
    machine: one of MACHINES; None: what the image needs.
    accel: one of ACCELERATORS; None: KVM where the processor and /dev/kvm allow it, else TCG.
    publish: as on the command line, `[HOST_ADDRESS:]HOST_PORT:GUEST_PORT[/udp]`; replaces the default forward of
        the same guest port.
    tap: names of TAP devices to use instead of the user-mode network, for the image's network cards in order, or for
        the one that is named: `[CARD=]NAME`; one that is not there is made, and removed again.
    link: paths of wires to another guest that has the same path, for cards in the same way: `[CARD=]PATH`.
    without: names of PCI devices that `run` does not attach, because a qemu_arg does.
    pcap: files that get every frame of a network card: `CARD=FILE`; or `FILE` for the first, and for the others files
        beside it with the card's name before the suffix.
    gdb: port for gdb on 127.0.0.1; the guest then waits for it. None: no gdb.
    detach: leave the guest running under a supervisor of its own.
    name: what `ps`, `logs` and `stop` call a detached guest; None: the image's name.
    guest_args: boot arguments, behind those that `run` adds itself.
    qemu: the QEMU binary; None: qemu-system-x86_64 from PATH.
    qemu_args: more arguments for QEMU itself, at the end of its command line.
    dry_run: print the command line and do nothing.
    """

    image: Path | None = None
    output_dir: Path = field(default_factory=Path)
    memory_mb: int | None = None
    machine: str | None = None
    accel: str | None = None
    publish: list[str] = field(default_factory=list)
    tap: list[str] = field(default_factory=list)
    link: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    pcap: list[str] = field(default_factory=list)
    gdb: int | None = None
    detach: bool = False
    name: str | None = None
    guest_args: list[str] = field(default_factory=list)
    qemu: str | None = None
    qemu_args: list[str] = field(default_factory=list)
    dry_run: bool = False


def parse_publish(text: str) -> Forward:
    """Read one --publish value.

    Raises UserError when it does not read as `[HOST_ADDRESS:]HOST_PORT:GUEST_PORT[/udp|/tcp]`.
    """
    body, slash, proto = text.partition("/")
    if not slash:
        proto = "tcp"
    parts = body.rsplit(":", 2)
    if proto not in ("tcp", "udp") or len(parts) < 2:
        raise UserError(f"--publish {text}: not a port to forward", _PUBLISH_FORM)
    host_address = parts[0] if len(parts) == 3 else "127.0.0.1"
    try:
        ipaddress.IPv4Address(host_address)
    except ValueError:
        raise UserError(f"--publish {text}: {host_address!r} is not an IPv4 address", _PUBLISH_FORM) from None
    ports = []
    for part in parts[-2:]:
        if not part.isascii() or not part.isdigit() or not 1 <= int(part) <= 65535:
            raise UserError(f"--publish {text}: {part!r} is not a port from 1 to 65535", _PUBLISH_FORM)
        ports.append(int(part))
    return Forward(ports[0], ports[1], host_address, proto)


def check(options: RunOptions) -> None:
    """Refuse values that no machine could satisfy, and contradictions. Raises UserError."""
    if options.memory_mb is not None and not 1 <= options.memory_mb <= 1 << 20:
        raise UserError(f"--memory {options.memory_mb}: not a number of MiB", "give a number from 1 to 1048576")
    if options.machine is not None and options.machine not in MACHINES:
        raise UserError(f"--machine {options.machine}: unknown machine", f"choose one of {', '.join(MACHINES)}")
    if options.accel is not None and options.accel not in ACCELERATORS:
        raise UserError(f"--accel {options.accel}: unknown accelerator", f"choose one of {', '.join(ACCELERATORS)}")
    if options.gdb is not None and not 1 <= options.gdb <= 65535:
        raise UserError(f"--gdb {options.gdb}: not a port", "give a number from 1 to 65535")
    if options.name is not None and not _NAME.fullmatch(options.name):
        raise UserError(f"--name {options.name}: not a name", "use at most 64 letters, digits, '.', '_' and '-'")
    for text in options.tap:
        name = text.partition("=")[2] or text
        if not 1 <= len(name.encode()) <= 15 or re.search(r"[\s/:,]", name):
            raise UserError(f"--tap {text}: not an interface name", "use at most 15 letters and digits, as in tap0")
    if options.name is not None and not options.detach:
        raise UserError("--name goes with --detach", "add --detach, or leave --name out")
