# SPDX-License-Identifier: MIT
"""The hvt platform by itself: tiny guests in C, one for each thing it promises, on every kind of machine.

MIRAGE_QEMU names another QEMU than the one on PATH. The host sees the guest's exit code n as (n << 1) | 1.
"""

import os
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Guest, need

pytestmark = [pytest.mark.qemu, pytest.mark.build]

HERE = Path(__file__).resolve().parent
TARGETS = HERE.parents[1] / "targets"
MACHINES = ["q35", "pc", "microvm"]
FAULT = 70
BAD_ARGS = 64
NO_MEMORY = 69
# A machine, and what else its command line says.
PLACES = {
    "q35": ["-M", "q35"],
    "q35-max": ["-M", "q35", "-cpu", "max"],
    "q35-qboot": ["-M", "q35", "-bios", "qboot.rom"],
    "q35-unknown-vmm": ["-M", "q35", "-cpu", "qemu64,-hypervisor"],
    "q35-no-hpet": ["-M", "q35,hpet=off"],
    "pc": ["-M", "pc"],
    "pc-max": ["-M", "pc", "-cpu", "max"],
    "pc-qboot": ["-M", "pc", "-bios", "qboot.rom"],
    "microvm": ["-M", "microvm"],
    "microvm-max": ["-M", "microvm", "-cpu", "max"],
    "microvm-pcie": ["-M", "microvm,pcie=on"],
    "microvm-no-acpi": ["-M", "microvm,acpi=off"],
    "microvm-bare": ["-M", "microvm,pit=off,pic=off,rtc=off"],
    "microvm-unknown-vmm": ["-M", "microvm,pcie=on", "-cpu", "qemu64,-hypervisor"],
}
# What the guest `fault` does, and how the report must call it.
FAULTS = {
    "write-text": "page fault (vector 14): write to read-only text at 0x000000000010",
    "write-rodata": "page fault (vector 14): write to read-only data at 0x00000000001",
    "execute-rodata": "page fault (vector 14): execution of read-only data at 0x",
    "execute-data": "page fault (vector 14): execution of data at 0x",
    "execute-heap": "page fault (vector 14): execution of data at 0x",
    "execute-dma": "page fault (vector 14): execution of data at 0x",
    "execute-stack": "page fault (vector 14): execution of data at 0x",
    "read-zero": "page fault (vector 14): read of page zero at 0x0000000000000008",
    "write-zero": "page fault (vector 14): write to page zero at 0x0000000000000000",
    "execute-zero": "page fault (vector 14): execution of page zero at 0x0000000000000000",
    "read-unmapped": "page fault (vector 14): read of memory that is not mapped at 0x0000700000000000",
    "overflow": "page fault (vector 14): stack overflow (guard page) at 0x",
    "divide": "divide error (vector 0)",
    "opcode": "invalid opcode (vector 6)",
    "canonical": "general protection (vector 13)",
}

Run = Callable[..., Guest]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with NAME.hvt for every NAME.c here."""
    build = tmp_path_factory.mktemp("guests")
    need("gcc", "gcc")
    make = [need("make", "make"), "-j2", "-C", str(TARGETS), "-f", str(HERE / "Makefile")]
    done = subprocess.run([*make, f"GUESTS={HERE}", f"BUILD={build}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return build


@pytest.fixture
def start(images: Path, spawn: Callable[[Sequence[str]], Guest]) -> Run:
    """Starts a guest: start("hello", "boot arguments", *QEMU's arguments, memory_mb=)."""
    qemu = os.environ.get("MIRAGE_QEMU") or need("qemu-system-x86_64", "qemu-system-x86")

    def start(name: str, append: str, *extra: str, memory_mb: int = 6, debug_exit: bool = True) -> Guest:
        argv = [qemu, "-accel", "tcg", "-m", f"{memory_mb}M", "-nodefaults", "-no-user-config"]
        argv += ["-display", "none", "-serial", "stdio", "-kernel", str(images / f"{name}.hvt"), "-append", append]
        if debug_exit:
            argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        return spawn([*argv, *extra])

    return start


def finish(guest: Guest, code: int = 0, timeout: float = 20) -> str:
    """The console of a guest that ends with this exit code."""
    status = guest.wait(timeout)
    assert status & 1 == 1, f"QEMU ended with {status}:\n{guest.output}"
    assert status >> 1 == code, guest.output
    return guest.output


@pytest.mark.parametrize("place", PLACES)
def test_hello(start: Run, place: str) -> None:
    assert finish(start("hello", "a b", *PLACES[place], "-no-reboot")) == "hello from hvt, 2 arguments\n"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["globals", "fpu", "libc"])
def test_computation(start: Run, name: str, machine: str) -> None:
    assert finish(start(name, "", "-M", machine)) == "SUCCESS\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  one\ttwo  ", ["one", "two"]),
        ("--a='b c' \"d 'e'\" f\\ g", ["--a=b c", "d 'e'", "f g"]),
        (r'"a\"b" "a\\b" "a\nb" a\"b', ['a"b', "a\\b", r"a\nb", 'a"b']),
        (r"'a\b' '' x''y \\", [r"a\b", "", "xy", "\\"]),
        ("x" * 3000, ["x" * 3000]),
    ],
)
def test_arguments(start: Run, line: str, words: list[str]) -> None:
    assert finish(start("args", line, "-M", "microvm")) == "".join(f"[{word}]\n" for word in words)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a 'b", "a quotation mark in the boot arguments is not closed"),
        ('a "b', "a quotation mark in the boot arguments is not closed"),
        ("a " * 200, "too many boot arguments"),
    ],
)
def test_bad_arguments(start: Run, line: str, message: str) -> None:
    assert finish(start("args", line, "-M", "q35"), BAD_ARGS) == f"mirage: {message}\n"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("code", "seen"), [(0, 0), (1, 1), (64, 64), (127, 127), (200, 127)])
def test_exit_code(start: Run, machine: str, code: int, seen: int) -> None:
    finish(start("args", f"exit {code}", "-M", machine), seen)


def test_abort(start: Run) -> None:
    assert finish(start("args", "fatal", "-M", "q35"), FAULT) == "[fatal]\nmirage: abort\n"


@pytest.mark.parametrize("place", ["q35", "q35-qboot", "pc", "pc-qboot", "microvm", "microvm-pcie"])
def test_power_off_without_debug_exit(start: Run, place: str) -> None:
    # With a machine that would start again (no -no-reboot), only soft-off ends QEMU.
    guest = start("hello", "", *PLACES[place], debug_exit=False)
    assert guest.wait(10) == 0
    assert guest.output == "hello from hvt, 0 arguments\n"


def test_reset_without_acpi_and_debug_exit(start: Run) -> None:
    guest = start("hello", "", *PLACES["microvm-no-acpi"], "-no-reboot", debug_exit=False)
    assert guest.wait(10) == 0
    assert guest.output == "hello from hvt, 0 arguments\n"


def test_pvpanic_failure(start: Run) -> None:
    # Answers the panic by powering off with QEMU's own failure code, where the device is the only way to tell.
    arguments = ["-M", "q35", "-device", "pvpanic", "-action", "panic=exit-failure", "-no-reboot"]
    assert start("args", "exit 3", *arguments, debug_exit=False).wait(10) == 1
    assert start("args", "exit 0", *arguments, debug_exit=False).wait(10) == 0


@pytest.mark.parametrize("what", FAULTS)
def test_fault(start: Run, what: str) -> None:
    console = finish(start("fault", what, "-M", "q35"), FAULT)
    assert f"mirage: fault: {FAULTS[what]}" in console
    assert "still here" not in console
    for register in ("rip", "rsp", "cr2", "err", "rax", "r15"):
        assert re.search(rf"\b{register} +[0-9a-f]{{16}}\b", console), register
    # main's caller is the platform's start: two addresses at least.
    returns = console.partition("returns to")[2].split()
    assert len(returns) >= 2
    assert all(re.fullmatch(r"0x00000000001[0-9a-f]{5}", address) for address in returns)


@pytest.mark.parametrize("place", ["pc", "microvm", "q35-max", "microvm-max", "q35-qboot"])
@pytest.mark.parametrize("what", ["write-text", "execute-data", "write-zero", "overflow"])
def test_fault_elsewhere(start: Run, what: str, place: str) -> None:
    assert FAULTS[what] in finish(start("fault", what, *PLACES[place]), FAULT)


@pytest.mark.timing
@pytest.mark.parametrize("place", ["q35", "pc", "microvm", "microvm-pcie", "q35-unknown-vmm", "microvm-unknown-vmm"])
def test_time(start: Run, place: str) -> None:
    guest = start("time", "", *PLACES[place])
    guest.expect("mark\n")
    before = time.monotonic()
    guest.expect("mark\nmark\n")
    assert 0.9 < time.monotonic() - before < 1.5
    walls = [int(ms) / 1000 for ms in re.findall(r"wall (\d+)", finish(guest))]
    # Set right meanwhile, by half a second at most; never back.
    assert 0.49 < walls[1] - walls[0] < 2
    assert abs(walls[1] - time.time()) < 2


@pytest.mark.timing
@pytest.mark.parametrize("machine", MACHINES)
def test_idle_costs_little(start: Run, machine: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert finish(start("idle", "", "-M", machine)) == "SUCCESS\n"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Two seconds of guest time, and QEMU's own start.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


@pytest.mark.timing
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("busy", ["", "busy"])
def test_wall_time_is_the_cmos_clocks(start: Run, machine: str, busy: str) -> None:
    assert finish(start("wall", busy, "-M", machine)).endswith("SUCCESS\n")


@pytest.mark.timing
def test_wall_time_of_a_clock_before_1970_counts_from_there(start: Run) -> None:
    # A QEMU that is told a year beyond 2038 may come to this as well.
    walls = re.findall(r"wall (\d+)", finish(start("time", "", "-M", "q35", "-rtc", "base=1965-06-01T00:00:00")))
    assert len(walls) == 2
    assert all(int(wall_ms) < 60_000 for wall_ms in walls)


def press(path: Path) -> None:
    """Presses the power button of the machine whose monitor listens at `path`."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(str(path))
        answers = monitor.makefile("rw")
        for command in ("qmp_capabilities", "system_powerdown"):
            answers.write(f'{{"execute": "{command}"}}')
            answers.flush()
            while '"return"' not in answers.readline():
                pass


@pytest.mark.parametrize(
    "place", ["q35", "q35-qboot", "q35-max", "q35-no-hpet", "pc", "pc-qboot", "microvm", "microvm-pcie"]
)
def test_power_button_wakes(start: Run, place: str, tmp_path: Path) -> None:
    guest = start("button", "", *PLACES[place], "-qmp", f"unix:{tmp_path}/qmp,server=on,wait=off")
    guest.expect("ready\n")
    time.sleep(0.3)
    press(tmp_path / "qmp")
    guest.expect("ready\npressed\n")
    press(tmp_path / "qmp")
    assert finish(guest) == "ready\npressed\npressed\nSUCCESS\n"


@pytest.mark.parametrize("machine", MACHINES)
def test_power_button_while_busy(start: Run, machine: str, tmp_path: Path) -> None:
    guest = start("button", "busy", "-M", machine, "-qmp", f"unix:{tmp_path}/qmp,server=on,wait=off")
    guest.expect("busy\n")
    press(tmp_path / "qmp")
    assert finish(guest) == "busy\nready\npressed\nSUCCESS\n"


@pytest.mark.parametrize("machine", MACHINES)
def test_console_wakes_on_input(start: Run, machine: str) -> None:
    guest = start("console", "", "-M", machine)
    guest.expect("ready\n")
    guest.type(b"one\n")
    guest.expect("one\n")
    guest.type(b"x" * 4000 + b"\n")
    guest.expect("x" * 4000 + "\n")
    guest.type(b"bye\n")
    assert "bye\n" in finish(guest)


@pytest.mark.parametrize("machine", MACHINES)
def test_console_keeps_what_was_typed_meanwhile(start: Run, machine: str) -> None:
    guest = start("console", "slow", "-M", machine)
    guest.type(b"early\n" + b"y" * 3000 + b"\n")
    guest.expect("ready\n")
    guest.type(b"bye\n")
    assert "ready\nearly\n" + "y" * 3000 + "\nbye\n" in finish(guest)


@pytest.mark.parametrize("place", ["q35-max", "pc-max", "microvm-max"])
def test_entropy(start: Run, place: str) -> None:
    first, second = (finish(start("entropy", "", *PLACES[place])) for _ in range(2))
    assert re.fullmatch(r"random [0-9a-f]{40,64}\n", first)
    assert first != second


def test_entropy_absent(start: Run) -> None:
    assert finish(start("entropy", "", "-M", "q35", "-cpu", "qemu64")) == "no source of entropy\n"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("memory_mb", [3, 4, 6, 16, 256, 3000, 5000])
def test_memory(start: Run, machine: str, memory_mb: int) -> None:
    console = finish(start("memory", "", "-M", machine, memory_mb=memory_mb))
    shares = re.fullmatch(r"ram (\d+) heap (\d+) dma (\d+) stack (\d+)\n", console)
    assert shares, console
    ram, heap, dma, stack = (int(kib) for kib in shares.groups())
    assert memory_mb * 1024 - 700 < ram <= memory_mb * 1024
    assert stack >= 128
    assert dma == 16384 if memory_mb >= 256 else ram / 4 - 4 <= dma <= ram / 4 + 4
    # All of the RAM is used but where it lies in two pieces, around the hole below 4 GiB: then the larger one is.
    if memory_mb <= 256:
        assert heap + dma + stack > ram - 1024
    else:
        assert heap > ram * 0.4


@pytest.mark.parametrize("machine", ["q35", "pc"])  # a microvm's firmware takes less
def test_memory_too_little(start: Run, machine: str) -> None:
    # Enough for the image itself, which says what it takes: as much is enough.
    console = finish(start("memory", "", "-M", machine, memory_mb=2), NO_MEMORY)
    said = re.fullmatch(r"mirage: too little memory: give the machine (\d+) MiB \(-m, or --memory\)\n", console)
    assert said, console
    finish(start("memory", "", "-M", machine, memory_mb=int(said[1])))


@pytest.mark.parametrize("place", ["q35-qboot", "microvm"])
def test_memory_that_ends_inside_the_image(start: Run, place: str) -> None:
    console = finish(start("memory", "", *PLACES[place], "-m", "1200K"), NO_MEMORY)
    assert re.fullmatch(r"mirage: too little memory: give the machine \d MiB \(-m, or --memory\)\n", console)


@pytest.mark.parametrize("place", ["q35", "pc", "microvm"])
@pytest.mark.parametrize("debug_exit", [True, False])
def test_processor_without_64_bits(start: Run, place: str, debug_exit: bool) -> None:
    guest = start("hello", "", *PLACES[place], "-cpu", "qemu32", "-no-reboot", debug_exit=debug_exit)
    if debug_exit:
        finish(guest, NO_MEMORY)
    else:
        assert guest.wait(10) == 0
    assert guest.output.count("\n") == 1
    assert "this processor has no 64-bit mode" in guest.output


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_dma_is_zero_after_restart(start: Run, machine: str) -> None:
    assert finish(start("restart", "", "-M", machine)) == "resetting\nSUCCESS\n"


@pytest.mark.parametrize("place", ["q35", "q35-max", "pc"])
def test_pci(start: Run, place: str) -> None:
    console = finish(start("pci", "", *PLACES[place], "-device", "edu"))
    assert "last bus 255\n" in console
    assert "INTx on line " in console
    assert console.endswith("SUCCESS\n")
    assert "MSI\n" in console


@pytest.mark.parametrize("place", ["q35-qboot", "pc-qboot", "microvm-pcie", "microvm-unknown-vmm"])
def test_pci_without_assigned_bars(start: Run, place: str) -> None:
    # qboot writes an Interrupt Line that its own routing does not match: MSI only.
    console = finish(start("pci", "msi", *PLACES[place], "-device", "edu"))
    assert "assigned c0000000\n" in console
    assert "MSI\n" in console


def test_pci_extended_configuration_space(start: Run) -> None:
    for place in ("q35", "microvm-pcie"):
        console = finish(start("pci", "", *PLACES[place], "-device", "pcie-root-port"))
        assert "1b36:c class 60400\n4096 octets of configuration space\n" in console


def test_pci_absent(start: Run) -> None:
    assert finish(start("pci", "", "-M", "microvm")) == "last bus -1\nSUCCESS\n"


def test_pci_windows_lie_outside_ram(start: Run) -> None:
    console = finish(start("pci", "", "-M", "q35", memory_mb=5000))
    windows = [[int(n, 16) for n in line] for line in re.findall(r"window \d at (\w+), (\w+) bytes", console)]
    assert len(windows) == 2
    assert windows[0][0] >= 0x80000000
    assert sum(windows[0]) <= 0xFEC00000
    assert windows[1][0] >= (1 << 32) + (5000 << 20) - 0x80000000


def test_image_layout(images: Path) -> None:
    readelf = shutil.which("readelf")
    assert readelf
    image = str(images / "hello.hvt")
    headers = subprocess.run([readelf, "-lnW", image], capture_output=True, text=True, check=True).stdout
    flags = re.findall(r"LOAD .* (R E|RW |R  |RWE) 0x", headers)
    assert flags == ["R E", "R  ", "RW "]
    assert "Xen" in headers
