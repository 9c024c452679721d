# SPDX-License-Identifier: MIT
"""DPDK's ixgbe driver on the model, over uio_pci_generic: polled rings, and the pin for the link's state."""

import re
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Guest
from tests.nic import dpdk
from tests.nic.linux_guest import LinuxGuest
from tests.nic.test_linux import control

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

FRAMES = 400
TESTPMD = (
    "dpdk-testpmd -l 0,1 --iova-mode=pa --no-telemetry -- --forward-mode=macswap --total-num-mbufs=2048"
    " --rxd=256 --txd=256 --no-mlockall"
)


def test_testpmd_forwards_and_hears_of_the_link(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    here = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    here.bind(str(tmp_path / "b"))
    here.settimeout(10)
    guest = LinuxGuest(
        spawn,
        tmp_path,
        [f"dgram:{tmp_path / 'a'}:{tmp_path / 'b'}"],
        qemu_arguments=["-smp", "2"],
        programs=(),
        modules=("uio", "uio_pci_generic"),
        extra=dpdk.files(dpdk.packages()),
    )
    guest.check("echo 8086 10fb > /sys/bus/pci/drivers/uio_pci_generic/new_id && ls /dev/uio0")
    # DPDK loads drivers from nowhere that everybody may write to.
    guest.check("chmod 755 / && mkdir -p /var/run /dev/hugepages && mount -t hugetlbfs none /dev/hugepages")
    guest.check("echo 64 > /proc/sys/vm/nr_hugepages")
    guest.guest.type(f"{TESTPMD}\n".encode())
    guest.guest.expect("Press enter to exit", 60)
    mac = bytes.fromhex(re.findall(r"Port 0: ([0-9A-F:]{17})", guest.guest.output)[0].replace(":", ""))
    # Every frame comes back, in order, with its addresses swapped.
    peer = bytes.fromhex("020000000077")
    for start in range(0, FRAMES, 20):
        batch = [number.to_bytes(4, "big") + bytes(60 + number) for number in range(start, start + 20)]
        for payload in batch:
            here.sendto(mac + peer + b"\x88\xb5" + payload, str(tmp_path / "a"))
        for payload in batch:
            assert here.recv(2000) == peer + mac + b"\x88\xb5" + payload
    # The pin: without status bit 3 the kernel takes the interrupt for nobody's.
    for value in (1, 0, 1, 0):
        before = guest.guest.output.count("link state change event")
        control(guest, fault="link-down", value=value)
        deadline = time.monotonic() + 20
        while guest.guest.output.count("link state change event") == before:
            assert time.monotonic() < deadline, guest.guest.output[-3000:]
            time.sleep(0.05)
    here.sendto(mac + peer + b"\x88\xb5" + b"last".ljust(60, b"."), str(tmp_path / "a"))
    assert here.recv(2000) == peer + mac + b"\x88\xb5" + b"last".ljust(60, b".")
    guest.guest.type(b"\n")
    text = guest.finish()
    assert "Bye..." in text
    totals = re.findall(r"RX-packets: (\d+) +RX-dropped: 0 .*\n +TX-packets: (\d+) +TX-dropped: 0 ", text)
    assert (str(FRAMES + 1), str(FRAMES + 1)) in totals, text[-3000:]
    counters = control(guest, counters=True)["counters"]
    assert isinstance(counters, dict)
    assert counters["bad_rx_descriptors"] == counters["bad_tx_descriptors"] == 0
    assert "nobody cared" not in guest.check("dmesg")
    here.close()
