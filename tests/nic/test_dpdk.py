# SPDX-License-Identifier: MIT
"""DPDK's ixgbe driver on the model: over uio_pci_generic, with the pin for the link's state; and behind an IOMMU."""

import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import Guest
from tests.nic import dpdk
from tests.nic.linux_guest import LinuxGuest
from tests.nic.test_linux import control

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

FRAMES = 400
PEER = bytes.fromhex("020000000077")
TESTPMD = (
    "dpdk-testpmd -l 0,1 {} --no-telemetry -- --forward-mode=macswap --total-num-mbufs=2048"
    " --rxd=256 --txd=256 --no-mlockall"
)
RESULT = re.compile(r"RX-packets: (\d+) +RX-dropped: 0 .*\n +TX-packets: (\d+) +TX-dropped: 0 ")


class Forwarder:
    """A guest with DPDK in it, and the far end of its card's wire."""

    def __init__(
        self, spawn: Callable[[Sequence[str]], Guest], folder: Path, modules: tuple[str, ...], has_iommu: bool = False
    ) -> None:
        self._card = str(folder / "a")
        self._far = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._far.bind(str(folder / "b"))
        self._far.settimeout(10)
        self.guest = LinuxGuest(
            spawn,
            folder,
            [f"dgram:{self._card}:{folder / 'b'}"],
            qemu_arguments=["-smp", "2"],
            programs=(),
            modules=modules,
            extra=dpdk.files(dpdk.packages()),
            has_iommu=has_iommu,
        )
        # DPDK loads drivers from nowhere that everybody may write to.
        self.guest.check("chmod 755 / && mkdir -p /var/run /dev/hugepages && mount -t hugetlbfs none /dev/hugepages")
        self.guest.check("echo 64 > /proc/sys/vm/nr_hugepages")
        self._mac = b""

    def start(self, options: str) -> None:
        before = len(self.guest.guest.output)
        self.guest.guest.type(f"{TESTPMD.format(options)}\n".encode())
        deadline = time.monotonic() + 60
        while "Press enter to exit" not in (text := self.guest.guest.output[before:]):
            assert time.monotonic() < deadline, text
            assert "guest#" not in text, text
            time.sleep(0.05)
        self._mac = bytes.fromhex(re.findall(r"Port 0: ([0-9A-F:]{17})", text)[0].replace(":", ""))

    def exchange(self, payloads: Sequence[bytes]) -> None:
        """Every frame comes back, in order, with its addresses swapped."""
        for payload in payloads:
            self._far.sendto(self._mac + PEER + b"\x88\xb5" + payload, self._card)
        for payload in payloads:
            assert self._far.recv(2000) == PEER + self._mac + b"\x88\xb5" + payload

    def stop(self, frames: int) -> None:
        self.guest.guest.type(b"\n")
        text = self.guest.finish()
        assert "Bye..." in text
        assert (str(frames), str(frames)) in RESULT.findall(text), text[-3000:]
        counters = control(self.guest, counters=True)["counters"]
        assert isinstance(counters, dict)
        assert counters["bad_rx_descriptors"] == counters["bad_tx_descriptors"] == 0

    def close(self) -> None:
        self._far.close()


def batches(count: int) -> Iterator[list[bytes]]:
    for start in range(0, count, 20):
        yield [number.to_bytes(4, "big") + bytes(60 + number) for number in range(start, start + 20)]


def test_testpmd_forwards_and_hears_of_the_link(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    forwarder = Forwarder(spawn, tmp_path, ("uio", "uio_pci_generic"))
    guest = forwarder.guest
    guest.check("echo 8086 10fb > /sys/bus/pci/drivers/uio_pci_generic/new_id && ls /dev/uio0")
    forwarder.start("--iova-mode=pa")
    for batch in batches(FRAMES):
        forwarder.exchange(batch)
    # The pin: without status bit 3 the kernel takes the interrupt for nobody's.
    for value in (1, 0, 1, 0):
        before = guest.guest.output.count("link state change event")
        control(guest, fault="link-down", value=value)
        deadline = time.monotonic() + 20
        while guest.guest.output.count("link state change event") == before:
            assert time.monotonic() < deadline, guest.guest.output[-3000:]
            time.sleep(0.05)
    forwarder.exchange([b"last".ljust(60, b".")])
    forwarder.stop(FRAMES + 1)
    assert "nobody cared" not in guest.check("dmesg")
    forwarder.close()


@pytest.mark.nightly
def test_second_process_behind_an_iommu_moves_as_much_as_the_first(
    spawn: Callable[[Sequence[str]], Guest], tmp_path: Path
) -> None:
    """The IOMMU's mappings are taken back by ranges of gigabytes, whatever lies in them, and made anew."""
    modules = ("irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci")
    forwarder = Forwarder(spawn, tmp_path, modules, has_iommu=True)
    forwarder.guest.check("echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
    forwarder.guest.check("echo 8086 10fb > /sys/bus/pci/drivers/vfio-pci/new_id")
    for _ in range(2):
        forwarder.start("")
        for batch in batches(100):
            forwarder.exchange(batch)
        forwarder.stop(100)
    forwarder.close()
