# SPDX-License-Identifier: MIT
"""Floods that no kernel sends, with a healthy client beside them; and long use, after which nothing is left behind."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from pathlib import Path

from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.utils import checksum

from tests.interop import marks, pattern
from tests.interop.guest import Guest
from tests.interop.network import Family
from tests.interop.peer import RawPeer, raw_peer
from tests.interop.test_tcp import fetch

pytestmark = marks.UNIX
FLOOD = 5000
DATAGRAMS = 20_000
# Sends datagrams one after the other and counts the answers.
CLIENT = """
import socket, sys
host, count = sys.argv[1], int(sys.argv[2])
sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(2)
sock.connect((host, 7))
wrong = 0
for number in range(count):
    data = b"%d" % number * 20
    sock.send(data)
    wrong += sock.recv(1000) != data
print(wrong)
"""


def syns(peer: RawPeer, count: int, seed: int) -> list[bytes]:
    """SYNs to port 80 from as many neighbours and ports, whose checksums are right."""
    rng = random.Random(seed)
    is_ipv6 = ":" in peer.family.guest
    frame = bytearray(bytes(Ether(src=peer.src_mac, dst=peer.dst_mac) / peer.ip() / TCP(dport=80, flags="S")))
    start, at = (54, 37) if is_ipv6 else (34, 29)
    made = []
    for _ in range(count):
        frame[at] = rng.randrange(16, 255)
        struct.pack_into(">HHI", frame, start, rng.randrange(1024, 65535), 80, rng.getrandbits(32))
        if not is_ipv6:
            struct.pack_into(">H", frame, 24, 0)
            struct.pack_into(">H", frame, 24, checksum(bytes(frame[14:34])))
        struct.pack_into(">H", frame, start + 16, 0)
        body = bytes(frame[start:])
        pseudo = bytes(frame[22:54]) if is_ipv6 else bytes(frame[26:34])
        pseudo += struct.pack(">II", len(body), 6) if is_ipv6 else struct.pack(">HH", 6, len(body))
        struct.pack_into(">H", frame, start + 16, checksum(pseudo + body))
        made.append(bytes(frame))
    return made


def test_syn_flood_leaves_a_healthy_client_served(guest: Guest, family: Family, tmp_path: Path) -> None:
    before = guest.counters()["tcp"]
    with raw_peer(guest, family) as peer:
        frames = syns(peer, FLOOD, 1)
        for number, frame in enumerate(frames):
            peer.send_frame(frame)
            if number % 1000 == 500:
                assert fetch(guest.near, f"http://{family.in_url}/pattern/10000", tmp_path / "body") == pattern.octets(
                    10_000
                )
    after = guest.counters()["tcp"]
    assert after["InErrs"] == before["InErrs"], "the flood was not understood"
    assert after["InSegs"] - before["InSegs"] > FLOOD // 2
    assert after["HalfOpen"] <= 128
    assert fetch(guest.near, f"http://{family.in_url}/pattern/10000", tmp_path / "body") == pattern.octets(10_000)


def use(guest: Guest, family: Family) -> None:
    """Some hundred connections and many datagrams."""
    url = f"http://{family.in_url}/pattern/[100-399]"
    guest.near.run("curl", "-sS", "-H", "Connection: close", "-o", "/dev/null", url, check=True, timeout_s=100)
    command = [*guest.near.prefix, sys.executable, "-c", CLIENT, family.guest, str(DATAGRAMS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "0\n"


def test_heap_is_flat_after_many_datagrams_and_connections(guest: Guest, family: Family) -> None:
    use(guest, family)
    heap, remembered = guest.order("heap")["heap"], guest.counters()["tcp"]["TimeWait"]
    use(guest, family)
    # Of a connection that has ended something is kept for a minute; how many of them there are is bounded.
    remembered = guest.counters()["tcp"]["TimeWait"] - remembered
    assert guest.order("heap")["heap"] - heap < 100_000 + 1200 * max(remembered, 0)
