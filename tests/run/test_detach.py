# SPDX-License-Identifier: MIT
"""Detached guests: their supervisor, records, logs, and what is left when somebody dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mirage_py.run import commands, state
from mirage_py.run.console import RotatingLog, old_log
from mirage_py.support.errors import UserError
from tests.run.guest import tiny
from tests.run.test_guest import qemus_of, until


def needs_qemu(test):
    """Marks a test that boots the tiny guest."""
    why = tiny.missing()
    return pytest.mark.qemu(pytest.mark.skipif(why is not None, reason=str(why))(test))


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(state.STATE_ENV, str(tmp_path / "state"))


@pytest.fixture
def image(tmp_path: Path):
    path = tiny.build(tmp_path / "tiny.hvt")
    yield path
    for record in commands.ps():
        commands.stop(record.name)
    assert qemus_of(path) == []


def detach(image: Path, *guest_args: str, **options: object) -> None:
    done = tiny.run(image, *guest_args, detach=True, **options)
    assert done.returncode == 0, done.stderr


def show_logs(name: str, *, follow: bool = False) -> bytes:
    script = "import sys; from mirage_py.run import commands; commands.logs(sys.argv[1], follow=sys.argv[2] == 'f')"
    return subprocess.run(
        [sys.executable, "-c", script, name, "f" if follow else ""], capture_output=True, timeout=60, check=True
    ).stdout


@needs_qemu
def test_life_of_a_detached_guest(image: Path) -> None:
    detach(image, "forever")
    (record,) = commands.ps()
    assert record.name == "tiny"
    assert record.is_running
    until(lambda: show_logs("tiny") == b"ready\n", "the guest's first line in its log")
    assert len(qemus_of(image)) == 1
    assert commands.stop("tiny") == 0
    assert qemus_of(image) == []
    assert commands.ps() == []
    (record,) = commands.ps(include_ended=True)
    assert record.exit_code == 128 + signal.SIGTERM
    assert show_logs("tiny") == b"ready\n"
    assert commands.stop("tiny") == 0


@needs_qemu
def test_names(image: Path) -> None:
    detach(image, "forever")
    detach(image, "forever")
    detach(image, "forever", name="other")
    assert [record.name for record in commands.ps()] == ["tiny", "tiny-2", "other"]
    done = tiny.run(image, "forever", detach=True, name="other")
    assert done.returncode == 1
    assert b"a guest other is running already" in done.stderr


@needs_qemu
def test_exit_code_is_kept_and_following_ends(image: Path) -> None:
    detach(image, "lines=500", "exit=7")
    text = show_logs("tiny", follow=True)
    assert text.splitlines()[-1].startswith(b"line 499 ")
    until(lambda: commands.ps() == [], "the guest has ended")
    assert commands.ps(include_ended=True)[0].exit_code == 7


@needs_qemu
def test_killed_supervisor_takes_qemu_with_it_and_is_noticed(image: Path) -> None:
    detach(image, "forever")
    (record,) = commands.ps()
    os.kill(record.pid, signal.SIGKILL)
    until(lambda: qemus_of(image) == [], "no QEMU")
    until(lambda: commands.ps() == [], "no record that says it runs")
    assert commands.ps(include_ended=True)[0].exit_code is None
    detach(image, "forever")
    assert [record.name for record in commands.ps()] == ["tiny"]


@needs_qemu
def test_qemu_that_fails_is_told_at_once(image: Path) -> None:
    done = tiny.run(image, "forever", detach=True, qemu_args=["-device", "no-such-device"])
    assert done.returncode == 1
    assert b"mirage-py: error: QEMU: " in done.stderr
    assert b"no-such-device" in done.stderr
    assert commands.ps(include_ended=True) == []


@needs_qemu
def test_detached_guest_finds_another_port_when_one_is_lost(tmp_path: Path) -> None:
    image = tiny.build(tmp_path / "tiny.hvt", **tiny.NETWORK_NOTE)
    command = [tiny.run_command(image, "forever", detach=True, name=f"guest{number}") for number in range(3)]
    processes = [subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) for words in command]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert len({tuple(record.forwards) for record in commands.ps()}) == 3
    for record in commands.ps():
        commands.stop(record.name)


@needs_qemu
def test_detached_guest_survives_the_end_of_its_terminal(image: Path) -> None:
    subprocess.run(tiny.run_command(image, "forever", detach=True), start_new_session=True, timeout=60, check=True)
    (record,) = commands.ps()
    assert os.getsid(record.pid) == record.pid
    assert os.readlink(f"/proc/{record.pid}/fd/0") == os.devnull


def record(name: str = "x", **fields: object) -> state.Record:
    values: dict[str, object] = {
        "name": name,
        "image": "/x",
        "pid": os.getpid(),
        "pid_start": state.start_time(os.getpid()),
        "started": time.time(),
    }
    return state.Record(**{**values, **fields})  # type: ignore[arg-type]


def test_process_of_the_same_number_is_not_ours() -> None:
    assert record().is_running
    assert not record(pid_start="0:0").is_running


def test_records_of_old_are_forgotten() -> None:
    state.reserve(None, "x", record)
    state.save(record("x", ended=time.time() - state.KEEP_ENDED_S - 1))
    state.save(record("y", ended=time.time()))
    (state.state_dir() / "x.log").write_text("old")
    assert [found.name for found in state.records()] == ["y"]
    assert not (state.state_dir() / "x.log").exists()


def test_damaged_record_is_passed_over() -> None:
    state.reserve(None, "x", record)
    (state.state_dir() / "damaged.json").write_text("{")
    (state.state_dir() / "newer.json").write_text(json.dumps({"format": 2}))
    assert [found.name for found in state.records()] == ["x"]


@pytest.mark.parametrize(
    "fields",
    [
        {"pid": "1"},
        {"pid": -1},
        {"pid": True},
        {"started": None},
        {"started": 1e300},
        {"ended": "yesterday"},
        {"forwards": "x"},
        {"forwards": [1]},
        {"exit_code": "0"},
        {"name": "../other"},
        {"image": 7},
        {"pid_start": 1.5},
    ],
)
def test_record_with_something_of_another_type_is_passed_over(fields: dict[str, object]) -> None:
    state.reserve(None, "x", record)
    path = state.state_dir() / "y.json"
    path.write_text(json.dumps({**json.loads((state.state_dir() / "x.json").read_text()), "name": "y", **fields}))
    assert [found.name for found in commands.ps(include_ended=True)] == ["x"]
    with pytest.raises(UserError, match="no guest y"):
        commands.stop("y")


def test_guest_whose_end_nobody_saw_was_killed() -> None:
    state.reserve(None, "x", lambda name: record(name, pid_start="0:0"))
    (found,) = commands.ps(include_ended=True)
    assert found.state == "was killed"
    assert record("y", ended=time.time(), exit_code=3).state == "ended with 3"
    assert record("z").state == "running"


def test_records_for_programs() -> None:
    state.reserve(None, "x", record)
    (found,) = commands.ps()
    said = found.summary()
    assert json.loads(json.dumps(said)) == said
    assert (said["name"], said["running"], said["state"], said["exit_code"]) == ("x", True, "running", None)
    assert said["log"] == str(state.state_dir() / "x.log")


def test_looking_needs_no_right_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    state.reserve(None, "x", lambda name: record(name, pid_start="0:0"))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(state, "save", refuse)
    assert [found.state for found in commands.ps(include_ended=True)] == ["was killed"]


def test_unknown_guest_names_those_that_run() -> None:
    with pytest.raises(UserError, match="no guest nobody"):
        commands.logs("nobody")
    state.reserve(None, "x", record)
    with pytest.raises(UserError) as refusal:
        commands.stop("nobody")
    assert refusal.value.remedy == "running: x"


def test_state_directory_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(state.STATE_ENV, str(tmp_path / "file" / "state"))
    with pytest.raises(UserError) as refusal:
        state.reserve(None, "x", record)
    assert state.STATE_ENV in refusal.value.remedy


def test_log_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    log = RotatingLog(path, limit_bytes=1000)
    for number in range(100):
        log.write(b"%099d\n" % number)
    sizes = path.stat().st_size, old_log(path).stat().st_size
    assert sizes == (1000, 1000)
    text = old_log(path).read_bytes() + path.read_bytes()
    assert [int(line) for line in text.split()] == list(range(80, 100))
