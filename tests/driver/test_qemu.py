# SPDX-License-Identifier: MIT
"""The virtio-net driver on QEMU's device: behind bridges that nobody numbered, without MSI-X, with odd features."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.boot import guests
from tests.conftest import Guest, need

pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.qemu]

ROOT_PORTS = ["-device", "pcie-root-port,id=p1,chassis=1,slot=1", "-device", "pcie-root-port,id=p2,chassis=2,slot=2"]
CASES = {
    "q35-root-port": ("q35", ROOT_PORTS, "bus=p2"),
    "q35-root-port-no-firmware": ("q35", [*ROOT_PORTS, "-bios", "qboot.rom"], "bus=p2"),
    "microvm-root-port": ("microvm,pcie=on", ROOT_PORTS, "bus=p2"),
    "microvm-two-bridges": (
        "microvm,pcie=on",
        [*ROOT_PORTS, "-device", "pcie-pci-bridge,bus=p1,id=b1"],
        "bus=b1,addr=4",
    ),
    "pc-two-bridges": (
        "pc",
        ["-device", "pci-bridge,id=b1,chassis_nr=1", "-device", "pci-bridge,id=b2,bus=b1,chassis_nr=2,addr=3"],
        "bus=b2,addr=5",
    ),
    "q35-intx": ("q35", [], "vectors=0"),
    "pc-intx": ("pc", [], "vectors=0"),
    "microvm-no-interrupt": ("microvm,pcie=on", [], "vectors=0"),
    "modern-only": ("q35", [], "disable-legacy=on"),
    "packed-offered": ("q35", [], "packed=on"),
    "no-merging": ("q35", [], "mrg_rxbuf=off"),
    "no-offloads": ("q35", [], "csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,host_tso4=off"),
    "shortest-queues": ("q35", [], "rx_queue_size=256,tx_queue_size=256,event_idx=off,indirect_desc=off"),
    "page-per-queue": ("q35", [], "page-per-vq=on"),
    "mtu": ("q35", [], "host_mtu=1300"),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return guests.build(guests.APPS / "probe", tmp_path_factory.mktemp("driver") / "probe", "-t", "hvt")


@pytest.fixture
def boot(spawn: Callable[[Sequence[object]], Guest]) -> Callable[..., Guest]:
    """Boots an image with exactly these devices, under emulation."""
    qemu = need("qemu-system-x86_64", "qemu-system-x86")

    def start(image: Path, append: str = "", *, machine: str = "q35", extra: Sequence[str] = ()) -> Guest:
        argv = [qemu, "-machine", machine, "-accel", "tcg", "-cpu", "max", "-m", "16M", "-kernel", str(image)]
        argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
        argv += ["-append", append]
        return spawn([*argv, *extra])

    return start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("case", CASES)
def test_device_works(boot: Callable[..., Guest], image: Path, case: str) -> None:
    machine, extra, options = CASES[case]
    port = free_port()
    network = ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:7"]
    device = ["-device", f"virtio-net-pci,netdev=n0,{options}"]
    guest = boot(
        image,
        "--ipv4 10.0.2.15/24 --ipv4-gateway 10.0.2.2",
        machine=machine,
        extra=[*extra, *network, *device],
    )
    guest.expect("listening on tcp port 7")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        for size in (1, 64, 1460, 1461, 200_000):
            data = bytes(number * 7 % 251 for number in range(size))
            client.sendall(data)
            received = b""
            while len(received) < size:
                part = client.recv(65536)
                assert part, guest.output
                received += part
            assert received == data
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_legacy_only_device_is_named(boot: Callable[..., Guest], image: Path) -> None:
    device = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,disable-modern=on,disable-legacy=off"]
    guest = boot(image, machine="pc", extra=device)
    guest.wait()
    assert "no virtio 1 interface (a legacy device? disable-modern=off)" in guest.output


def test_missing_device_is_named(boot: Callable[..., Guest], image: Path) -> None:
    guest = boot(image)
    guest.wait()
    assert "no PCI device 1af4:1041 or 1af4:1000" in guest.output
