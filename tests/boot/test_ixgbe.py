# SPDX-License-Identifier: MIT
"""`configure -t hvt --nic ixgbe`, and `run` with the emulated 82599 beside a QEMU that is new enough for it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import APPS, GUEST_IP, Namespace

pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.qemu]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe application on an 82599."""
    return guests.build(APPS / "probe", tmp_path_factory.mktemp("ixgbe") / "probe", "-t", "hvt", "--nic", "ixgbe")


def models_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The models that `mirage-py run` has started: its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"mirage_py.nic" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("machine", ["q35", "pc", "microvm"])
def test_echo_over_the_user_mode_network(image: Path, machine: str) -> None:
    with guests.start_hvt(image, {7, 9}, "--machine", machine) as guest:
        assert guest.client("sizes")["wrong"] == []
        assert guest.client("sequential", count=200)["wrong"] == 0
        assert guest.client("parallel", count=50, timeout=120)["wrong"] == 0
        assert guest.client("bulk", count=20_000_000)["equal"]
        assert guest.client("reset", count=20)["healthy"]
        (model,) = models_of(guest.process)
        guest.order("exit 23")
        assert guest.wait() == 23
    assert not Path(f"/proc/{model}").exists()


@pytest.mark.tap
@pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root")
def test_echo_over_a_tap(image: Path) -> None:
    with Namespace() as namespace:
        arguments = ["--ipv4", f"{GUEST_IP}/24"]
        with guests.start_hvt(
            image, {7, 9}, "--tap", "tap0", guest_args=arguments, prefix=namespace.prefix, host=GUEST_IP
        ) as guest:
            assert guest.client("sizes")["wrong"] == []
            assert guest.client("bulk", count=100_000_000)["equal"]
            assert " 0% packet loss" in guests.run_beside(guest, "ping", "-c", "10", "-i", "0.05", GUEST_IP).stdout


def test_card_that_dies_ends_the_guest_with_one_line(image: Path) -> None:
    with guests.start_hvt(image, {7, 9}) as guest:
        (model,) = models_of(guest.process)
        os.kill(model, signal.SIGKILL)
        assert guest.wait() == 1
    # All of the output has been read by now.
    assert "mirage-py: error: the emulated network card pci0 ended" in guest.text()
    assert "Traceback" not in guest.text()


def test_qemu_that_is_too_old_is_refused(image: Path, tmp_path: Path) -> None:
    old = tmp_path / "qemu"
    old.write_text("#!/bin/sh\necho QEMU emulator version 7.2.0\n")
    old.chmod(0o755)
    done = subprocess.run(
        [*guests.TOOL, "run", "--qemu", str(old), str(image)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "too old for the emulated 82599" in done.stderr
