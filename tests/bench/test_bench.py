# SPDX-License-Identifier: MIT
"""bench: what is computed and written, without measuring anything."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from bench import driver, images, linux_card, linux_guest, machine, parts, primitives, record, runner
from bench.__main__ import COLUMNS, chosen, line, measure, parse_arguments
from bench.apps import BUILDS, BuildError
from bench.context import Context
from bench.cpio import Archive
from bench.row import Effort, Row


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name, read as the kernel reads them."""
    found, offset = {}, 0
    while True:
        assert archive[offset : offset + 6] == b"070701"
        fields = [int(archive[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[offset + 110 : offset + 109 + name_size].decode()
        start = offset + (110 + name_size + 3 & ~3)
        if name == "TRAILER!!!":
            return found
        found[name] = mode, archive[start : start + size]
        offset = start + (size + 3 & ~3)


def test_archive() -> None:
    archive = Archive()
    archive.file("a/b/c", b"12345", 0o755)
    archive.file("a/b/d", b"")
    archive.device("dev/console", 5, 1)
    with pytest.raises(ValueError, match="already"):
        archive.file("a/b/c", b"")
    assert entries(archive.finish()) == {
        "a": (0o040755, b""),
        "a/b": (0o040755, b""),
        "a/b/c": (0o100755, b"12345"),
        "a/b/d": (0o100644, b""),
        "dev": (0o040755, b""),
        "dev/console": (0o020600, b""),
    }


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_archive_as_cpio_reads_it(tmp_path: Path) -> None:
    archive = Archive()
    archive.file("a/b", b"12345")
    done = subprocess.run(
        ["cpio", "-i", "--quiet"], input=archive.finish(), cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "b").read_bytes() == b"12345"


def test_linux_guest_is_taken_from_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "linux-guest"
    folder.mkdir(parents=True)
    known = {"kernel": "k", "initrd": "i", "kernel_version": "6", "micropython_version": "1"}
    (folder / "guest.json").write_text(json.dumps({"version": linux_guest.VERSION, **known}))
    assert linux_guest.assemble(tmp_path) == linux_guest.LinuxGuest(**known)


@pytest.mark.parametrize(
    ("ours", "theirs", "must", "wanted", "is_floor", "verdicts"),
    [
        ([1.0, 9.0, 2.0], [4.0], 0.5, 0.25, False, (True, False)),
        ([1.0, 9.0, 3.0], [4.0], 0.5, 0.25, False, (False, False)),
        ([1.0], [4.0], 0.5, 0.25, False, (True, True)),
        ([3.0], [4.0], 0.5, 1.0, True, (True, False)),
        ([5.0], [4.0], 0.5, 1.0, True, (True, True)),
        ([], [4.0], 0.5, None, False, (None, None)),
        ([3.0], [], 0.5, None, False, (None, None)),
        ([3.0], [0.0], 0.5, None, False, (None, None)),
    ],
)
def test_limits_of_a_ratio(ours, theirs, must, wanted, is_floor, verdicts) -> None:
    row = Row("echo", "us", must, wanted, is_floor=is_floor, beside="Linux", ours=ours, theirs=theirs)
    assert (row.keeps(row.must), row.keeps(row.wanted)) == verdicts
    assert row.is_bad is (verdicts[0] is False)
    assert len(line(row)) == len(COLUMNS)


@pytest.mark.parametrize(
    ("ours", "is_floor", "met"),
    [([430e3], False, True), ([431e3], False, False), ([429e3], True, False), ([], False, None)],
)
def test_limits_of_a_figure_are_in_its_unit(ours, is_floor, met) -> None:
    row = Row("size", "KB", 430, is_floor=is_floor, scale=1e-3, ours=ours, theirs=[1.0])
    assert row.keeps(row.must) is met
    cells = dict(zip(COLUMNS[:5], line(row), strict=False))
    assert cells["must"] == f"{'>=' if is_floor else '<='} 430 KB"


def test_line_has_both_limits_and_both_verdicts() -> None:
    row = Row(
        "echo", "us", 0.5, 0.25, scale=1e6, beside="Linux guest", note="n", reference="r", ours=[3e-6], theirs=[10e-6]
    )
    assert line(row) == [
        "echo, us",
        "3",
        "10",
        "0.30",
        "<= 0.5",
        "[green]yes[/]",
        "<= 0.25",
        "[red]no[/]",
        "beside: Linux guest; n; ref.: r",
    ]


def test_row_comes_back_from_json() -> None:
    row = Row("a", "b", 1.0, 2.0, is_floor=True, beside="c", ours=[1.0, 2.0], theirs=[3.0], tracked="d")
    assert Row.from_dict(json.loads(json.dumps(row.as_dict()))) == row


# --- parts in processes of their own ---


def part_process(code: str) -> list[str]:
    """Stands in for `python -m bench.runner`."""
    return [
        sys.executable,
        "-c",
        f"import json, os, sys, time\ndef tell(**m): print(json.dumps(m), flush=True)\n{code}",
    ]


ROW = "tell(row=__import__('bench.row').row.Row('first', 's', 1.0, ours=[0.5]).as_dict())\n"


@pytest.mark.parametrize(
    ("code", "timeout_s", "why"),
    [
        ("tell(end='no TAP here')", 30, "not measured: no TAP here"),
        ("sys.exit('out of luck')", 30, "not measured: ended early: out of luck"),
        ("os._exit(0)", 30, "not measured: ended early"),
        ("time.sleep(60)", 2, "not measured: not done after 2 s"),
        ("print('hello', flush=True)", 30, "not measured: what it printed is not what was expected"),
    ],
)
def test_part_that_fails_keeps_what_it_measured(code: str, timeout_s: float, why: str) -> None:
    rows = runner.run("boots", part_process(ROW + code), timeout_s, lambda text: None)
    assert [row.title for row in rows] == ["first", "boots"]
    assert not rows[0].is_bad
    assert rows[1].is_bad
    assert rows[1].note.startswith(why)


def test_part_that_succeeds_tells_its_progress() -> None:
    seen: list[str] = []
    rows = runner.run("boots", part_process(f"tell(progress='round 1')\n{ROW}tell(end=None)"), 30, seen.append)
    assert [row.title for row in rows] == ["first"]
    assert seen == ["round 1"]


def test_part_that_takes_too_long_leaves_no_process(tmp_path: Path) -> None:
    """What a part started ends with it, a machine for example."""
    pid_file = tmp_path / "pid"
    code = (
        f"import subprocess\np = subprocess.Popen(['sleep', '300'])\nopen({str(pid_file)!r}, 'w').write(str(p.pid))\n"
    )
    runner.run("boots", part_process(code + "time.sleep(300)"), 3, lambda text: None)
    status = Path(f"/proc/{pid_file.read_text()}/status")
    deadline = time.monotonic() + 10
    while status.exists() and "State:\tZ" not in status.read_text():
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


def test_what_cannot_be_made_costs_only_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(need: str) -> None:
        if need == parts.LINUX:
            raise BuildError("no network")

    ran: list[str] = []

    def run(name: str, command: list[str], timeout_s: float, progress: object) -> list[Row]:
        ran.append(name)
        return [Row(name, "s", ours=[1.0])]

    monkeypatch.setattr(parts, "make", make)
    monkeypatch.setattr(runner, "run", run)
    rows = measure(["size", "native", "change"], True, Console(file=io.StringIO()))
    assert ran == ["native", "change"]
    assert [(row.title, row.failed) for row in rows] == [("size", True), ("native", False), ("change", False)]
    assert rows[0].note == "not measured: Linux guest: no network"


def test_parts_are_chosen_in_their_order() -> None:
    assert chosen(["native", "size"]) == ["size", "native"]
    assert "profile" not in chosen(None)
    assert chosen(["profile"]) == ["profile"]
    assert len(chosen(None)) >= 13
    with pytest.raises(SystemExit):
        parse_arguments(["--only", "speed"])


def test_every_part_has_a_timeout_and_needs_that_are_known() -> None:
    known = {parts.CLIENT, parts.PLUGIN, parts.LINUX, parts.LINUX_CARD, parts.NEWER_QEMU}
    known |= {f"image {name}" for name in BUILDS} | {f"program {it.PROGRAM}" for it in (driver, primitives)}
    for part in parts.PARTS.values():
        assert 0 < part.timeout_s <= 3600
        assert set(part.needs) <= known


class FakeMachine:
    """Boots at once; fails in the round that it is told to."""

    boots: list[str]
    failing: str

    def __init__(self, guest: machine.Guest) -> None:
        self.guest = guest
        self.start_s = 1.0

    @classmethod
    def boot(cls, guest: machine.Guest, setup: machine.Setup) -> FakeMachine:
        return cls(guest)

    def __enter__(self) -> FakeMachine:
        self.boots.append(self.guest.name)
        if len(self.boots) > 2 and self.guest.name == self.failing:
            raise machine.GuestError("does not listen")
        return self

    def __exit__(self, *exc: object) -> None:
        self.boots.append(f"end {self.guest.name}")


@pytest.mark.parametrize(("failing", "rounds"), [("nobody", 2), ("Linux", 1)])
def test_guests_are_measured_in_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: str, rounds: int
) -> None:
    order: list[tuple[str, str, int]] = []

    def measured(booted: FakeMachine, client: Path, what: str, count: int, size: int, port: int = 7) -> float:
        order.append((booted.guest.name, what, port))
        return float(len(order))

    monkeypatch.setattr(FakeMachine, "boots", [], raising=False)
    monkeypatch.setattr(FakeMachine, "failing", failing, raising=False)
    monkeypatch.setattr(images, "Machine", FakeMachine)
    monkeypatch.setattr(images, "measured", measured)
    context = Context(Effort(rounds=2), tmp_path, lambda text: None)
    rows = [Row(name, "s", beside="Linux") for name in ("start", "echo", "bulk", "best")]
    guests = (machine.Guest("ours", tmp_path, 16, ""), machine.Guest("Linux", tmp_path, 128, "", ports=(7, 8)))
    images.alternate(context, rows, tuple((guest, machine.Setup()) for guest in guests))
    assert [(len(row.ours), len(row.theirs)) for row in rows] == [
        (rounds, rounds),
        *[(rounds * images.SLICES, rounds * images.SLICES)] * 3,
    ]
    warm = [
        ("ours", "echoes", 7),
        ("ours", "bulk", 7),
        ("Linux", "echoes", 7),
        ("Linux", "bulk", 7),
        ("Linux", "bulk", 8),
    ]
    turn = [
        ("ours", "echoes", 7),
        ("Linux", "echoes", 7),
        ("ours", "bulk", 7),
        ("Linux", "bulk", 7),
        ("Linux", "bulk", 8),
    ]
    assert order[: 5 + 5 * images.SLICES] == warm + turn * images.SLICES
    # All that booted has ended, and a failed round is told of in every row.
    assert FakeMachine.boots.count("end ours") == 2
    assert [row.failed for row in rows] == [failing == "Linux"] * 4
    assert [row.note for row in rows] == (["round 2: does not listen"] * 4 if failing == "Linux" else [""] * 4)


# --- figures that are kept ---


def test_tracked_figures_are_kept_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    assert record.load(path) == {}
    kept = Row("a", "", tracked="a", ours=[1000.0])
    record.store([kept, Row("b", "", ours=[1.0]), Row("c", "", tracked="c", ours=[1.0], failed=True)], path)
    record.store([Row("d", "KB", scale=1e-3, tracked="d", ours=[5000.0])], path)
    assert record.load(path) == {"a": 1000.0, "d": 5.0}
    same, more, new = (Row("a", "", tracked="a", ours=[value]) for value in (1040.0, 1100.0, 1.0))
    new.tracked = "new"
    record.compare([same, more, new], record.load(path))
    assert (same.note, more.note, new.note) == ("", "was 1,000 (+10%)", "")


# --- what other programs print ---


def test_iperf_report() -> None:
    report = {"end": {"sum_received": {"bits_per_second": 5e8}}}
    assert linux_card.bits_per_second(f"iperf3: warning\n{json.dumps(report)}\nguest#") == 5e8
    with pytest.raises(machine.GuestError, match="busy"):
        linux_card.bits_per_second(json.dumps({"error": "the server is busy"}))
    with pytest.raises(machine.GuestError, match="no report"):
        linux_card.bits_per_second("sh: iperf3: not found")


def test_batch_times() -> None:
    assert driver.batch_times("x\nbatch_ns 1 2 30\n", 3) == [1.0, 2.0, 30.0]
    with pytest.raises(machine.GuestError, match="2 times for 3"):
        driver.batch_times("batch_ns 1 2\n", 3)
    with pytest.raises(machine.GuestError, match="0 times"):
        driver.batch_times("Traceback", 3)


def test_without_valgrind_the_cycles_are_still_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(command: list[str]) -> str:
        if command[0] == "valgrind":
            raise machine.GuestError("valgrind is not installed; sudo apt install valgrind")
        return "batch_ns " + " ".join(["3200"] * int(command[2])) + "\n"

    monkeypatch.setattr(driver, "run", run)
    monkeypatch.setattr(driver, "tsc_hz", lambda text: 2e9)
    rows = list(driver.forward(Context(Effort(packets=25_600), tmp_path, lambda text: None)))
    assert [row.unit for row in rows] == ["cycles/packet", "instructions/packet"] * 2
    assert [row.value for row in rows] == [200.0, None, 25.0, None]
    assert [row.failed for row in rows] == [False, True] * 2
    assert rows[1].note == "callgrind: valgrind is not installed; sudo apt install valgrind"


def test_program_that_is_not_there_is_named() -> None:
    with pytest.raises(machine.GuestError, match="no-such-program is not installed"):
        driver.run(["no-such-program"])
    with pytest.raises(machine.GuestError, match=r"sh: .*out of luck"):
        driver.run(["sh", "-c", "echo out of luck; exit 3"])


def test_time_stamp_counter() -> None:
    assert driver.tsc_hz("model name : Xeon @ 3.30GHz\ncpu MHz : 1200.0\n") == 3.3e9
    assert driver.tsc_hz("model name\t: AMD EPYC\ncpu MHz\t\t: 2445.424\n") == 2445.424e6
    with pytest.raises(machine.GuestError):
        driver.tsc_hz("processor: 0")


def test_instructions_of_the_driver_are_those_of_more_batches_less_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(program: Path, batch: int, batches: int, what: str) -> int:
        return 10_000_000 + batch * batches * {"driver": 1000, "device": 300}[what]

    monkeypatch.setattr(driver, "instructions", fake)
    assert driver.per_packet(Path("x"), 32) == 700
    assert driver.collected("==1== Collected : 12345\n") == 12345
    with pytest.raises(machine.GuestError):
        driver.collected("Aborted")


def test_processor_time_is_counted() -> None:
    before = machine.cpu_seconds(os.getpid())
    sum(range(2_000_000))
    assert 0 < machine.cpu_seconds(os.getpid()) - before < 10
