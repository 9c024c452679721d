# SPDX-License-Identifier: MIT
"""mirage_py.run.qemu: the command line, and what the end of QEMU means."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from mirage_py.run.cards import Card
from mirage_py.run.image import Image
from mirage_py.run.link import Link
from mirage_py.run.network import Network
from mirage_py.run.qemu import End, Machine, command, exit_code
from mirage_py.run.vfio_user import dry_run_sockets, model_command
from mirage_py.support.errors import UserError


def machine(path: str = "dist/echo.hvt", **fields: object) -> Machine:
    values: dict[str, object] = {
        "qemu": "qemu",
        "accelerator": "tcg",
        "cpu": "max",
        "kind": "q35",
        "memory_mb": 16,
        "image": Image(Path(path), "echo", "hvt"),
    }
    return Machine(**{**values, **fields})  # type: ignore[arg-type]


def plan(number: int, driver: str = "virtio_net", **fields: object) -> Network:
    card = Card(f"pci{number}", driver=driver, network=f"net{number}")
    guest, host = ipaddress.IPv4Interface("10.0.2.15/24"), ipaddress.IPv4Address("10.0.2.2")
    return Network(card, number, guest, host, f"52:54:00:00:00:0{number}", **fields)  # type: ignore[arg-type]


def after(line: list[str], option: str) -> list[str]:
    return [line[index + 1] for index, word in enumerate(line) if word == option]


def test_without_network() -> None:
    line = command(machine())
    assert not [word for word in line if "net0" in word]
    assert after(line, "-append") == []
    assert after(line, "-kernel") == ["dist/echo.hvt"]
    assert after(line, "-m") == ["16M"]


def test_boot_arguments_are_quoted_as_a_shell_reads_them() -> None:
    (line,) = after(command(machine(boot_args=["--greeting", 'it\'s a "day"', ""])), "-append")
    assert line == "--greeting 'it'\"'\"'s a \"day\"' ''"


def test_commas_in_paths_are_escaped() -> None:
    net = plan(0, pcap=Path("c,d.pcap"))
    line = command(machine("a,b/echo.hvt", networks=[net], slots={"pci0": 1}, gdb=1234))
    assert after(line, "-kernel") == ["a,b/echo.hvt"]
    assert after(line, "-object") == ["filter-dump,id=pcap0,netdev=net0,file=c,,d.pcap"]
    assert after(line, "-gdb") == ["tcp:127.0.0.1:1234"]
    assert "-S" in line


def test_cards_of_both_kinds_each_in_its_slot_and_on_its_network() -> None:
    nets = [plan(0), plan(1, "ixgbe"), plan(2, "ixgbe", tap="tap9"), plan(3, tap="tap8")]
    slots = {"pci0": 3, "pci1": 1, "pci2": 2, "pci3": 4}
    sockets = dry_run_sockets(nets)
    line = command(machine(networks=nets, slots=slots), sockets=sockets, tap_fds={"pci3": 9})
    cards = [word for word in after(line, "-device") if "net" in word or "vfio" in word]
    assert cards[0].startswith("virtio-net-pci,netdev=net0,id=card0,addr=0x3,mac=52:54:00:00:00:00,")
    emulated = [json.loads(word) for word in cards[1:3]]
    assert [(one["driver"], one["id"], one["addr"]) for one in emulated] == [
        ("vfio-user-pci", "card1", "0x1"),
        ("vfio-user-pci", "card2", "0x2"),
    ]
    assert [one["socket"]["path"] for one in emulated] == ["card/device", "card-pci2/device"]
    assert "netdev=net3,id=card3,addr=0x4" in cards[3]
    netdevs = after(line, "-netdev")
    assert "hubport,id=hub1-0,hubid=1,netdev=net1" in netdevs
    assert "tap,id=net3,fd=9" in netdevs
    assert not [word for word in netdevs if "net2" in word]
    assert sum("memory-backend-memfd" in word for word in line) == 1
    assert model_command(sockets["pci2"], nets[2])[-4:] == ["--backend", "tap:tap9", "--mac", "52:54:00:00:00:02"]


def test_emulated_card_on_a_wire() -> None:
    net = plan(0, "ixgbe", link=Link(Path("/tmp/w"), 1))
    line = command(machine(networks=[net], slots={"pci0": 1}), sockets=dry_run_sockets([net]))
    assert not after(line, "-netdev")
    assert "dgram:/tmp/w.1:/tmp/w.0" in model_command(dry_run_sockets([net])["pci0"], net)


def test_extra_arguments_come_last() -> None:
    assert command(machine(extra=["-d", "int"]))[-2:] == ["-d", "int"]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (End(7, None, False, ""), 3),
        (End(1, None, False, ""), 0),
        (End(1, None, False, "qemu-system-x86_64: warning: TCG doesn't support requested feature\n"), 0),
        (End(1, None, False, "qemu: -mon chardev=monitor,mode=control: warning: '-mon' is deprecated\n"), 0),
        (End(1, None, False, "qemu-system-x86_64: virtio: bogus descriptor\n", has_run=True), 0),
        (End(141, None, False, ""), 70),
        (End(0, "guest-shutdown", False, ""), 0),
        (End(0, "guest-reset", False, ""), 70),
        (End(0, "guest-panic", True, ""), 70),
    ],
)
def test_end_of_the_guest(end: End, code: int) -> None:
    assert exit_code(end)[0] == code


@pytest.mark.parametrize(
    ("complaints", "cause"),
    [
        (
            "qemu-system-x86_64: -netdev user,...: Could not set up host forwarding rule 'tcp:127.0.0.1:8007-:7'",
            "host port 127.0.0.1:8007/tcp was taken",
        ),
        ("qemu: warning: x\nqemu: cannot set up guest memory 'pc.ram': Cannot allocate memory", "cannot set up"),
        ("qemu-system-x86_64: Error loading uncompressed kernel without PVH ELF Note", "PVH"),
        ("qemu-system-x86_64: something new", "something new"),
    ],
)
def test_end_of_a_qemu_that_failed(complaints: str, cause: str) -> None:
    with pytest.raises(UserError, match=cause):
        exit_code(End(1, None, False, complaints))


def test_qemu_that_crashed() -> None:
    with pytest.raises(UserError, match="signal 11"):
        exit_code(End(-11, None, False, ""))


def test_random_numbers_have_a_slot_of_their_own() -> None:
    line = command(machine(networks=[plan(0)], slots={"pci0": 1}, rng_slot=0x1D))
    assert "virtio-rng-pci,addr=0x1d" in after(line, "-device")
    assert not [word for word in command(machine()) if "rng" in word]
