# SPDX-License-Identifier: MIT
"""What befalls a network card is said on the console: a cable that goes out and in, on either target; and when."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import APPS, Namespace

pytestmark = [pytest.mark.build, pytest.mark.slow]
DOWN = "net0: warning: the link is down"
UP = "net0: the link is up"
STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) net0: warning: the link is down")


@pytest.mark.tap
@pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root")
def test_interface_that_goes_down_and_comes_up_is_said(tmp_path: Path) -> None:
    binary = guests.build(APPS / "probe", tmp_path / "probe", "-t", "unix", "--net", "direct")
    with (
        Namespace() as namespace,
        guests.started(
            # Nobody answers, so it asks on: Linux tells who sends that an interface is down, and nobody else.
            [str(binary), "--interface", "tap0", "--dhcp", "--ipv4", f"{guests.GUEST_IP}/24"],
            {7, 9},
            prefix=namespace.prefix,
            host=guests.GUEST_IP,
        ) as guest,
    ):
        namespace.run("ip", "link", "set", "tap0", "down")
        guests.wait_saying(guest, "tap0: warning: the link is down")
        namespace.run("ip", "link", "set", "tap0", "up")
        guests.wait_saying(guest, "tap0: the link is up")
        guests.wait_saying(guest, "falling back to")
        assert guest.client("sizes")["wrong"] == []


class Monitor:
    """QEMU's QMP, as far as a cable goes."""

    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.command("qmp_capabilities")

    def command(self, verb: str, **arguments: object) -> None:
        self.socket.sendall(json.dumps({"execute": verb, "arguments": arguments}).encode() + b"\n")
        while "return" not in (answer := json.loads(self.lines.readline())):
            assert "error" not in answer, answer


@pytest.mark.qemu
@pytest.mark.parametrize("nic", ["virtio"])
def test_cable_out_and_in_is_said_with_the_date(tmp_path: Path, nic: str) -> None:
    image = guests.build(APPS / "probe", tmp_path / "probe", "-t", "hvt", "--nic", nic)
    monitor = tmp_path / "qmp"
    options = ["--qemu-arg=-qmp", f"--qemu-arg=unix:{monitor},server=on,wait=off"]
    with guests.start_hvt(image, {7, 9}, *options, guest_args=["--log-time"]) as guest:
        qmp = Monitor(monitor)
        for _ in range(2):
            qmp.command("set_link", name="net0", up=False)
            guests.wait_saying(guest, DOWN)
            time.sleep(0.2)
            qmp.command("set_link", name="net0", up=True)
            guests.wait_saying(guest, UP)
        assert guest.client("sizes")["wrong"] == []
        said = guest.text()
        match = STAMP.search(said)
        assert match is not None, said
        seen = datetime.fromisoformat(match[1])
        assert abs((datetime.now(UTC) - seen).total_seconds()) < 60
