# SPDX-License-Identifier: MIT
"""What is known of detached guests: one JSON file and one console log for each, in the user's state directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from mirage_py.run.console import old_log
from mirage_py.support import paths
from mirage_py.support.errors import UserError

STATE_ENV = "MIRAGE_PY_STATE"
LOCK_TIMEOUT_S = 10
KEEP_ENDED_S = 7 * 24 * 3600
_TIME_MAX = 1 << 40  # seconds since 1970
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def state_dir() -> Path:
    """Where the records are; not created here. MIRAGE_PY_STATE overrides the default. Raises UserError."""
    return paths.from_environment(STATE_ENV) or Path(platformdirs.user_state_dir("mirage-py"))


def start_time(pid: int) -> str | None:
    """Names process `pid` for ever, with its number reused and over reboots; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        return None
    # The command may contain anything, blanks and parentheses too; it ends at the last parenthesis (proc(5)).
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return f"{boot}:{fields[19]}"


@dataclass
class Record:
    """A detached guest.

    pid, pid_start: its supervisor. started, ended: seconds since 1970. exit_code: None while it runs, and for ever when
    its supervisor was killed.
    """

    name: str
    image: str
    pid: int
    pid_start: str | None
    started: float
    forwards: list[str] = field(default_factory=list)
    tap: str | None = None
    exit_code: int | None = None
    ended: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether its supervisor is alive, and is still the same process."""
        return self.ended is None and self.pid_start is not None and start_time(self.pid) == self.pid_start

    @property
    def state(self) -> str:
        """What `ps` says of it: "running", "ended with CODE", or "was killed" where nobody was left to see its end."""
        if self.is_running:
            return "running"
        return "was killed" if self.exit_code is None else f"ended with {self.exit_code}"

    def summary(self) -> dict[str, Any]:
        """What `ps --json` says of it: the record, for programs."""
        known = asdict(self)
        del known["pid_start"]
        return {**known, "running": self.is_running, "state": self.state, "log": str(self.log)}

    @property
    def log(self) -> Path:
        """Its console log."""
        return state_dir() / f"{self.name}.log"


def _path(name: str) -> Path:
    return state_dir() / f"{name}.json"


def save(record: Record) -> None:
    """Write the record; a reader sees the old one or the new one."""
    path = _path(record.name)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(asdict(record), indent=1) + "\n")
    part.replace(path)


def _load(path: Path) -> Record | None:
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None  # gone meanwhile, or not ours
    return record if record.name == path.stem and _is_sound(record) else None


def _is_sound(record: Record) -> bool:
    """Whether everything in it is of its type: it may have been cut, or be somebody else's file."""
    return (
        type(record.pid) is int
        and record.pid > 0
        and isinstance(record.image, str)
        and isinstance(record.forwards, list)
        and all(isinstance(forward, str) for forward in record.forwards)
        and all(isinstance(value, str | None) for value in (record.pid_start, record.tap))
        and isinstance(record.exit_code, int | None)
        and all(
            isinstance(value, int | float) and 0 <= value < _TIME_MAX for value in (record.started, record.ended or 0)
        )
    )


def forget(record: Record) -> None:
    """Remove the record and its log."""
    for path in (_path(record.name), record.log, old_log(record.log)):
        path.unlink(missing_ok=True)


def records() -> list[Record]:
    """All records, oldest first. What ended a week ago is removed; who vanished without a word is marked as ended."""
    found = []
    directory = state_dir()
    if os.path.lexists(directory) and not directory.is_dir():
        raise UserError(f"{directory} is not a directory", f"name another one in {STATE_ENV}")
    for path in directory.glob("*.json"):
        record = _load(path)
        if record is None:
            continue
        if record.ended is None and not record.is_running:
            # Read again: it may have written its end between the first reading and the look at the process.
            record = _load(path) or record
            if record.ended is None:
                record.ended = time.time()
                # To look is no reason to fail where nothing can be written.
                with suppress(OSError):
                    save(record)
        if record.ended is not None and time.time() - record.ended > KEEP_ENDED_S:
            with suppress(OSError):
                forget(record)
            continue
        found.append(record)
    return sorted(found, key=lambda record: record.started)


def find(name: str) -> Record:
    """The record of the guest `name`. Raises UserError when there is none."""
    known = records()
    for record in known:
        if record.name == name:
            return record
    running = ", ".join(record.name for record in known if record.is_running)
    raise UserError(f"no guest {name}", f"running: {running}" if running else "`mirage-py run --detach` starts one")


def reserve(wanted: str | None, default: str, make: Callable[[str], Record]) -> Record:
    """Find a name that no running guest has, and save what `make` says under it.

    Raises UserError when `wanted` is taken, or the state directory cannot be written.
    """
    directory = state_dir()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(directory / ".lock", timeout=LOCK_TIMEOUT_S):
            running = {record.name for record in records() if record.is_running}
            name = wanted or default
            if wanted in running:
                raise UserError(f"a guest {wanted} is running already", f"`mirage-py stop {wanted}`, or another --name")
            number = 2
            while name in running:
                name = f"{default}-{number}"
                number += 1
            record = make(name)
            forget(record)  # an ended guest of that name, and its log
            save(record)
            return record
    except filelock.Timeout:
        raise UserError(f"{directory} stays locked by another mirage-py", "try again") from None
    except OSError as error:
        raise UserError(f"{directory}: {error.strerror}", f"name another directory in {STATE_ENV}") from None
