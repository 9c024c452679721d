# SPDX-License-Identifier: MIT
"""The process that owns a detached guest: its QEMU, its console log, its record."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import time
from collections.abc import Callable

from mirage_py.run import state
from mirage_py.run.console import Console, RotatingLog
from mirage_py.run.qemu import End, PortTakenError
from mirage_py.run.session import KILL_TIMEOUT_S, SIGNAL_EXIT_BASE, Session
from mirage_py.support import process
from mirage_py.support.errors import UserError

START_TIMEOUT_S = 30.0


def start(record: state.Record, make_session: Callable[[], Session], exit_code: Callable[[End], int]) -> None:
    """Fork the supervisor of `record`, and wait until the guest runs.

    make_session: starts the program, in the supervisor. exit_code: what its end means.
    Raises UserError with what went wrong there; the record is gone then.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code = 1
        try:
            os.setsid()
            code = _supervise(record, make_session, exit_code, writer)
        finally:
            os._exit(code)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], START_TIMEOUT_S)
        said = os.read(reader, 1 << 16) if ready else b""
    except BaseException:
        # Ctrl-C: it is in a session of its own, and would go on.
        os.kill(pid, signal.SIGTERM)
        raise
    finally:
        os.close(reader)
    if not ready:
        os.kill(pid, signal.SIGTERM)
        raise UserError(f"the guest did not start in {START_TIMEOUT_S:.0f} s", "start it without --detach to see why")
    if not said:
        raise UserError("the supervisor ended before the guest started")
    cause, remedy, is_port_taken = json.loads(said)
    if cause:
        raise (PortTakenError if is_port_taken else UserError)(cause, remedy)


def _supervise(
    record: state.Record, make_session: Callable[[], Session], exit_code: Callable[[End], int], writer: int
) -> int:
    is_told = False

    def tell(cause: str = "", remedy: str = "", is_port_taken: bool = False) -> None:
        nonlocal is_told
        if not is_told:
            is_told = True
            os.write(writer, json.dumps([cause, remedy, is_port_taken]).encode())
            os.close(writer)

    try:
        record.pid, record.pid_start = os.getpid(), state.start_time(os.getpid())
        state.save(record)
        log = RotatingLog(record.log)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        with process.interruptible("the start"):
            session = make_session()
            try:
                console = Console(session.console, None, log.write, session.stop)
                end = asyncio.run(session.run(console, tell))
            finally:
                session.kill()
        code = exit_code(end) if session.stop_signal is None else SIGNAL_EXIT_BASE + session.stop_signal
        tell()  # it ran, and was quicker than we
    except UserError as error:
        if is_told:
            log.write(f"mirage-py: {error}\n".encode())
        else:
            state.forget(record)
            tell(error.cause, error.remedy, isinstance(error, PortTakenError))
            return error.exit_code
        code = error.exit_code
    except OSError as error:
        state.forget(record)
        tell(f"the guest cannot be supervised ({error})")
        return 1
    record.exit_code, record.ended = code, time.time()
    state.save(record)
    return code


def stop(record: state.Record, timeout_s: float) -> None:
    """End the guest in order, and by force when that takes longer than `timeout_s`. Raises UserError when it stays."""
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor cannot come to mean another process from here on.
        if not record.is_running:
            return
        for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, KILL_TIMEOUT_S)):
            signal.pidfd_send_signal(pidfd, number)
            ended, _, _ = select.select([pidfd], [], [], patience_s)
            if ended:
                return
    except ProcessLookupError:
        return
    except PermissionError:
        raise UserError(f"guest {record.name} belongs to another user", "stop it as that user") from None
    finally:
        os.close(pidfd)
    raise UserError(f"guest {record.name} (process {record.pid}) does not end", f"`kill -9 {record.pid}`")
