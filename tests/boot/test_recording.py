# SPDX-License-Identifier: MIT
"""What an image tells of itself: its counters, a recording of its card, and names that it looks up."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from scapy.layers.inet import TCP
from scapy.utils import rdpcap

from tests.boot import guests
from tests.boot.guests import APPS, GUEST_IP, HOST_IP, Namespace

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root")
pytestmark = [pytest.mark.build, pytest.mark.slow]
PCAP_PORT = 3000


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application for hvt."""
    return guests.build(APPS / "recorded", tmp_path_factory.mktemp("recorded") / "hvt", "-t", "hvt")


@pytest.mark.qemu
def test_recording_is_read_while_it_is_made_and_counters_are_printed(image: Path) -> None:
    host_port = guests.free_port()
    arguments = ["--pcap-port", str(PCAP_PORT), "--stats"]
    options = ["--publish", f"{host_port}:{PCAP_PORT}"]
    with guests.start_hvt(image, {7, 9, PCAP_PORT}, *options, guest_args=arguments) as guest:
        assert guest.client("closes")["closed"]
        with closing(socket.create_connection(("127.0.0.1", host_port), timeout=30)) as stream:
            data = b""
            while b"last words" not in data:  # what the client sent, before the stream was asked for
                data += stream.recv(65536)
            assert guest.client("closes")["closed"]
            while data.count(b"last words") < 4:  # there and back, twice
                data += stream.recv(65536)
        packets = rdpcap(BytesIO(_whole(data)))
        ports = {port for packet in packets if TCP in packet for port in (packet[TCP].sport, packet[TCP].dport)}
        assert 7 in ports
        assert PCAP_PORT not in ports
        guest.order("exit")
        assert guest.wait() == 0
        said = guest.text()
        assert "--- counters ---" in said
        assert "\ntcp.PassiveOpens " in said
        assert "\ndhcp.Bound 1" in said
        assert "\ndevice.rx_packets " in said


def _whole(data: bytes) -> bytes:
    """A pcap stream without the record that its end cuts."""
    at = 24
    while at + 16 <= len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        if at + 16 + size > len(data):
            break
        at += 16 + size
    return data[:at]


@contextmanager
def name_server(namespace: Namespace, address: str) -> Iterator[None]:
    """name_server.py in the namespace."""
    command = [*namespace.prefix, sys.executable, str(guests.HERE / "name_server.py"), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


@pytest.mark.tap
@NEEDS_ROOT
@pytest.mark.parametrize("net", ["direct", "socket"])
def test_names_are_resolved_over_both_stacks(net: str, tmp_path: Path) -> None:
    binary = guests.build(APPS / "recorded", tmp_path / net, "-t", "unix", "--net", net)
    with Namespace() as namespace, name_server(namespace, HOST_IP):
        address = ["--interface", "tap0", "--ipv4", f"{GUEST_IP}/24"] if net == "direct" else []
        where = {"prefix": namespace.prefix, "host": GUEST_IP if net == "direct" else HOST_IP}
        with guests.started([str(binary), *address, "--resolver", HOST_IP, "--stats"], {7, 9}, **where) as guest:
            assert guest.client("ask", port=9, text="www.example.test")["answer"] == "192.0.2.7\n"
            guest.order("exit")
            assert guest.wait() == 0
            assert "\ndns.Lookups " in guest.text()
            assert "\ntcp.PassiveOpens " in guest.text()
        with guests.started([str(binary), *address], {7, 9}, **where) as guest:
            said = str(guest.client("ask", port=9, text="www.example.test")["answer"])
            assert said == "www.example.test: no name server is known (give --resolver ADDRESS)\n"
