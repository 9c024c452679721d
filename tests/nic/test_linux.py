# SPDX-License-Identifier: MIT
"""Linux's own ixgbe driver on the model, in a QEMU that it does not know to be talking to Python.

One guest for most tests, wired to a TAP in a namespace; others for two cards, and for interrupts by the pin.
"""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import Guest, need
from tests.nic.linux_guest import LinuxGuest, packages

pytestmark = [pytest.mark.qemu, pytest.mark.tap, pytest.mark.slow]

HERE, GUEST = "10.77.0.1", "10.77.0.2"
TAP = "nictap"


class Namespace:
    """A network namespace with a TAP interface in it."""

    def __init__(self) -> None:
        self.name = f"mirage-nic-{os.getpid()}"
        self.prefix = ["nsenter", f"--net=/run/netns/{self.name}"]
        self._run("ip", "netns", "add", self.name)
        self._run(*self.prefix, "ip", "link", "set", "lo", "up")
        self._run(*self.prefix, "ip", "tuntap", "add", TAP, "mode", "tap")
        self._run(*self.prefix, "ip", "link", "set", TAP, "up")
        self._run(*self.prefix, "ip", "addr", "add", f"{HERE}/24", "dev", TAP)

    def _run(self, *argv: str) -> None:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if result.returncode:
            pytest.skip(f"{' '.join(argv)}: {result.stderr.strip()}")

    def set_mtu(self, mtu: int) -> None:
        self._run(*self.prefix, "ip", "link", "set", TAP, "mtu", str(mtu))

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], timeout=30, check=False)


@pytest.fixture(scope="module")
def spawn_all() -> Iterator[Callable[[Sequence[str]], Guest]]:
    running: list[Guest] = []

    def start(argv: Sequence[str]) -> Guest:
        running.append(Guest([str(word) for word in argv]))
        return running[-1]

    yield start
    for one in running:
        one.kill()


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    need("ip", "iproute2")
    namespace = Namespace()
    yield namespace
    namespace.remove()


@pytest.fixture(scope="module")
def guest(
    namespace: Namespace, spawn_all: Callable[[Sequence[str]], Guest], tmp_path_factory: pytest.TempPathFactory
) -> LinuxGuest:
    root = packages()
    libraries = f"{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu"
    loader = f"{root}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    spawn_all([*namespace.prefix, loader, "--library-path", libraries, f"{root}/usr/bin/iperf3", "-s", "-B", HERE])
    guest = LinuxGuest(spawn_all, tmp_path_factory.mktemp("nic"), [f"tap:{TAP}"], model_prefix=namespace.prefix)
    address(guest)
    return guest


def address(guest: LinuxGuest, interface: str = "eth0", ip: str = GUEST) -> None:
    guest.check(f"ip link set {interface} up && ip addr add {ip}/24 dev {interface}")
    wait_for_link(guest, interface)


def wait_for_link(guest: LinuxGuest, interface: str = "eth0") -> None:
    guest.check(f"for i in $(seq 50); do [ $(cat /sys/class/net/{interface}/carrier) = 1 ] && break; sleep 0.2; done")
    assert guest.check(f"cat /sys/class/net/{interface}/carrier").strip() == "1"


def ping(guest: LinuxGuest, ip: str = HERE, size: int = 56, count: int = 3) -> None:
    text = guest.check(f"ping -c {count} -i 0.2 -s {size} {ip}", 60)
    assert f"{count} packets transmitted, {count} packets received, 0% packet loss" in text


def iperf(guest: LinuxGuest, *options: str) -> float:
    """Megabits per second of two seconds of TCP; the driver may not have lost or damaged anything."""
    for _ in range(3):
        code, text = guest.run(f"iperf3 -c {HERE} -t 2 -J {' '.join(options)}", 60)
        if code == 0:
            break
        time.sleep(1)  # the server still serves the last one
    report = json.loads(text[text.index("{") :])
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e6


def statistics(guest: LinuxGuest, interface: str = "eth0") -> dict[str, int]:
    text = guest.check(f"ethtool -S {interface}")
    return {name: int(value) for name, value in re.findall(r"^\s+(\S+): (\d+)", text, re.MULTILINE)}


def control(guest: LinuxGuest, **request: object) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(guest.control))
        sock.sendall(json.dumps(request).encode() + b"\n")
        answer: dict[str, object] = json.loads(sock.makefile().readline())
    assert answer["ok"], answer
    return answer


def test_probe_finds_the_card_without_complaint(guest: LinuxGuest) -> None:
    log = guest.check("dmesg")
    assert "Intel(R) 10 Gigabit Network Connection" in log
    assert "PBA No: G00000-001" in log
    for complaint in ("pre-production", "unsupported SFP", "failed", "checksum is not valid", "Tx Unit Hang"):
        assert not [line for line in log.splitlines() if "ixgbe" in line and complaint in line]
    assert "Link is Up 10 Gbps" in log
    assert guest.check("cat /sys/class/net/eth0/speed").strip() == "10000"


def test_interrupts_come_by_msix(guest: LinuxGuest) -> None:
    assert "PCI-MSI" in next(line for line in guest.check("cat /proc/interrupts").splitlines() if "eth0" in line)


@pytest.mark.parametrize("size", [0, 1, 17, 56, 1472, 1473, 8000, 20000])
def test_ping_of_every_size_comes_back(guest: LinuxGuest, size: int) -> None:
    ping(guest, size=size)


def test_iperf_both_ways_with_offloads(guest: LinuxGuest) -> None:
    before = statistics(guest)
    assert iperf(guest) > 10
    assert iperf(guest, "-R") > 10
    after = statistics(guest)
    assert after["rx_csum_offload_errors"] == 0
    assert after["rx_crc_errors"] == after["rx_length_errors"] == 0
    assert after["tx_bytes"] > before["tx_bytes"] + 1_000_000
    assert after["rx_bytes_nic"] >= after["rx_bytes"] > before["rx_bytes"] + 1_000_000
    assert after["tx_timeout_count"] == after["tx_restart_queue"] * 0


def test_iperf_both_ways_without_offloads(guest: LinuxGuest) -> None:
    guest.check("ethtool -K eth0 tso off gso off gro off tx off rx off sg off")
    wait_for_link(guest)
    try:
        assert iperf(guest) > 5
        assert iperf(guest, "-R") > 5
    finally:
        guest.check("ethtool -K eth0 sg on tx on rx on tso on gso on gro on")
        wait_for_link(guest)


def test_receive_side_coalescing(guest: LinuxGuest) -> None:
    guest.check("ethtool -K eth0 lro on")
    wait_for_link(guest)
    try:
        before = statistics(guest)["hw_rsc_aggregated"]
        assert iperf(guest, "-R") > 10
        assert statistics(guest)["hw_rsc_aggregated"] > before + 1000
        ping(guest)
    finally:
        guest.check("ethtool -K eth0 lro off")
        wait_for_link(guest)


def test_drivers_own_tests_pass(guest: LinuxGuest) -> None:
    text = guest.check("ethtool -t eth0", 120)
    assert "PASS" in text
    assert re.findall(r"^(\w+).*\t (\d+)$", text, re.MULTILINE) == [
        ("Register", "0"),
        ("Eeprom", "0"),
        ("Interrupt", "0"),
        ("Loopback", "0"),
        ("Link", "0"),
    ]
    wait_for_link(guest)
    ping(guest)


def test_module_and_eeprom_are_shown(guest: LinuxGuest) -> None:
    module = guest.check("ethtool -m eth0", 60)
    assert "10G Base-SR" in module
    assert "SFP-10G-MODEL" in module
    guest.check("ethtool -E eth0 magic 0x10fb8086 offset 0x30 value 0x55", 60)
    assert "0x0030:\t\t55" in guest.check("ethtool -e eth0 offset 0x30 length 1")


def test_jumbo_frames(guest: LinuxGuest, namespace: Namespace) -> None:
    namespace.set_mtu(9000)
    guest.check("ip link set eth0 mtu 9000")
    wait_for_link(guest)
    try:
        ping(guest, size=8972)
        assert iperf(guest) > 10
        assert iperf(guest, "-R") > 10
    finally:
        namespace.set_mtu(1500)
        guest.check("ip link set eth0 mtu 1500")
        wait_for_link(guest)


def test_down_and_up_again(guest: LinuxGuest) -> None:
    for _ in range(2):
        guest.check("ip link set eth0 down")
        guest.check("ip link set eth0 up")
        wait_for_link(guest)
        ping(guest)


def test_driver_removed_and_loaded_again(guest: LinuxGuest) -> None:
    guest.check("rmmod ixgbe", 60)
    guest.check("insmod /modules/ixgbe.ko", 60)
    address(guest)
    ping(guest)


def test_link_that_goes_is_seen_and_comes_back(guest: LinuxGuest) -> None:
    control(guest, fault="link-down", value=1)
    guest.check("for i in $(seq 50); do [ $(cat /sys/class/net/eth0/carrier) = 0 ] && break; sleep 0.2; done")
    assert guest.check("cat /sys/class/net/eth0/carrier").strip() == "0"
    control(guest, fault="link-down", value=0)
    wait_for_link(guest)
    ping(guest)


def test_stalled_transmitter_is_reset_by_the_driver(guest: LinuxGuest) -> None:
    control(guest, fault="tx-stall", value=1)
    guest.run(f"ping -c 8 -i 1 {HERE}", 60)
    deadline = time.monotonic() + 60
    while not control(guest, counters=True)["faults"]["tx-stall"]:  # type: ignore[index]
        assert time.monotonic() < deadline, "no reset"
        guest.run(f"ping -c 2 {HERE}", 60)
    wait_for_link(guest)
    ping(guest)


def test_two_cards_and_qemus_own_network(
    namespace: Namespace, guest: LinuxGuest, spawn: Callable[[Sequence[str]], Guest], tmp_path: Path
) -> None:
    """The second guest of this module: both cards work, and one of them reaches slirp through a hub, without a TAP."""
    ours, theirs = tmp_path / "a", tmp_path / "b"
    hub = ["-netdev", "user,id=u0", "-netdev", "hubport,id=h0,hubid=0,netdev=u0"]
    hub += ["-netdev", f"dgram,id=d0,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}"]
    hub += ["-netdev", "hubport,id=h1,hubid=0,netdev=d0"]
    backends = [f"dgram:{ours}:{theirs}", f"dgram:{tmp_path / 'c'}:{tmp_path / 'd'}"]
    two = LinuxGuest(spawn, tmp_path, backends, qemu_arguments=hub)
    address(two, "eth0", "10.0.2.15")
    address(two, "eth1", "10.88.0.2")
    ping(two, "10.0.2.2")
    assert "lease of 10.0.2.15 obtained" in two.check("udhcpc -i eth0 -n -q -f -s /bin/true 2>&1", 60)
    macs = {two.check(f"cat /sys/class/net/eth{n}/address").strip() for n in (0, 1)}
    assert len(macs) == 2


def test_interrupts_by_the_pin_pass_the_drivers_own_test(
    spawn: Callable[[Sequence[str]], Guest], tmp_path: Path
) -> None:
    guest = LinuxGuest(spawn, tmp_path, ["none"], append="pci=nomsi")
    address(guest)
    text = guest.check("ethtool -t eth0", 120)
    assert "PASS" in text, text
    interrupts = next(line for line in guest.check("cat /proc/interrupts").splitlines() if "eth0" in line)
    assert "IO-APIC" in interrupts
