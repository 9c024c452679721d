# SPDX-License-Identifier: MIT
"""The parts of the benchmark: what each needs, where it runs, and how long it may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import cards, connections, driver, images, instructions, linux_card, native, primitives, web
from bench.apps import Application, build_client, build_plugin, build_program
from bench.context import Context, work_folder
from bench.row import Row
from tests.nic.linux_guest import packages

# Things to make before a part can run: "image NAME" is one of apps.BUILDS, "program NAME" one of bench/programs.
CLIENT, PLUGIN, LINUX, LINUX_CARD, NEWER_QEMU = "client", "plugin", "Linux guest", "Linux with iperf3", "newer QEMU"


@dataclass(frozen=True)
class Part:
    """One measurement, in a process of its own.

    needs: keys of the table above; run: yields rows, each as soon as it is there; has_namespace: it runs in a network
    namespace of its own, with a TAP. by_name: only when asked for by name.
    """

    run: Callable[[Context], Iterator[Row]]
    needs: tuple[str, ...]
    timeout_s: float = 900
    has_namespace: bool = False
    by_name: bool = False


PARTS: dict[str, Part] = {
    "size": Part(images.size, ("image hvt", LINUX), 60),
    "memory": Part(images.memory, (CLIENT, "image hvt", LINUX)),
    "boots": Part(images.boots, (CLIENT, "image hvt", LINUX), 1200),
    "tap": Part(images.tap, (CLIENT, "image hvt", LINUX), 1200, has_namespace=True),
    "native": Part(native.echo, (CLIENT, "image direct", "image socket"), has_namespace=True),
    "one-way": Part(native.one_way, (CLIENT, "image services-direct"), has_namespace=True),
    "driver": Part(driver.forward, (f"program {driver.PROGRAM}",)),
    "primitives": Part(primitives.speed, (f"program {primitives.PROGRAM}",)),
    "cards": Part(cards.echo, (CLIENT, "image hvt", "image ixgbe", NEWER_QEMU), 1200),
    "iperf": Part(linux_card.iperf, (LINUX_CARD, NEWER_QEMU), has_namespace=True),
    "instructions": Part(instructions.per_unit, (CLIENT, PLUGIN, "image services-hvt"), has_namespace=True),
    "beside-linux": Part(instructions.beside_linux, (CLIENT, PLUGIN, LINUX, "image hvt"), 600),
    "start": Part(instructions.start, (CLIENT, PLUGIN, "image start"), 120),
    "connections": Part(connections.open_connections, (CLIENT, PLUGIN, "image services-hvt"), 1800, has_namespace=True),
    "tls": Part(web.handshakes, ("image web-socket",), has_namespace=True),
    "tls-memory": Part(web.memory, ("image web-socket",), 120, has_namespace=True),
    "tls-size": Part(web.images, ("image hvt", "image secure", "image both"), 60),
    "http": Part(web.requests, ("image web-direct", "image web-socket"), has_namespace=True),
    "pages": Part(web.pages, (LINUX, "image web-hvt"), 1200),
    "change": Part(images.change, ("image change",), 300),
    "profile": Part(instructions.profile, (CLIENT, PLUGIN, "image services-hvt"), has_namespace=True, by_name=True),
}


def make(need: str) -> None:
    """Makes one of the things that parts need. Raises BuildError, PackageError, UserError, GuestError or OSError."""
    work = work_folder()
    work.mkdir(parents=True, exist_ok=True)
    kind, _, name = need.partition(" ")
    if need == CLIENT:
        build_client(work)
    elif need == PLUGIN:
        build_plugin(work)
    elif need == LINUX:
        Context.linux()
    elif need == LINUX_CARD:
        packages()
    elif need == NEWER_QEMU:
        cards.newer_qemu()
    elif kind == "program":
        build_program(name, work)
    elif need == "image start":
        Application(name, work / "apps").make_with_marks()
    else:
        Application(name, work / "apps").make()
