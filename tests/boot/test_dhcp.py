# SPDX-License-Identifier: MIT
"""Where an image has its address from: DHCP of QEMU's user-mode network, boot arguments, or a default that it says."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import EXAMPLES, GUEST_IP, Guest, Namespace

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root")
pytestmark = [pytest.mark.build, pytest.mark.slow]
PORT = 7007
TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The echo example for hvt."""
    return guests.build(EXAMPLES / "echo", tmp_path_factory.mktemp("dhcp") / "hvt", "-t", "hvt")


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The echo example for unix, on our own stack."""
    return guests.build(EXAMPLES / "echo", tmp_path_factory.mktemp("dhcp") / "unix", "-t", "unix", "--net", "direct")


def expect(guest: Guest, text: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while text not in guest.text():
        assert time.monotonic() < deadline, f"no {text!r} in:\n{guest.text()}"
        time.sleep(0.05)


@pytest.mark.qemu
def test_hvt_has_its_address_from_the_user_mode_network(image: Path) -> None:
    with guests.start_hvt(image, {PORT}) as guest:
        assert guest.client("closes", port=PORT)["closed"]
        expect(guest, "net0: 10.0.2.15/24 by DHCP, gateway 10.0.2.2")
        # Of the image itself: `run` warns of a port that another program has.
        assert " warning: " not in guest.text().replace("mirage-py: warning: ", "")


@pytest.mark.qemu
def test_connection_that_comes_before_the_address_is_not_lost(image: Path) -> None:
    # The user-mode network sends the SYN as soon as it sees the guest's MAC, and a lost one again after six seconds.
    with guests.start_hvt(image, {PORT}) as guest:
        start = time.monotonic()
        with socket.create_connection((guest.host, guest.ports[PORT]), timeout=30) as connection:
            connection.sendall(b"early")
            assert connection.recv(16) == b"early"
        assert time.monotonic() - start < 5


@pytest.mark.qemu
def test_hvt_with_an_address_asks_nobody(image: Path) -> None:
    arguments = ["--ipv4", "10.0.2.15/24", "--logs", "debug"]
    with guests.start_hvt(image, {PORT}, guest_args=arguments) as guest:
        assert guest.client("closes", port=PORT)["closed"]
        assert "net0: 10.0.2.15/24, gateway 10.0.2.2" in guest.text()
        assert "DHCP" not in guest.text()


@pytest.mark.qemu
@pytest.mark.tap
@NEEDS_ROOT
def test_hvt_without_a_server_falls_back_aloud(image: Path) -> None:
    with Namespace() as namespace:
        arguments = ["--dhcp", "--ipv4", f"{GUEST_IP}/24"]
        where = {"prefix": namespace.prefix, "host": GUEST_IP}
        with guests.start_hvt(image, {PORT}, "--tap", "tap0", guest_args=arguments, **where) as guest:
            expect(guest, f"net0: warning: no answer by DHCP: falling back to {GUEST_IP}/24")
            assert guest.client("closes", port=PORT)["closed"]


@pytest.mark.tap
@NEEDS_ROOT
def test_unix_is_static_unless_told_otherwise(binary: Path) -> None:
    with Namespace() as namespace:
        where = {"prefix": namespace.prefix, "host": GUEST_IP}
        with guests.started([str(binary), "--interface", "tap0"], {PORT}, **where) as guest:
            assert "10.0.0.2/24" in guest.text()
            assert "DHCP" not in guest.text()
        with guests.started([str(binary), "--interface", "tap0", "--dhcp"], {PORT}, **where) as guest:
            expect(guest, "warning: no answer by DHCP: falling back to the default address 10.0.0.2/24")
