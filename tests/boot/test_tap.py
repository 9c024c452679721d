# SPDX-License-Identifier: MIT
"""The TAP interface of the unix build: made where there is none, and named where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import APPS, Namespace

pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.tap]


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe application for unix, on our own stack."""
    directory = tmp_path_factory.mktemp("tap") / "probe"
    return guests.build(APPS / "probe", directory, "-t", "unix", "--net", "direct")


@pytest.mark.skipif(os.geteuid() != 0, reason="making a TAP needs root")
def test_missing_interface_is_made_and_goes_with_the_process(binary: Path) -> None:
    with Namespace(tap=None) as namespace:
        command = [str(binary), "--interface", "tap7", "--ipv4", "10.77.0.2/24", "--host-ipv4", "10.77.0.1/24"]
        with guests.started(command, {7, 9}, prefix=namespace.prefix, host="10.77.0.2") as guest:
            assert guest.client("sizes")["wrong"] == []
            assert "tap7" in guests.run_beside(guest, "ip", "-brief", "link").stdout
        assert "tap7" not in guests.run_beside(guest, "ip", "-brief", "link").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")
def test_missing_interface_without_rights_is_one_line_with_the_remedy(binary: Path) -> None:
    # /dev/net/tun may be anybody's; making an interface is not.
    binary.chmod(0o755)
    for folder in binary.parents:
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", str(binary), "--interface", "nosuch0"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "probe: error: " in said
    assert "nosuch0" in said
    assert said.count("\n") == 1


ASK = """
import socket, sys
for ip in sys.argv[1:]:
    with socket.create_connection((ip, 7), 10) as peer:
        print(peer.recv(100).decode())
"""


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application with two stacks for unix, both of them our own."""
    return guests.build(APPS / "dual", tmp_path_factory.mktemp("two") / "dual", "-t", "unix", "--net", "direct")


@pytest.mark.skipif(os.geteuid() != 0, reason="making a TAP needs root")
def test_two_stacks_have_an_interface_and_an_address_each_without_being_told(dual: Path) -> None:
    with (
        Namespace(tap=None) as namespace,
        guests.started([str(dual)], {7}, prefix=namespace.prefix, host="10.0.0.2") as guest,
    ):
        done = guests.run_beside(guest, sys.executable, "-c", ASK, "10.0.0.2", "10.1.0.2")
        assert done.stdout.split() == ["wan", "lan"], done.stdout + done.stderr + guest.text()


@pytest.mark.skipif(os.geteuid() != 0, reason="making a TAP needs root")
def test_two_stacks_on_one_interface_are_refused_in_a_line(dual: Path) -> None:
    with Namespace(tap=None) as namespace:
        command = [*namespace.prefix, str(dual), "--lan-interface", "tap0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert said.splitlines()[-1].startswith("dual: error: TAP interface tap0: "), said
    assert "Traceback" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="making a TAP needs root")
def test_run_makes_every_interface_that_is_missing(dual: Path) -> None:
    tool = [sys.executable, "-P", "-m", "mirage_py", "run", str(dual), "--", "--lan-ipv4", "10.66.0.2/24"]
    with (
        Namespace(tap=None) as namespace,
        guests.started(tool, {7}, prefix=namespace.prefix, host="10.0.0.2") as guest,
    ):
        done = guests.run_beside(guest, sys.executable, "-c", ASK, "10.0.0.2", "10.66.0.2")
        assert done.stdout.split() == ["wan", "lan"], done.stdout + done.stderr + guest.text()
