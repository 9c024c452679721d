# SPDX-License-Identifier: MIT
"""One image on every machine type and QEMU that it promises to boot on, with as little memory as it promises."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mirage_py.run import private_qemu
from mirage_py.support.cache import Cache
from tests.boot import guests
from tests.boot.guests import APPS

pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.qemu]

MACHINES = {
    "q35": ["--machine", "q35"],
    "q35-bars-unassigned": ["--machine", "q35", "--qemu-arg", "-bios", "--qemu-arg", "qboot.rom"],
    "pc": ["--machine", "pc"],
    "microvm": ["--machine", "microvm"],
}


@pytest.fixture(scope="module", params=["system's", "newer"])
def qemu(request: pytest.FixtureRequest) -> str:
    """The system's QEMU (7.2 on Debian 12), and the one of Debian's backports out of the cache."""
    if request.param == "newer":
        return str(private_qemu.obtain(Cache()))
    return "qemu-system-x86_64"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe application for hvt."""
    return guests.build(APPS / "probe", tmp_path_factory.mktemp("machines") / "probe", "-t", "hvt")


@pytest.mark.parametrize("machine", MACHINES)
def test_machine_boots_and_answers(image: Path, machine: str, qemu: str) -> None:
    with guests.start_hvt(image, {7, 9}, "--qemu", qemu, *MACHINES[machine]) as guest:
        assert guest.client("sizes")["wrong"] == []
        assert guest.client("bulk", count=2_000_000)["equal"]


def test_six_megabytes_of_memory_are_enough(image: Path) -> None:
    with guests.start_hvt(image, {7, 9}, "--memory", "6") as guest:
        assert guest.client("parallel", count=50, timeout=120)["wrong"] == 0
        assert guest.client("bulk", count=5_000_000)["equal"]


@pytest.mark.parametrize("machine", MACHINES)
def test_exit_codes_reach_the_host(image: Path, machine: str) -> None:
    with guests.start_hvt(image, {7, 9}, *MACHINES[machine]) as guest:
        guest.order("exit 23")
        assert guest.wait() == 23


def test_wrong_boot_argument_exits_64_with_one_line(image: Path) -> None:
    done = subprocess.run(
        [*guests.TOOL, "run", str(image), "--", "--ipv4", "10.0.0.300/24"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 64
    assert "--ipv4" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
