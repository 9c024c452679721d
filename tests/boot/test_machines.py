# SPDX-License-Identifier: MIT
"""One image on every machine type and QEMU that it promises to boot on, with as little memory as it promises."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mirage_py.build import elf
from mirage_py.run import private_qemu, state
from mirage_py.support.cache import Cache
from tests.boot import guests
from tests.boot.guests import APPS
from tests.guest.test_guest import press

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


# What QEMU is given besides, in place of the card that `run` attaches.
CARD = "virtio-net-pci,netdev=n,disable-legacy=on,romfile="
OTHER_PLACES = {
    "pxb": ("pc", ["-device", "pxb,id=pxb0,bus_nr=8", "-device", f"{CARD},bus=pxb0"]),
    "pxb-pcie": (
        "q35",
        [
            *("-device", "pxb-pcie,id=pxb0,bus_nr=8", "-device", "pcie-root-port,id=rp0,bus=pxb0,chassis=1"),
            *("-device", f"{CARD},bus=rp0"),
        ],
    ),
    "pxb-pcie-without-firmware's-numbers": (
        "q35",
        [
            *("-bios", "qboot.rom", "-device", "pxb-pcie,id=pxb0,bus_nr=8"),
            *("-device", "pcie-root-port,id=rp0,bus=pxb0,chassis=1", "-device", f"{CARD},bus=rp0"),
        ],
    ),
    "notifications by a port": ("q35", ["-device", f"{CARD},modern-pio-notify=on"]),
}


def boot(image: Path, machine: str, *arguments: str, cpu: str = "max", memory: str = "16M") -> list[str]:
    """QEMU's command line, with a user-mode network called n."""
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", "tcg"),
        *("-machine", machine, "-cpu", cpu, "-m", memory, "-serial", "stdio", "-netdev", "user,id=n"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4", *arguments, "-kernel", str(image)),
    ]


def ended(command: list[str]) -> tuple[int, list[str]]:
    """(QEMU's status, what it and the guest printed)."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("place", OTHER_PLACES)
def test_card_is_found_wherever_it_is(image: Path, place: str) -> None:
    machine, arguments = OTHER_PLACES[place]
    with guests.started(boot(image, machine, *arguments), {7, 9}) as guest:
        guests.wait_saying(guest, "by DHCP")


@pytest.mark.parametrize("cpu", ["qemu64", "kvm64", "Nehalem,+aes"])
def test_processor_without_rdrand_is_one_line(image: Path, cpu: str) -> None:
    status, lines = ended(boot(image, "q35", "-device", CARD, cpu=cpu))
    assert status == 1 << 1 | 1
    assert [line for line in lines if "warning" not in line] == [
        "probe: error: no source of random numbers: this processor has no RDRAND, and there is no virtio-rng to ask; "
        "use -cpu max or host, or add -device virtio-rng-pci"
    ]


@pytest.mark.parametrize("machine", ["q35", "pc", "microvm,pcie=on"])
@pytest.mark.parametrize("device", ["virtio-rng-pci", "virtio-rng-pci,disable-legacy=on,max-bytes=64,period=50"])
def test_random_numbers_from_a_device(image: Path, machine: str, device: str) -> None:
    command = boot(image, machine, "-device", CARD, "-device", device, cpu="qemu64")
    with guests.started(command, {7, 9}) as guest:
        guests.wait_saying(guest, "by DHCP")


def test_run_attaches_random_numbers_for_a_processor_of_the_users(image: Path) -> None:
    with guests.start_hvt(image, {7, 9}, "--qemu-arg=-cpu", "--qemu-arg=kvm64") as guest:
        assert "a virtio-rng is attached, for a -cpu without RDRAND" in guest.text()
        assert guest.client("sizes")["wrong"] == []


def test_processor_without_64_bits_is_one_line(image: Path) -> None:
    status, lines = ended(boot(image, "q35", "-device", CARD, cpu="qemu32"))
    assert status == 69 << 1 | 1
    assert len([line for line in lines if "warning" not in line]) == 1
    assert "no 64-bit mode" in lines[-1]


def test_least_memory_is_in_the_note_and_kept(image: Path) -> None:
    minimum = elf.read_note(image)["minimum_memory_mb"]
    assert 2 <= minimum <= 4
    status, lines = ended(boot(image, "q35", "-device", CARD, memory=f"{minimum - 1}M"))
    assert status == 69 << 1 | 1
    assert lines == [f"mirage: too little memory: give the machine {minimum} MiB (-m, or --memory)"]
    done = subprocess.run(
        [*guests.TOOL, "run", str(image), "--memory", str(minimum - 1)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"mirage-py: error: --memory {minimum - 1}: probe does not start with so little memory; "
        f"give it {minimum} MiB or more\n"
    )
    with guests.start_hvt(image, {7, 9}, "--memory", str(minimum)) as guest:
        guests.wait_saying(guest, "by DHCP")


@pytest.fixture(scope="module", params=["unix", "hvt"])
def ending(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What starts the application that is asked to end, on either target."""
    image = guests.build(
        APPS / "ending", tmp_path_factory.mktemp(f"ending-{request.param}") / "app", "-t", request.param
    )
    return [str(image)] if request.param == "unix" else [*guests.TOOL, "run", "--machine", "q35", str(image), "--"]


@pytest.mark.parametrize(
    ("then", "said", "code"),
    [
        ("nothing", ["asked to end"], 143),
        ("clean", ["asked to end", "saved"], 143),
        ("return", ["asked to end"], 0),
        ("stay", ["asked to end"], 143),
    ],
)
def test_application_is_asked_to_end_the_same_way_everywhere(
    ending: list[str], then: str, said: list[str], code: int
) -> None:
    with guests.started([*ending, "--then", then], set()) as guest:
        guests.wait_saying(guest, "serving")
        time.sleep(0.3)
        before = time.monotonic()
        guest.process.send_signal(signal.SIGTERM)
        status = guest.wait()
        took_s = time.monotonic() - before
    # `run` says, as for every signal, that it was ended by one.
    assert status == (143 if "mirage_py" in ending else code)
    assert [line for line in guest.text().splitlines() if "forwarding" not in line] == ["serving", *said]
    assert took_s < 5 if then != "stay" else 4.5 < took_s < 9


@pytest.mark.parametrize("how", ["spin", "spin-at-once", "spin-in-task"])
def test_application_that_spins_is_interrupted_where_it_does(ending: list[str], how: str) -> None:
    with guests.started([*ending, "--then", how], set()) as guest:
        guests.wait_saying(guest, "serving")
        time.sleep(1.5)
        before = time.monotonic()
        guest.process.send_signal(signal.SIGTERM)
        assert guest.wait(20) == 143
        took_s = time.monotonic() - before
    assert 1.9 < took_s < 5
    lines = [line for line in guest.text().splitlines() if "loop: warning" not in line]
    assert "Traceback (most recent call last):" in lines
    assert any("ending.py" in line and line.endswith("in spin") for line in lines)
    assert lines[-1] == "Terminated: 143"
    # The others are asked before.
    assert ("asked to end" in lines) == (how == "spin-in-task")


@pytest.fixture(scope="module")
def spinning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return guests.build(APPS / "ending", tmp_path_factory.mktemp("spinning") / "app", "-t", "hvt")


@pytest.mark.parametrize("machine", ["q35", "pc", "microvm"])
@pytest.mark.parametrize("how", ["spin", "spin-at-once"])
def test_application_that_spins_hears_ctrl_c_on_its_serial_line(spinning: Path, machine: str, how: str) -> None:
    process = subprocess.Popen(
        [*guests.TOOL, "run", "--machine", machine, str(spinning), "--", "--then", how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        time.sleep(1)  # while it waits, it would be input like any other
        process.stdin.write("typed before \x03")
        process.stdin.flush()
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    lines = said.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2].endswith("in spin")
    assert lines[-1] == "KeyboardInterrupt: "
    assert process.returncode == 130


@pytest.mark.parametrize("machine", ["q35", "pc", "microvm"])
def test_detached_application_that_spins_says_where_when_it_is_stopped(
    spinning: Path, machine: str, tmp_path: Path
) -> None:
    def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, state.STATE_ENV: str(tmp_path)}
        return subprocess.run(
            [*guests.TOOL, *arguments], capture_output=True, text=True, timeout=60, env=environment, check=False
        )

    done = tool("run", "--machine", machine, "--detach", "--name", "s", str(spinning), "--", "--then", "spin-at-once")
    assert done.returncode == 0, done.stderr
    try:
        time.sleep(2.5)
    finally:
        stopped = tool("stop", "s")
    assert stopped.returncode == 0, stopped.stderr
    lines = tool("logs", "s").stdout.splitlines()
    assert lines[-2].endswith("in spin")
    assert lines[-1] == "Terminated: 143"
    assert "143" in tool("ps", "--all").stdout


@pytest.mark.parametrize("machine", ["q35", "pc", "microvm", "microvm,pcie=on"])
def test_power_button_without_our_tool(tmp_path: Path, machine: str) -> None:
    """As virsh shutdown presses it; with a pvpanic, which must not be told of it, and no device for an exit code."""
    image = guests.build(APPS / "ending", tmp_path / "app", "-t", "hvt")
    monitor = tmp_path / "qmp"
    command = [
        *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", machine, "-cpu", "max", "-m", "16M"),
        *("-accel", "tcg", "-serial", "stdio", "-device", "pvpanic", "-action", "panic=exit-failure"),
        *("-qmp", f"unix:{monitor},server=on,wait=off", "-kernel", str(image), "-append", "--then clean"),
    ]
    with guests.started(command, set()) as guest:
        guests.wait_saying(guest, "serving")
        time.sleep(0.3)
        press(monitor)
        assert guest.wait(10) == 0
    assert guest.text() == "serving\nasked to end\nsaved\n"
