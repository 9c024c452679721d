# SPDX-License-Identifier: MIT
"""Linux's own ixgbe driver on the model, in a QEMU that it does not know to be talking to Python.

One guest for most tests, wired to a TAP in a namespace; others for two cards, and for interrupts by the pin.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import Guest, need
from tests.nic.linux_guest import LinuxGuest, packages

pytestmark = [pytest.mark.qemu, pytest.mark.tap, pytest.mark.slow]

HERE, GUEST = "10.77.0.1", "10.77.0.2"
HERE6, GUEST6 = "fd77::1", "fd77::2"
OFFLOADS = ("tso", "gso", "gro", "tx", "rx", "sg")
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
        self._run(*self.prefix, "ip", "addr", "add", f"{HERE6}/64", "dev", TAP, "nodad")

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
    for here in (HERE, HERE6):
        spawn_all([*namespace.prefix, loader, "--library-path", libraries, f"{root}/usr/bin/iperf3", "-s", "-B", here])
    folder = tmp_path_factory.mktemp("nic")
    guest = LinuxGuest(
        spawn_all, folder, [f"tap:{TAP}"], model_prefix=namespace.prefix, extra=(("bin/linux_tool", tool(folder)),)
    )
    address(guest)
    return guest


def tool(folder: Path) -> Path:
    """linux_tool.c, built for the guest."""
    program = folder / "linux_tool"
    source = Path(__file__).parent / "linux_tool.c"
    subprocess.run(["gcc", "-static", "-O1", "-o", program, source], check=True, timeout=60)
    return program


def address(guest: LinuxGuest, interface: str = "eth0", ip: str = GUEST) -> None:
    guest.check(f"ip link set {interface} up && ip addr add {ip}/24 dev {interface}")
    wait_for_link(guest, interface)


def wait_for_link(guest: LinuxGuest, interface: str = "eth0") -> None:
    guest.check(f"for i in $(seq 50); do [ $(cat /sys/class/net/{interface}/carrier) = 1 ] && break; sleep 0.2; done")
    assert guest.check(f"cat /sys/class/net/{interface}/carrier").strip() == "1"


def ping(guest: LinuxGuest, ip: str = HERE, size: int = 56, count: int = 3) -> None:
    text = guest.check(f"ping -c {count} -i 0.2 -s {size} {ip}", 60)
    assert f"{count} packets transmitted, {count} packets received, 0% packet loss" in text


def iperf(guest: LinuxGuest, *options: str, here: str = HERE) -> float:
    """Megabits per second of two seconds of TCP."""
    for _ in range(3):
        code, text = guest.run(f"iperf3 -c {here} -t 2 -J {' '.join(options)}", 60)
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


def test_what_the_card_has_not_is_not_offered(guest: LinuxGuest) -> None:
    text = guest.check("ethtool -k eth0")
    for name in ("esp-hw-offload", "tx-esp-segmentation", "macsec-hw-offload"):
        assert f"{name}: on" not in text
    assert re.search(r"esp-hw-offload: off \[fixed\]", text)
    guest.check("test ! -e /sys/class/net/eth0/device/sriov_totalvfs")


@pytest.mark.parametrize("here", [HERE, HERE6])
@pytest.mark.parametrize("size", [300, 1200])
def test_datagrams_that_the_card_cuts_arrive(guest: LinuxGuest, namespace: Namespace, here: str, size: int) -> None:
    """UDP_SEGMENT, which QUIC and WireGuard use: the model cuts, or the TAP's kernel does."""
    if here == HERE6:
        guest.check(f"ip -6 addr add {GUEST6}/64 dev eth0")
        guest.check(
            "for i in $(seq 50); do ip -6 addr show dev eth0 tentative | grep -q fd77 || break; sleep 0.2; done"
        )
        guest.check(f"for i in $(seq 20); do ping -6 -c 1 -W 1 {here} && break; done", 60)
    assert offloads(guest)["tx-udp-segmentation"] == "on"
    count = 40
    receiver = (
        "import socket, sys\n"
        f"sock = socket.socket(socket.AF_INET{'6' if here == HERE6 else ''}, socket.SOCK_DGRAM)\n"
        f"sock.bind(({here!r}, 4433))\n"
        "sock.settimeout(20)\n"
        "print('bound', flush=True)\n"
        f"got = [sock.recv(65536) for _ in range({count})]\n"
        f"sys.exit(sorted(got) != [bytes([n]) * {size} for n in range({count})])\n"
    )
    with subprocess.Popen([*namespace.prefix, sys.executable, "-c", receiver], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"bound\n"
        before = statistics(guest)["tx_pkts_nic"]
        guest.check(f"linux_tool datagrams {here} 4433 {size} {count}")
        assert process.wait(30) == 0
    if here == HERE6:
        guest.check(f"ip -6 addr del {GUEST6}/64 dev eth0")
    assert statistics(guest)["tx_pkts_nic"] >= before + count
    assert not control(guest, counters=True)["counters"]["bad_tx_descriptors"]  # type: ignore[index]


def test_ptp_clock_counts_nanoseconds(guest: LinuxGuest) -> None:
    there, monotonic = re.findall(r"clock (\d+) of (\d+) ns", guest.check("linux_tool clock /dev/ptp0"))[0]
    assert int(there) == pytest.approx(int(monotonic), rel=0.05)


def arrivals(guest: LinuxGuest, namespace: Namespace, port: int, count: int = 20) -> int:
    """How many of `count` datagrams to a port without a listener the guest's stack saw."""
    command = "grep '^Udp: [0-9]' /proc/net/snmp"
    before = int(guest.check(command).split()[2])
    sender = f"import socket\nsock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor _ in range({count}):\n"
    sender += f"    try:\n        sock.sendto(b'x', ({GUEST!r}, {port}))\n    except OSError:\n        pass\n"
    subprocess.run([*namespace.prefix, sys.executable, "-c", sender], check=True, timeout=30)
    ping(guest)
    return int(guest.check(command).split()[2]) - before


def test_ntuple_filter_drops_its_flow_and_no_other(guest: LinuxGuest, namespace: Namespace) -> None:
    ping(guest)
    assert arrivals(guest, namespace, 9999) == 20
    guest.check("ethtool -K eth0 ntuple on")
    wait_for_link(guest)
    guest.check("ethtool -N eth0 flow-type udp4 dst-port 9999 action -1 loc 5")
    try:
        assert arrivals(guest, namespace, 9999) == 0
        assert arrivals(guest, namespace, 9998) == 20
        guest.check("ethtool -N eth0 delete 5")
        assert arrivals(guest, namespace, 9999) == 20
    finally:
        guest.check("ethtool -K eth0 ntuple off")
        wait_for_link(guest)


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
    assert after["tx_timeout_count"] == 0


def offloads(guest: LinuxGuest) -> dict[str, str]:
    return dict(re.findall(r"^\s*([\w-]+): (on|off)", guest.check("ethtool -k eth0"), re.MULTILINE))


def test_iperf_both_ways_without_offloads(guest: LinuxGuest) -> None:
    guest.check(f"ethtool -K eth0 {' '.join(f'{name} off' for name in OFFLOADS)}")
    wait_for_link(guest)
    try:
        now = offloads(guest)
        names = ("tcp-segmentation-offload", "tx-checksum-ip-generic", "rx-checksumming", "scatter-gather")
        assert {name: now[name] for name in names} == dict.fromkeys(names, "off")
        before = statistics(guest)
        assert iperf(guest) > 5
        assert iperf(guest, "-R") > 5
        after = statistics(guest)
        assert after["rx_crc_errors"] == after["rx_length_errors"] == after["tx_timeout_count"] == 0
        assert after["tx_bytes"] > before["tx_bytes"] + 1_000_000
        assert after["rx_bytes"] > before["rx_bytes"] + 1_000_000
    finally:
        guest.check(f"ethtool -K eth0 {' '.join(f'{name} on' for name in reversed(OFFLOADS))}")
        wait_for_link(guest)


def test_ipv6_both_ways_with_segmentation_and_without(guest: LinuxGuest) -> None:
    """Neighbours are found by multicast; context descriptors are for IPv6."""
    guest.check(f"ip -6 addr add {GUEST6}/64 dev eth0")
    guest.check("for i in $(seq 50); do ip -6 addr show dev eth0 tentative | grep -q fd77 || break; sleep 0.2; done")
    text = guest.check(f"ping -6 -c 3 -i 0.2 -s 1400 {HERE6}", 60)
    assert "3 packets transmitted, 3 packets received, 0% packet loss" in text
    assert offloads(guest)["tx-tcp6-segmentation"] == "on"
    before = statistics(guest)
    assert iperf(guest, "-6", here=HERE6) > 10
    assert iperf(guest, "-6", "-R", here=HERE6) > 10
    after = statistics(guest)
    assert after["rx_csum_offload_errors"] == 0
    assert after["tx_bytes"] > before["tx_bytes"] + 1_000_000
    assert after["rx_bytes"] > before["rx_bytes"] + 1_000_000
    guest.check("ethtool -K eth0 tso off tx off rx off")
    wait_for_link(guest)
    try:
        assert iperf(guest, "-6", here=HERE6) > 5
        assert iperf(guest, "-6", "-R", here=HERE6) > 5
    finally:
        guest.check("ethtool -K eth0 rx on tx on tso on")
        wait_for_link(guest)


def test_statistics_agree_with_what_was_sent(guest: LinuxGuest) -> None:
    before = statistics(guest)
    ping(guest, size=1000, count=20)
    after = statistics(guest)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    for direction in ("rx", "tx"):
        assert grown[f"{direction}_packets"] >= 20
        assert grown[f"{direction}_pkts_nic"] >= grown[f"{direction}_packets"] - 1, "the card counted them too"
        assert grown[f"{direction}_bytes"] >= 20 * 1042
        queues = [name for name in after if re.fullmatch(rf"{direction}_queue_\d+_packets", name)]
        assert sum(grown[name] for name in queues) == grown[f"{direction}_packets"]
    for name in ("rx_errors", "tx_errors", "rx_missed_errors", "rx_no_buffer_count", "rx_over_errors", "collisions"):
        assert after[name] == 0


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


def drivers_own_tests(guest: LinuxGuest) -> None:
    """`ethtool -t`, every test of it by name."""
    text = guest.check("ethtool -t eth0", 120)
    assert "The test result is PASS" in text
    assert re.findall(r"^(\w+).*\t (\d+)$", text, re.MULTILINE) == [
        ("Register", "0"),
        ("Eeprom", "0"),
        ("Interrupt", "0"),
        ("Loopback", "0"),
        ("Link", "0"),
    ]


def test_drivers_own_tests_pass(guest: LinuxGuest) -> None:
    drivers_own_tests(guest)
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


def slirp(number: int, ours: Path, theirs: Path) -> list[str]:
    """QEMU's user-mode network 10.0.NUMBER.0/24 behind a datagram socket, by a hub of its own."""
    argv = ["-netdev", f"user,id=u{number},net=10.0.{number}.0/24"]
    argv += ["-netdev", f"hubport,id=h{number}a,hubid={number},netdev=u{number}"]
    local, remote = f"local.type=unix,local.path={theirs}", f"remote.type=unix,remote.path={ours}"
    argv += ["-netdev", f"dgram,id=d{number},{local},{remote}"]
    return [*argv, "-netdev", f"hubport,id=h{number}b,hubid={number},netdev=d{number}"]


def test_two_cards_and_qemus_own_network(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    """Both cards carry traffic, each its own, without a TAP; and go and come back together."""
    backends, networks = [], []
    for number in (2, 3):
        ours, theirs = tmp_path / f"a{number}", tmp_path / f"b{number}"
        backends.append(f"dgram:{ours}:{theirs}")
        networks += slirp(number, ours, theirs)
    two = LinuxGuest(spawn, tmp_path, backends, qemu_arguments=networks)
    macs = {two.check(f"cat /sys/class/net/eth{n}/address").strip() for n in (0, 1)}
    assert len(macs) == 2
    for _ in range(2):
        address(two, "eth0", "10.0.2.15")
        address(two, "eth1", "10.0.3.15")
        before = [statistics(two, f"eth{n}")["rx_packets"] for n in (0, 1)]
        ping(two, "10.0.2.2", count=5)
        ping(two, "10.0.3.2", count=5)
        after = [statistics(two, f"eth{n}")["rx_packets"] for n in (0, 1)]
        assert all(new >= old + 5 for old, new in zip(before, after, strict=True))
        assert "lease of 10.0.2.15 obtained" in two.check("udhcpc -i eth0 -n -q -f -s /bin/true 2>&1", 60)
        assert "lease of 10.0.3.15 obtained" in two.check("udhcpc -i eth1 -n -q -f -s /bin/true 2>&1", 60)
        two.check("rmmod ixgbe && insmod /modules/ixgbe.ko", 120)
    assert macs == {two.check(f"cat /sys/class/net/eth{n}/address").strip() for n in (0, 1)}


def test_interrupts_by_the_pin_pass_the_drivers_own_test(
    spawn: Callable[[Sequence[str]], Guest], tmp_path: Path
) -> None:
    guest = LinuxGuest(spawn, tmp_path, ["none"], append="pci=nomsi")
    address(guest)
    drivers_own_tests(guest)
    interrupts = next(line for line in guest.check("cat /proc/interrupts").splitlines() if "eth0" in line)
    assert "IO-APIC" in interrupts


def test_flows_are_steered_by_signature(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    """ATR: with two processors, Linux tells the card by two hashes where a flow's answers belong."""
    networks = slirp(2, tmp_path / "a", tmp_path / "b")
    networks[1] += ",guestfwd=tcp:10.0.2.100:7-cmd:cat"
    two = LinuxGuest(
        spawn, tmp_path, [f"dgram:{tmp_path / 'a'}:{tmp_path / 'b'}"], qemu_arguments=["-smp", "2", *networks]
    )
    address(two, "eth0", "10.0.2.15")
    ping(two, "10.0.2.2")
    two.check("for i in $(seq 40); do echo $i; done | nc -w 3 10.0.2.100 7", 60)
    # Each SYN makes a filter, and the answers match it.
    grown = statistics(two)
    assert grown["fdir_match"] > 0, {name: value for name, value in grown.items() if "fdir" in name}
    ping(two, "10.0.2.2")
