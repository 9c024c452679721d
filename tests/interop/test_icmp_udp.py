# SPDX-License-Identifier: MIT
"""ping, traceroute and datagrams, between Linux and the application."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.conftest import need
from tests.interop import marks, pattern
from tests.interop.guest import Guest
from tests.interop.network import Family

pytestmark = marks.UNIX
# The counters of each family's ICMP, and how requests and answers are called there.
ICMP = {"ipv4": ("icmp", "InEchos", "OutEchoReps"), "ipv6": ("icmp6", "InEchos", "OutEchoReplies")}


def echoes(guest: Guest, family: Family) -> tuple[int, int]:
    """How many echo requests came, and how many answers went, since the start."""
    part, requests, answers = ICMP[family.name]
    counters = guest.counters()[part]
    return counters[requests], counters[answers]


def ping(guest: Guest, family: Family, count: int, *options: str) -> str:
    """ping's output once it has had `count` answers; all of the guest's requests were answered."""
    before = echoes(guest, family)
    # Without -w it does not wait for the last answer if that takes longer than the others.
    done = guest.near.run("ping", "-c", str(count), "-w", "50", *options, family.guest)
    after = echoes(guest, family)
    assert int(re.search(r"(\d+) received", done.stdout)[1]) >= count, done.stdout  # type: ignore[index]
    # ping compares what comes back with what it sent, and says so.
    assert "wrong data byte" not in done.stdout
    assert after[0] - before[0] == after[1] - before[1] >= count
    return done.stdout


@pytest.mark.parametrize("size", [0, 1, 7, 8, 56, 1451, 1452])
def test_ping_is_answered_with_the_same_octets(guest: Guest, family: Family, size: int) -> None:
    ping(guest, family, 5, "-i", "0.02", "-s", str(size), "-p", "a55a0ff0")


def test_ping_flood_is_answered(guest: Guest, family: Family) -> None:
    ping(guest, family, 2000, "-f")


@pytest.mark.parametrize("flag", ["-U", "-I", "-T"])
def test_traceroute_ends_at_us(guest: Guest, family: Family, flag: str) -> None:
    """By UDP to a port where nobody listens, by ICMP echo, by a SYN to port 80."""
    program = need("traceroute", "traceroute")
    version = "-6" if ":" in family.guest else "-4"
    extra = ["-p", "80"] if flag == "-T" else []
    done = guest.near.run(program, version, flag, "-n", "-q", "3", "-w", "2", *extra, family.guest, check=True)
    (hop,) = [line for line in done.stdout.splitlines() if re.match(r" *\d+ ", line)]
    assert hop.split()[:2] == ["1", family.guest]
    assert "*" not in hop, done.stdout


def exchange(guest: Guest, family: Family, data: bytes, port: int = 7) -> bytes:
    """Sends a datagram from the kernel's socket; the answer, empty after two seconds."""
    code = (
        "import socket, sys\n"
        "host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
        "sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.settimeout(2)\n"
        "sock.connect((host, port))\n"
        "sock.send(sys.stdin.buffer.read(size))\n"
        "try:\n"
        "    sys.stdout.buffer.write(sock.recv(65536))\n"
        "except OSError as error:\n"
        "    sys.exit(error.errno or 110)\n"
    )
    done = subprocess.run(
        [*guest.near.prefix, "python3", "-c", code, family.guest, str(port), str(len(data))],
        input=data,
        capture_output=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise OSError(done.returncode, done.stderr.decode())
    return done.stdout


@pytest.mark.parametrize("size", [0, 1, 2, 511, 512, 1451, 1452])
def test_datagram_comes_back_from_the_echo_port(guest: Guest, family: Family, size: int) -> None:
    assert exchange(guest, family, pattern.octets(size)) == pattern.octets(size)


def test_datagram_to_a_port_where_nobody_listens_is_refused(guest: Guest, family: Family) -> None:
    with pytest.raises(OSError, match="111"):
        exchange(guest, family, b"anybody?", 4102)


def test_application_sends_a_datagram_and_gets_an_answer(guest: Guest, family: Family) -> None:
    code = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.settimeout(20)\n"
        "sock.bind((sys.argv[1], 4200))\n"
        "print('bound', flush=True)\n"
        "data, peer = sock.recvfrom(65536)\n"
        "sock.sendto(data.upper(), peer)\n"
    )
    server = subprocess.Popen(
        [*guest.near.prefix, "python3", "-c", code, family.near], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"bound\n"
        answer = guest.order("datagram", family.near, 4200, "shout")
        assert answer == {"queued": True, "answer": "SHOUT", "from": [family.near, 4200]}
    finally:
        server.kill()
        server.wait(10)
        server.stdout.close()  # type: ignore[union-attr]
