# SPDX-License-Identifier: MIT
"""Backends: datagram sockets, recording, a TAP in a namespace; and the process that serves them."""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw, raw
from scapy.utils import rdpcap

from mirage_py.nic.backends.base import NoBackend
from mirage_py.nic.backends.dgram import DgramBackend
from mirage_py.nic.backends.pcap import PcapBackend
from mirage_py.nic.frame import Frame
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.device import Ixgbe82599
from mirage_py.nic.ixgbe.memory import MemoryDma
from mirage_py.nic.ixgbe.registers import RXCTRL
from mirage_py.nic.main import default_mac, open_backend, parse_fault, parse_mac
from mirage_py.nic.pci import IxgbePci
from mirage_py.nic.vfio_user.loop import Loop
from mirage_py.support.errors import UserError
from tests.conftest import Guest, need
from tests.nic.client import Client
from tests.nic.host import BASE, MAC, PEER, Host

FRAMES = [bytes([n]) * (60 + n) for n in range(20)]


def frames(*octets: bytes) -> list[Frame]:
    return [Frame([one[:20], one[20:]], len(one)) for one in octets]


def joined(received: list[Frame]) -> list[bytes]:
    return [bytes(frame.joined()) for frame in received]


def test_coupled_sockets_carry_frames_both_ways() -> None:
    left, right = DgramBackend.couple()
    assert left.send(frames(*FRAMES[:5])) == 5
    assert joined(right.receive(3)) == FRAMES[:3]
    assert joined(right.receive(10)) == FRAMES[3:5]
    assert right.receive(10) == []
    assert right.send(frames(FRAMES[9])) == 1
    assert joined(left.receive(10)) == [FRAMES[9]]
    left.close()
    right.close()


def test_full_peer_holds_frames_back() -> None:
    left, right = DgramBackend.couple()
    sent = 0
    while (taken := left.send(frames(*FRAMES))) == len(FRAMES):
        sent += taken
        assert sent < 1_000_000
    sent += taken
    got = 0
    while batch := right.receive(100):
        got += len(batch)
    assert got == sent
    assert left.send(frames(FRAMES[0])) == 1


def test_named_sockets_wait_for_their_peer(tmp_path: Path) -> None:
    ours = DgramBackend.at(tmp_path / "a", tmp_path / "b")
    assert ours.send(frames(*FRAMES)) == len(FRAMES), "nobody is there: lost, as on an unplugged wire"
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(str(tmp_path / "b"))
    assert ours.send(frames(FRAMES[0])) == 1
    assert peer.recv(2000) == FRAMES[0]
    peer.sendto(FRAMES[1], str(tmp_path / "a"))
    peer.sendto(b"short", str(tmp_path / "a"))
    assert joined(ours.receive(10)) == [FRAMES[1]]
    peer.close()
    ours.send(frames(FRAMES[0]))
    (tmp_path / "b").unlink()
    again = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    again.bind(str(tmp_path / "b"))
    ours.send(frames(FRAMES[2]))
    ours.send(frames(FRAMES[3]))
    assert again.recv(2000) in (FRAMES[2], FRAMES[3]), "a new peer at the same place is found"
    again.close()
    ours.close()
    assert not (tmp_path / "a").exists()


def test_recording_is_read_by_others(tmp_path: Path) -> None:
    left, right = DgramBackend.couple()
    recorded = PcapBackend(left, tmp_path / "x.pcap")
    data = [raw(Ether() / IP() / UDP() / Raw(bytes([n]) * 50)) for n in range(3)]
    recorded.send(frames(*data[:2]))
    right.send(frames(data[2]))
    assert joined(recorded.receive(5)) == [data[2]]
    assert recorded.fileno() == left.fileno()
    assert [raw(packet) for packet in rdpcap(str(tmp_path / "x.pcap"))] == data
    recorded.close()
    right.close()
    with pytest.raises(UserError):
        PcapBackend(left, tmp_path / "no" / "such")


@pytest.mark.parametrize("text", ["", "tap", "tap:", "dgram:/a", "dgram:/a:/b:/c", "none:x", "vde:/x"])
def test_backend_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="backend"):
        open_backend(text)


def test_words_of_the_command_line(tmp_path: Path) -> None:
    assert parse_mac("02:00:00:00:00:01") == bytes.fromhex("020000000001")
    for text in ("01:00:00:00:00:01", "02:00", "zz:00:00:00:00:01", ""):
        with pytest.raises(UserError):
            parse_mac(text)
    assert parse_fault("drop=7") == ("drop", 7)
    assert parse_fault("dead") == ("dead", 1)
    for text in ("drops", "drop=x", ""):
        with pytest.raises(UserError):
            parse_fault(text)
    assert default_mac(tmp_path / "a") != default_mac(tmp_path / "b")
    assert default_mac(tmp_path / "a")[0] & 3 == 2


# The process.


def start(spawn: Callable[[Sequence[str]], Guest], directory: Path, *arguments: str) -> Guest:
    guest = spawn([sys.executable, "-m", "mirage_py.nic", "--socket", str(directory / "nic"), *arguments])
    guest.expect("ready", 30)
    return guest


def ask(path: Path, **request: object) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(json.dumps(request).encode() + b"\n")
        answer: dict[str, object] = json.loads(sock.makefile().readline())
        return answer


def test_process_serves_and_ends_with_its_client(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    process = start(spawn, tmp_path, "--once", "--mac", "02:11:22:33:44:55", "--control", str(tmp_path / "control"))
    client = Client(tmp_path / "nic")
    assert client.read(7, 0, 4) == b"\x86\x80\xfb\x10"
    assert client.read32(0x5400) == 0x33221102
    assert client.read(0, 0x5402, 2) == b"\x22\x33"
    assert ask(tmp_path / "control", fault="dead", value=1) == {"ok": True}
    assert client.read32(0x8) == 0xFFFF_FFFF
    assert ask(tmp_path / "control", fault="dead", value=0) == {"ok": True}
    answer = ask(tmp_path / "control", counters=True)
    assert answer["ok"]
    assert answer["counters"]["link"] is True  # type: ignore[index]
    for request in ({"fault": "nonsense"}, {"card": 7}, {"fault": 3}, {"card": "x"}):
        assert not ask(tmp_path / "control", **request)["ok"]
    client.close()
    assert process.wait(10) == 0
    assert not (tmp_path / "nic").exists()
    assert not (tmp_path / "control").exists()


def test_process_reports_what_is_wrong(tmp_path: Path) -> None:
    for arguments, cause in (
        (["--socket", str(tmp_path / "no" / "nic")], "No such file"),
        (["--socket", str(tmp_path / "nic"), "--backend", "tap:"], "backend"),
        (["--socket", str(tmp_path / "nic"), "--fault", "x"], "fault"),
        (["--socket", str(tmp_path / "nic"), "--backend", "none", "--backend", "none"], "1 sockets and 2 backends"),
        (["--socket", str(tmp_path / "nic"), "--backend", "wire:x"], "wire x has one end"),
    ):
        result = subprocess.run(
            [sys.executable, "-m", "mirage_py.nic", *arguments], capture_output=True, text=True, timeout=30, check=False
        )
        assert result.returncode == 1
        assert cause in result.stderr
        assert len(result.stderr.splitlines()) == 1, result.stderr


def test_io_window_and_function_level_reset(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    start(spawn, tmp_path)
    client = Client(tmp_path / "nic")
    client.write32(0, 0x5200, region=2)
    client.write32(4, 0xABCD, region=2)
    assert client.read32(4, region=2) == 0xABCD == client.read32(0x5200)
    capability = client.read(7, 0x34, 1)[0]
    found = {}
    while capability:
        kind, following = client.read(7, capability, 2)
        found[kind] = capability
        capability = following
    assert set(found) == {0x01, 0x05, 0x10, 0x11}
    assert int.from_bytes(client.read(7, found[0x11] + 2, 2), "little") == 63
    client.write(7, found[0x10] + 8, struct.pack("<H", 0x8000))
    assert client.read32(0x5200) == 0
    client.close()


# A TAP.


@pytest.fixture
def namespace() -> Iterator[list[str]]:
    need("ip", "iproute2")
    name = f"mirage-tap-{os.getpid()}"
    prefix = ["nsenter", f"--net=/run/netns/{name}"]
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("network namespaces cannot be made here")
    for words in (["link", "set", "lo", "up"], ["tuntap", "add", "t0", "mode", "tap"], ["link", "set", "t0", "up"]):
        subprocess.run([*prefix, "ip", *words], check=True, timeout=30)
    subprocess.run([*prefix, "ip", "addr", "add", "10.99.0.1/24", "dev", "t0"], check=True, timeout=30)
    yield prefix
    subprocess.run(["ip", "netns", "del", name], timeout=30, check=False)


TAP_PROGRAM = """
import sys, time
sys.path.insert(0, {root!r})
from mirage_py.nic.backends.tap import TapBackend
from mirage_py.nic.frame import Frame
tap = TapBackend("t0", {offloads})
print("open", flush=True)
data = bytes.fromhex({data!r})
end = time.monotonic() + 10
while time.monotonic() < end:
    assert tap.send([Frame([data], len(data))]) == 1
    for frame in tap.receive(64):
        octets = bytes(frame.joined())
        if octets[12:14] == b"\\x08\\x06" and octets[20:22] == b"\\0\\2":
            print("answer", octets[28:32].hex(), flush=True)
            sys.exit(0)
    time.sleep(0.05)
sys.exit(1)
"""


@pytest.mark.tap
@pytest.mark.parametrize("offloads", [True, False])
def test_tap_exchanges_frames_with_the_kernel(
    namespace: list[str], spawn: Callable[[Sequence[str]], Guest], offloads: bool
) -> None:
    request = raw(Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:09") / ARP(pdst="10.99.0.1", psrc="10.99.0.9"))
    program = TAP_PROGRAM.format(root=str(Path.cwd()), offloads=offloads, data=request.hex())
    guest = spawn([*namespace, sys.executable, "-c", program])
    assert guest.wait(30) == 0
    assert "answer 0a630001" in guest.output


@pytest.mark.tap
def test_tap_that_is_not_there_or_busy_is_named(namespace: list[str]) -> None:
    code = "from mirage_py.nic.backends.tap import TapBackend; a = TapBackend('t0'); TapBackend('t0')"
    result = subprocess.run(
        [*namespace, sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert "UserError: TAP interface t0: Device or resource busy" in result.stderr


def test_large_tcp_frame_keeps_its_offload_fields() -> None:
    """What the TAP's header says of a large segment, read back from the header that is written for one."""
    from mirage_py.nic.backends import tap as module

    data = raw(Ether() / IP() / TCP() / Raw(bytes(5000)))
    header = module._HEADER.pack(1, 1, 54, 1448, 34, 16)
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.write(writer, header + data)
    backend = object.__new__(module.TapBackend)
    backend._fd = reader
    (frame,) = backend.receive(1)
    assert (frame.gso_size, frame.gso_type, frame.hdr_len, frame.csum_start, frame.csum_offset) == (1448, 1, 54, 34, 16)
    backend._fd = writer
    assert backend.send([frame]) == 1
    assert os.read(reader, 10000) == header + data
    os.close(reader)
    os.close(writer)


class BrokenWire(NoBackend):
    """A descriptor that reports an error at once and for ever, as that of a TAP interface that is down does."""

    def __init__(self) -> None:
        reader, self.fd = os.pipe()
        os.close(reader)

    def fileno(self) -> int:
        return self.fd


def test_wire_that_is_down_is_tried_now_and_then() -> None:
    loop = Loop()
    card = IxgbePci(bytes.fromhex("020000000001"), BrokenWire(), loop)
    card.model.regs[RXCTRL >> 2] = 1
    card.settle()
    turns = 0
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        loop.step(0.5)
        turns += 1
    assert 2 <= turns < 50
    card.close()
    loop.close()


def test_cable_does_not_wait_for_a_peer_that_reads_nothing() -> None:
    """A datagram socket whose other end is stopped: the card goes on, so that no driver resets it."""
    ours, theirs = DgramBackend.couple()
    host = Host()
    nic = Ixgbe82599(MAC, MemoryDma(host.memory, BASE), host.sink, ours, host.timers)
    host.nic, host.regs = nic, nic.regs
    host.start()
    sent = 0
    while not nic.tx.has_backlog:
        host.queue_packet(bytes(6 * [2]) + MAC + b"\x88\xb5" + bytes(1000))
        host.doorbell()
        sent += 1
        assert sent < 100_000
    host.queue_packet(bytes(6 * [2]) + MAC + b"\x88\xb5" + bytes(1000))
    host.doorbell()
    host.timers.advance(400_000_000)
    assert nic.tx.has_backlog, "a busy machine has its time"
    host.timers.advance(200_000_000)
    assert not nic.tx.has_backlog
    assert nic.tx.lost >= 1
    assert host[r.TDH] == host.tx_tail
    host.transmit(bytes(6 * [2]) + MAC + b"\x88\xb5" + bytes(1000))
    assert not nic.tx.has_backlog, "nobody reads there: lost at once"
    while theirs.receive(10):
        pass
    host.transmit(PEER + MAC + b"\x88\xb5" + bytes(1000))
    assert len(theirs.receive(10)) == 1, "and heard again when somebody reads"
    ours.close()
    theirs.close()
