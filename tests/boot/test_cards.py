# SPDX-License-Identifier: MIT
"""Several network cards in one image, of one kind and mixed: the relay between two, and a stack on each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import APPS, EXAMPLES, HERE, Namespace

pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.qemu]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with TAPs need root")
TRANSFER = str(HERE / "transfer.py")
COUNT = 100_000_000
LEFT_IP, RIGHT_IP = "10.99.1.1", "10.99.1.2"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds an application, once for each way of configuring it."""
    images: dict[tuple[Path, tuple[str, ...]], Path] = {}

    def build(source: Path, *configure: str) -> Path:
        key = source, configure
        if key not in images:
            images[key] = guests.build(source, tmp_path_factory.mktemp("cards") / "app", "-t", "hvt", *configure)
        return images[key]

    return build


def relay_options(left: str, right: str, mtu: int) -> list[str]:
    mtus = ["--mtu", str(mtu)] if "ixgbe" in (left, right) else []
    return ["--left-nic", left, "--right-nic", right, *mtus]


@pytest.fixture
def sites() -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """Namespaces for the relay, and for either side of it."""
    with ExitStack() as stack:
        relay, left, right = (stack.enter_context(Namespace(None, name)) for name in ("", "-left", "-right"))
        yield relay, left, right


def cross(source: Namespace, sink: Namespace, address: str, count: int, seed: int) -> None:
    """Send `count` octets from a program at `source` to one at `sink`, and compare what both say."""
    receiver = subprocess.Popen(
        [*sink.prefix, sys.executable, TRANSFER, "receive", address, "9000", str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "listening\n"
        sender = [*source.prefix, sys.executable, TRANSFER, "send", address, "9000", str(count), str(seed)]
        sent = subprocess.run(sender, capture_output=True, text=True, timeout=180, check=True).stdout
        assert receiver.communicate(timeout=30)[0] == sent
    finally:
        receiver.kill()
        receiver.wait(10)


@pytest.mark.parametrize(
    ("left_nic", "right_nic", "mtu"),
    [("virtio", "virtio", 1500), ("ixgbe", "ixgbe", 9000), ("virtio", "ixgbe", 1500)],
    ids=["virtio", "ixgbe", "mixed"],
)
@pytest.mark.tap
@needs_root
def test_relay_hands_100_megabytes_on(
    built: Callable[..., Path],
    sites: tuple[Namespace, Namespace, Namespace],
    left_nic: str,
    right_nic: str,
    mtu: int,
) -> None:
    image = built(EXAMPLES / "relay", *relay_options(left_nic, right_nic, mtu))
    relay, left, right = sites
    for tap in ("tapleft", "tapright"):
        relay.run("ip", "tuntap", "add", tap, "mode", "tap", "vnet_hdr")
        relay.run("ip", "link", "set", tap, "up")
    command = [*guests.TOOL, "run", "--tap", "tapleft", "--tap", "tapright", str(image), "--", "--report", "500ms"]
    with guests.started(command, set(), prefix=relay.prefix) as guest:
        guests.wait_saying(guest, "relaying between")
        # The relay holds the TAPs open; their other ends go where the programs are.
        for site, tap, address in ((left, "tapleft", LEFT_IP), (right, "tapright", RIGHT_IP)):
            relay.run("ip", "link", "set", tap, "netns", site.name)
            site.run("ip", "address", "add", f"{address}/24", "dev", tap)
            site.run("ip", "link", "set", tap, "mtu", str(mtu), "up")
        cross(left, right, RIGHT_IP, COUNT, seed=1)
        cross(right, left, LEFT_IP, COUNT // 10, seed=2)
        relayed = 0, 0
        deadline = time.monotonic() + 10
        while not (relayed[0] > COUNT and relayed[1] > COUNT // 10):
            assert time.monotonic() < deadline, f"it does not count what it relays:\n{guest.text()}"
            time.sleep(0.1)
            found = re.findall(r"(\d+) octets\) to the right, \d+ frames \((\d+) octets\) to the left", guest.text())
            relayed = tuple(map(int, found[-1]))  # type: ignore[assignment]


@pytest.mark.tap
@needs_root
@pytest.mark.parametrize("large", [True, False])
def test_relay_refuses_what_its_other_card_could_not_send(built: Callable[..., Path], large: bool) -> None:
    """A TAP's virtio card receives large segments; one on the user-mode network sends none."""
    options = [] if large else ["--no-large-segments"]
    image = built(EXAMPLES / "relay", *relay_options("virtio", "virtio", 1500), *options)
    with Namespace() as namespace:
        command = [*guests.TOOL, "run", "--tap", "tap0", str(image)]
        with guests.started(command, set(), prefix=namespace.prefix) as guest:
            if large:
                assert guest.wait() == 1
            else:
                guests.wait_saying(guest, "relaying between")
    assert ("relay: error: net0 may receive large segments, which net1 cannot send" in guest.text()) == large
    assert "Traceback" not in guest.text()


def echoes(prefix: list[str], address: str, port: int) -> str:
    """What the stack at `address` calls itself, once it has echoed."""
    script = (
        "import socket, sys\n"
        "with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) as sock:\n"
        "    name = sock.recv(3)\n"
        "    sock.sendall(b'x' * 100000)\n"
        "    sock.shutdown(socket.SHUT_WR)\n"
        "    print(name.decode(), sum(map(len, iter(lambda: sock.recv(65536), b''))))"
    )
    done = subprocess.run(
        [*prefix, sys.executable, "-c", script, address, str(port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("nic", "lan_nic", "machine"),
    [("virtio", "virtio", "pc"), ("ixgbe", "ixgbe", "q35"), ("ixgbe", "virtio", "microvm")],
)
def test_ports_lead_to_the_first_stack(
    built: Callable[..., Path], tmp_path: Path, nic: str, lan_nic: str, machine: str
) -> None:
    image = built(APPS / "dual", "--nic", nic, "--lan-nic", lan_nic)
    pcap = tmp_path / "t.pcap"
    with guests.start_hvt(image, {7}, "--pcap", str(pcap), "--machine", machine) as guest:
        assert echoes([], guest.host, guest.ports[7]) == "wan 100000\n"
        guest.process.terminate()
        assert guest.wait() == 128 + signal.SIGTERM
    # Both cards' frames are recorded, and those of the transfer are the first one's.
    assert pcap.stat().st_size > 200_000
    assert 0 < (tmp_path / "t.pci1.pcap").stat().st_size < 100_000


@pytest.mark.tap
@needs_root
@pytest.mark.parametrize(("nic", "lan_nic"), [("virtio", "ixgbe"), ("ixgbe", "virtio")])
def test_each_stack_is_on_the_network_of_its_card(built: Callable[..., Path], nic: str, lan_nic: str) -> None:
    image = built(APPS / "dual", "--nic", nic, "--lan-nic", lan_nic)
    with Namespace() as namespace:
        addresses = ["--lan-ipv4", f"{guests.GUEST_IP}/24"]
        with guests.start_hvt(image, {7}, "--tap", "net1=tap0", guest_args=addresses, prefix=namespace.prefix) as guest:
            assert echoes(namespace.prefix, "127.0.0.1", guest.ports[7]) == "wan 100000\n"
            assert echoes(namespace.prefix, guests.GUEST_IP, 7) == "lan 100000\n"


@pytest.mark.parametrize(("nic", "other_nic"), [("virtio", "virtio"), ("ixgbe", "ixgbe"), ("virtio", "ixgbe")])
def test_two_unikernels_on_a_wire(built: Callable[..., Path], tmp_path: Path, nic: str, other_nic: str) -> None:
    images = [built(APPS / "peer", "--nic", one) for one in (nic, other_nic)]
    wire = str(tmp_path / "wire")
    with ExitStack() as stack:
        server = stack.enter_context(guests.start_hvt(images[0], {7}, "--link", wire))
        assert "end 0: guest 10.255.0.1, the other end 10.255.0.2" in server.text()
        arguments = ["--peer", "10.255.0.1"]
        client = stack.enter_context(guests.start_hvt(images[1], set(), "--link", wire, guest_args=arguments))
        assert client.wait(120) == 0, client.text()
        assert server.wait(20) == 0, server.text()
    assert "intact: 4194304 octets" in client.text()
    assert "echoed 4194304 octets" in server.text()
    # The sockets are gone; the locks stay, as whoever comes next takes them.
    assert sorted(path.name for path in tmp_path.glob("wire*")) == ["wire.0.lock", "wire.1.lock"]


def test_relay_between_the_host_and_a_guest_on_a_wire(built: Callable[..., Path], tmp_path: Path) -> None:
    """Without root: the user-mode network, a card, the relay, a card, the wire, the echo server."""
    relay_image = built(EXAMPLES / "relay", *relay_options("ixgbe", "virtio", 1500))
    wire = str(tmp_path / "wire")
    addresses = ["--ipv4", "10.0.2.15/24", "--ipv4-gateway", "10.0.2.2"]
    port = guests.free_port()
    with ExitStack() as stack:
        stack.enter_context(guests.start_hvt(built(APPS / "probe"), {7, 9}, "--link", wire, guest_args=addresses))
        options = ["--link", f"net1={wire}", "--publish", f"{port}:7"]
        relay = stack.enter_context(guests.start_hvt(relay_image, set(), *options))
        guests.wait_saying(relay, "relaying between")
        relay.ports = {7: port}
        assert relay.client("sizes")["wrong"] == []
        assert relay.client("bulk", count=3_000_000)["equal"]


def test_one_of_two_cards_that_dies_ends_the_guest_and_is_named(built: Callable[..., Path]) -> None:
    image = built(APPS / "dual", "--nic", "ixgbe", "--lan-nic", "ixgbe")
    with guests.start_hvt(image, {7}) as guest:
        children = Path(f"/proc/{guest.process.pid}/task/{guest.process.pid}/children").read_text().split()
        models = [int(pid) for pid in children if b"mirage_py.nic" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(models) == 2
        os.kill(models[1], signal.SIGKILL)
        assert guest.wait() == 1
    assert "mirage-py: error: the emulated network card pci1 ended" in guest.text()
    assert not [pid for pid in models if Path(f"/proc/{pid}").exists()]


def refused(image: Path, *options: str) -> str:
    done = subprocess.run(
        [*guests.TOOL, "run", *options, str(image)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mirage-py: error: ")]
    return line


def test_device_that_is_missing_is_named(built: Callable[..., Path], tmp_path: Path) -> None:
    image = built(APPS / "dual", "--nic", "virtio", "--lan-nic", "ixgbe")
    old = tmp_path / "qemu"
    old.write_text("#!/bin/sh\necho QEMU emulator version 7.2.0\n")
    old.chmod(0o755)
    card = "pci1 (ixgbe 8086:10fb)"
    assert f"{card} cannot be attached: {old} is QEMU 7.2, too old" in refused(image, "--qemu", str(old))
    assert f"{card} is missing: --without leaves it out" in refused(image, "--without", "pci1")
    wrong = ["--qemu-arg=-device", "--qemu-arg=virtio-rng-pci"]
    assert f"{card} is missing: QEMU has no such PCI device" in refused(image, "--without", "net1", *wrong)


def test_device_that_the_user_attaches_takes_its_place(built: Callable[..., Path]) -> None:
    """The first of two equal cards, with an address that shows that it is this one that the guest drives."""
    image = built(APPS / "dual", "--nic", "virtio", "--lan-nic", "virtio")
    port = guests.free_port()
    netdev = f"user,id=own,hostfwd=tcp:127.0.0.1:{port}-:7"
    device = "virtio-net-pci,netdev=own,disable-legacy=on,romfile="
    words = ["-netdev", netdev, "-device", device]
    options = ["--without", "pci0", *(f"--qemu-arg={word}" for word in words)]
    addresses = ["--ipv4", "10.0.2.15/24"]
    with guests.start_hvt(image, {7}, *options, guest_args=addresses) as guest:
        assert echoes([], "127.0.0.1", port) == "wan 100000\n"
        # The default forward is that of the card that is left, and the second stack's.
        assert echoes([], guest.host, guest.ports[7]) == "lan 100000\n"
