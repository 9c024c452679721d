# SPDX-License-Identifier: MIT
"""Unikernels with the ixgbe driver on the model: echo, every fault under traffic, a relay between two cards.

Under each fault the guest counts what it noticed, the transfer comes out whole, and the heap is as large as before.

The model is wired to QEMU's user-mode network through a hub, so nothing here needs root.
"""

import hashlib
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from mirage_py.nic.faults import SWITCHES
from tests.boot.guests import EXAMPLES, build
from tests.conftest import Guest
from tests.nic.linux_guest import qemu_with_vfio_user

pytestmark = [pytest.mark.qemu, pytest.mark.build, pytest.mark.slow]

APPS = Path(__file__).parent / "apps"
# A collector that takes whatever looks like a pointer for one may keep a few small objects; one lost buffer is more.
HEAP_SLACK_BYTES = 2048


@pytest.fixture(scope="module")
def echo_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(APPS / "echo_ixgbe", tmp_path_factory.mktemp("echo") / "app", "-t", "hvt")


@pytest.fixture(scope="module")
def relay_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nics = ["--left-nic", "ixgbe", "--right-nic", "ixgbe"]
    return build(EXAMPLES / "relay", tmp_path_factory.mktemp("relay") / "app", "-t", "hvt", *nics)


@pytest.fixture(scope="module")
def spawn_all() -> Iterator[Callable[[Sequence[str]], Guest]]:
    running: list[Guest] = []

    def start(argv: Sequence[str]) -> Guest:
        running.append(Guest([str(word) for word in argv]))
        return running[-1]

    yield start
    for one in running:
        one.kill()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def qemu_arguments(
    image: Path, append: str, sockets: Sequence[Path], machine: str = "q35", memory_mb: int = 16
) -> list[str]:
    argv = [qemu_with_vfio_user(), "-machine", f"{machine},memory-backend=mem", "-accel", "tcg", "-cpu", "max"]
    argv += ["-m", f"{memory_mb}M", "-object", f"memory-backend-memfd,id=mem,size={memory_mb}M,share=on"]
    argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
    argv += ["-device", "isa-debug-exit,iobase=0x501,iosize=0x4", "-kernel", str(image), "-append", append]
    for path in sockets:
        argv += ["-device", f'{{"driver":"vfio-user-pci","socket":{{"path":"{path}","type":"unix"}},"rombar":0}}']
    return argv


def hub(ours: Path, theirs: Path, port: int, control_port: int = 0) -> list[str]:
    """QEMU's user-mode network, behind a datagram socket."""
    forwards = f"hostfwd=tcp:127.0.0.1:{port}-:7" + f",hostfwd=tcp:127.0.0.1:{control_port}-:9" * bool(control_port)
    argv = ["-netdev", f"user,id=u0,{forwards}", "-netdev", "hubport,id=h0,hubid=0,netdev=u0"]
    argv += ["-netdev", f"dgram,id=d0,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}"]
    return [*argv, "-netdev", "hubport,id=h1,hubid=0,netdev=d0"]


class State(NamedTuple):
    """heap: octets in use; counters: layer -> name -> number."""

    heap: int
    counters: dict[str, dict[str, int]]

    def count(self, names: str) -> int:
        """The sum of counters, written `layer.name` with blanks between them."""
        pairs = (name.split(".") for name in names.split())
        return sum(self.counters[layer][name] for layer, name in pairs)


class Echo:
    """A booted echo server, its model, and the port that leads to it."""

    def __init__(
        self,
        spawn: Callable[[Sequence[str]], Guest],
        image: Path,
        directory: Path,
        machine: str = "q35",
        memory_mb: int = 16,
    ) -> None:
        self.port = free_port()
        self.control_port = free_port()
        self.control = directory / "control"
        ours, theirs = directory / "a", directory / "b"
        argv = [sys.executable, "-m", "mirage_py.nic", "--socket", str(directory / "nic"), "--once"]
        argv += ["--backend", f"dgram:{ours}:{theirs}", "--control", str(self.control)]
        self.model = spawn(argv)
        self.model.expect("ready", 30)
        append = "--ipv4 10.0.2.15/24 --ipv4-gateway 10.0.2.2"
        argv = qemu_arguments(image, append, [directory / "nic"], machine, memory_mb)
        self.guest = spawn([*argv, *hub(ours, theirs, self.port, self.control_port)])
        self.guest.expect("listening on tcp port 7", 60)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def state(self) -> State:
        """What the guest says of itself: its heap after a collection, and its counters."""
        with socket.create_connection(("127.0.0.1", self.control_port), timeout=60) as sock:
            answer = json.loads(sock.makefile().readline())
        return State(answer["heap"], answer["counters"])

    def settled(self, before: State, slack_bytes: int = HEAP_SLACK_BYTES) -> State:
        """The state once everything that was open since `before` is closed; fails when the heap does not come back."""
        deadline = time.monotonic() + 20
        while True:
            after = self.state()
            if after.heap <= before.heap + slack_bytes:
                return after
            assert time.monotonic() < deadline, f"heap: {before.heap} octets before, {after.heap} after"
            time.sleep(0.5)

    def ask(self, **request: object) -> dict[str, object]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(str(self.control))
            sock.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, object] = json.loads(sock.makefile().readline())
        assert answer["ok"], answer
        return answer

    def counts(self) -> dict[str, int]:
        faults = self.ask(counters=True)["faults"]
        assert isinstance(faults, dict)
        return faults


def exchange(sock: socket.socket, data: bytes, started: threading.Event | None = None) -> bytes:
    """Sends everything while reading everything back."""

    def send() -> None:
        sock.sendall(data)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    got = bytearray()
    while len(got) < len(data):
        part = sock.recv(65536)
        if not part:
            break
        got += part
        if started is not None:
            started.set()
    sender.join(10)
    return bytes(got)


@pytest.fixture(scope="module")
def echo(
    spawn_all: Callable[[Sequence[str]], Guest], echo_image: Path, tmp_path_factory: pytest.TempPathFactory
) -> Echo:
    return Echo(spawn_all, echo_image, tmp_path_factory.mktemp("nic"))


@pytest.fixture(scope="module")
def fresh(echo: Echo) -> State:
    """The guest after its first transfer, before any trouble."""
    with echo.connect() as sock:
        assert exchange(sock, bytes(100_000)) == bytes(100_000)
    time.sleep(1)
    return echo.state()


@pytest.mark.usefixtures("fresh")
def test_octets_of_every_size_come_back(echo: Echo) -> None:
    rng = random.Random(1)
    with echo.connect() as sock:
        for size in (1, 2, 3, 63, 64, 1459, 1460, 1461, 4096, 65535, 65536, 200_000):
            data = rng.randbytes(size)
            assert exchange(sock, data) == data


def test_many_connections_after_each_other_and_at_once(echo: Echo) -> None:
    for number in range(50):
        with echo.connect() as sock:
            assert exchange(sock, b"%d" % number) == b"%d" % number
    socks = [echo.connect() for _ in range(20)]
    for number, sock in enumerate(socks):
        sock.sendall(bytes([number]) * 1000)
    for number, sock in enumerate(socks):
        got = b""
        while len(got) < 1000:
            got += sock.recv(1000)
        assert got == bytes([number]) * 1000
        sock.close()


# What each switch is turned to, for how long, and the counters of the guest of which one has to rise. A lost interrupt
# and slow registers leave nothing that a guest could count.
RX_ERRORS = "device.rx_errors"
FAULTS = [
    ("drop", 50, 0.0, "tcp.TCPOFOQueue tcp.RetransSegs tcp.TCPTimeouts"),
    ("bit-flip", 100, 0.0, "ipv4.InCsumErrors ipv4.InHdrErrors tcp.InCsumErrors"),
    ("lost-interrupt", 5, 0.0, ""),
    ("wrong-length", 40, 0.0, RX_ERRORS),
    ("zero-length", 40, 0.0, RX_ERRORS),
    ("no-data", 40, 0.0, RX_ERRORS),
    ("bad-index", 40, 0.0, RX_ERRORS),
    ("no-end", 40, 0.0, RX_ERRORS),
    ("replay", 10, 0.0, "ipv4.InHdrErrors " + RX_ERRORS),
    ("slow", 5, 0.0, ""),
    ("link-flap", 300, 1.0, "device.link_changes"),
    ("link-down", 1, 0.5, "device.link_changes"),
    ("tx-stall", 1, 0.0, "device.resets"),
    ("rx-stall", 1, 0.0, "device.resets"),
    ("dead", 1, 1.0, "device.resets"),
]


def test_every_switch_is_tried() -> None:
    assert {fault for fault, _, _, _ in FAULTS} == set(SWITCHES)


@pytest.mark.parametrize(("fault", "value", "duration", "counters"), FAULTS, ids=[row[0] for row in FAULTS])
def test_transfer_survives(echo: Echo, fault: str, value: int, duration: float, counters: str) -> None:
    data = random.Random(fault).randbytes(400_000)
    acted = echo.counts()[fault]
    before = echo.state()
    with echo.connect() as sock:
        sock.settimeout(120)
        assert exchange(sock, b"before") == b"before"
        started = threading.Event()
        result: list[bytes] = []
        runner = threading.Thread(target=lambda: result.append(exchange(sock, data, started)), daemon=True)
        if fault in ("link-down", "dead", "tx-stall", "rx-stall"):
            runner.start()
            assert started.wait(30)
            echo.ask(fault=fault, value=value)
        else:
            echo.ask(fault=fault, value=value)
            runner.start()
        if duration:
            time.sleep(duration)
            if fault in ("link-down", "dead"):
                echo.ask(fault=fault, value=0)
        runner.join(120)
        echo.ask(fault=fault, value=0)
        assert not runner.is_alive(), f"stuck; the guest said:\n{echo.guest.output[-2000:]}"
        assert hashlib.sha256(result[0]).digest() == hashlib.sha256(data).digest()
        assert echo.counts()[fault] > acted, "the fault was there"
        assert exchange(sock, b"after") == b"after"
    after = echo.settled(before)
    if counters:
        assert after.count(counters) > before.count(counters), (before.counters, after.counters)


def test_heap_is_flat_over_all_faults(echo: Echo, fresh: State) -> None:
    """Counters that were small integers at first, and tables used for the first time, may have grown a little."""
    after = echo.settled(fresh, 2 * HEAP_SLACK_BYTES)
    assert after.counters["tcp"]["CurrEstab"] == fresh.counters["tcp"]["CurrEstab"]


def test_several_queues_share_the_connections(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    image = build(APPS / "echo_ixgbe", tmp_path / "app", "-t", "hvt", "--nic-queues", "4")
    echo = Echo(spawn, image, tmp_path)
    data = os.urandom(50_000)
    before = echo.state()
    socks = [echo.connect() for _ in range(16)]
    for sock in socks:
        assert exchange(sock, data) == data
        sock.close()
    after = echo.settled(before, 2 * HEAP_SLACK_BYTES)
    queues = [after.count(f"device.rx_queue_{queue}_packets") for queue in range(4)]
    assert sum(queues) == after.count("device.rx_packets")
    assert sum(bool(packets) for packets in queues) >= 3, queues


@pytest.mark.parametrize(("machine", "memory_mb"), [("microvm,pcie=on", 16), ("pc", 16), ("q35", 6)])
def test_other_machines_and_little_memory(
    spawn: Callable[[Sequence[str]], Guest], echo_image: Path, tmp_path: Path, machine: str, memory_mb: int
) -> None:
    """microvm's firmware assigns no addresses: the guest does."""
    echo = Echo(spawn, echo_image, tmp_path, machine, memory_mb)
    data = os.urandom(100_000)
    with echo.connect() as sock:
        assert exchange(sock, data) == data
    echo.guest.kill()
    assert echo.model.wait(10) == 0, "the model ends with its machine"


def test_relay_between_two_cards(
    spawn: Callable[[Sequence[str]], Guest], echo_image: Path, relay_image: Path, tmp_path: Path
) -> None:
    """Host, slirp, hub, card, relay, card, wire, card, echo server, and back: 50 MB each way."""
    port = free_port()
    ours, theirs = tmp_path / "a", tmp_path / "b"
    sockets = [tmp_path / f"nic{number}" for number in range(3)]
    argv = [sys.executable, "-m", "mirage_py.nic"]
    for path, backend in zip(sockets, (f"dgram:{ours}:{theirs}", "wire:x", "wire:x"), strict=True):
        argv += ["--socket", str(path), "--backend", backend]
    spawn(argv).expect("ready", 30)
    server = spawn(qemu_arguments(echo_image, "--ipv4 10.0.2.15/24 --ipv4-gateway 10.0.2.2", [sockets[2]]))
    server.expect("listening on tcp port 7", 60)
    # The relay is promiscuous by nature: the server's address is not that of its cards.
    relay = spawn([*qemu_arguments(relay_image, "", sockets[:2]), *hub(ours, theirs, port)])
    relay.expect("relaying between", 60)
    data = os.urandom(50_000_000)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        assert exchange(sock, data) == data
