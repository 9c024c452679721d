# SPDX-License-Identifier: MIT
"""The three builds of one application, each with a real client on the other side (issue: "Shown by")."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.boot import guests
from tests.boot.guests import APPS, GUEST_IP, Guest, Namespace

pytestmark = [pytest.mark.build, pytest.mark.slow]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root")
BULK_BYTES = 100_000_000


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("socket", marks=pytest.mark.xdist_group("processes")),
        pytest.param("direct", marks=[NEEDS_ROOT, pytest.mark.tap, pytest.mark.xdist_group("processes")]),
        pytest.param("hvt", marks=[pytest.mark.qemu, pytest.mark.xdist_group("machine")]),
        pytest.param(
            "hvt-tap", marks=[NEEDS_ROOT, pytest.mark.tap, pytest.mark.qemu, pytest.mark.xdist_group("machine")]
        ),
    ],
)
def guest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """The probe application, running as the build that the parameter names."""
    kind = request.param
    directory = tmp_path_factory.mktemp("probe") / kind
    source = APPS / "probe"
    address = ["--ipv4", f"{GUEST_IP}/24"]
    if kind == "socket":
        binary = guests.build(source, directory, "-t", "unix", "--net", "socket")
        with guests.start_socket(binary, {"port": 7, "control-port": 9}) as running:
            yield running
    elif kind == "direct":
        binary = guests.build(source, directory, "-t", "unix", "--net", "direct")
        with Namespace() as namespace:
            command = [str(binary), "--interface", "tap0", *address]
            with guests.started(command, {7, 9}, prefix=namespace.prefix, host=GUEST_IP) as running:
                yield running
    elif kind == "hvt":
        image = guests.build(source, directory, "-t", "hvt")
        with guests.start_hvt(image, {7, 9}) as running:
            yield running
    else:
        image = guests.build(source, directory, "-t", "hvt")
        with Namespace() as namespace:
            options = ["--tap", "tap0"]
            with guests.start_hvt(
                image, {7, 9}, *options, guest_args=address, prefix=namespace.prefix, host=GUEST_IP
            ) as running:
                yield running


def test_sizes_from_1_to_200000_come_back_equal(guest: Guest) -> None:
    result = guest.client("sizes")
    assert result["wrong"] == [], result


def test_end_of_input_is_answered_with_the_rest_and_a_close(guest: Guest) -> None:
    result = guest.client("closes")
    assert result == {"answer": "last words", "closed": True}


def test_1000_connections_one_after_the_other(guest: Guest) -> None:
    assert guest.client("sequential", count=1000)["wrong"] == 0


def test_50_connections_at_once(guest: Guest) -> None:
    # QEMU's user-mode network accepts with a backlog of one: some of them wait for their SYN's repetitions.
    assert guest.client("parallel", count=50, timeout=120)["wrong"] == 0


def test_100_megabytes_through_and_back(guest: Guest) -> None:
    assert guest.client("bulk", count=BULK_BYTES, timeout=60)["equal"], "the octets that came back differ"


def test_a_client_that_resets_in_the_middle(guest: Guest) -> None:
    assert guest.client("reset", count=20)["healthy"]


def test_a_handler_that_raises_costs_only_its_connection(guest: Guest) -> None:
    result = ask_or_reset(guest, "raise")
    assert result == ""
    assert "ValueError: asked to" in guest.text()
    assert guest.client("closes")["closed"]


def ask_or_reset(guest: Guest, text: str) -> str:
    """The control port's answer; empty when the connection was reset instead."""
    try:
        return str(guest.client("ask", port=9, text=text)["answer"])
    except AssertionError as error:
        if "ConnectionResetError" in str(error):
            return ""
        raise


@pytest.mark.timeout(1200)
def test_heap_is_flat_after_10000_connections(guest: Guest) -> None:
    guest.client("sequential", count=500)
    time.sleep(0.5)
    before = int(str(guest.client("ask", port=9, text="heap")["answer"]))
    guest.client("sequential", count=10_000, timeout_s=900)
    time.sleep(0.5)
    after = int(str(guest.client("ask", port=9, text="heap")["answer"]))
    # Connections in TIME_WAIT are bounded; beyond that table nothing may stay behind.
    assert after - before < 100_000, f"heap in use grew from {before} to {after} octets"


def test_ping_is_answered(guest: Guest) -> None:
    if guest.host != GUEST_IP:
        pytest.skip("QEMU's user-mode network and the system's sockets leave nothing of ours to ping")
    done = guests.run_beside(guest, "ping", "-c", "20", "-i", "0.05", "-s", "1400", "-W", "2", GUEST_IP)
    assert " 0% packet loss" in done.stdout, done.stdout


def test_exit_code_of_the_guest_is_the_commands(guest: Guest) -> None:
    # Last in the file: the guest is gone afterwards.
    guest.order("exit 23")
    assert guest.wait() == 23
