# SPDX-License-Identifier: MIT
"""One run of QEMU: it cannot outlive us, is watched, and stopped in order."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mirage_py.run.cards import Function
from mirage_py.run.console import Console
from mirage_py.run.qemu import End
from mirage_py.support.errors import UserError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

QMP_TIMEOUT_S = 10.0
# The guest's event loop gives its application five seconds.
BUTTON_TIMEOUT_S = 6.0
SILENCE_S = 1.0
QUIT_TIMEOUT_S = 3.0
TERMINATE_TIMEOUT_S = 3.0
KILL_TIMEOUT_S = 5.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNAL_EXIT_BASE = 128
COMPLAINTS_LIMIT_BYTES = 64 << 10

_EARLY = (b'{"execute": "qmp_capabilities", "id": "early"}\n', b'{"execute": "cont", "id": "early"}\n')
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def dies_with_us(death_signal: int = signal.SIGKILL) -> Callable[[], None]:
    """What a child calls before exec, so that the kernel ends it when this process ends, however that happens."""
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        # The parent may have ended before the kernel knew.
        if os.getppid() != parent:
            os._exit(SIGNAL_EXIT_BASE + death_signal)

    return prepare


@dataclass(frozen=True)
class Companion:
    """A process that QEMU depends on, and of whose end QEMU notices nothing, or dies.

    status: its exit status, as of Popen.poll(). why: tells what it ended of.
    """

    what: str
    pid: int
    status: Callable[[], int | None]
    why: Callable[[], str]


async def _end_of(pid: int) -> None:
    """Wait until our child `pid` has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(pid)
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def pci_functions(buses: Any) -> list[Function]:
    """The functions in QMP's answer to query-pci; owner: QEMU's name of the device, empty for none.

    Before the firmware has numbered them, buses behind bridges count as later ones.
    """
    found: list[Function] = []

    def walk(devices: Any, bus: int) -> None:
        for one in devices:
            ids, kind = one["id"], one["class_info"]["class"]
            owner = one.get("qdev_id", "")
            found.append(Function(bus, one["slot"], one["function"], ids["vendor"], ids["device"], kind, owner))
            walk(one.get("pci_bridge", {}).get("devices", ()), bus + 1)

    for bus in buses:
        walk(bus["devices"], bus["bus"])
    return found


class Session:
    """A running QEMU.

    Its console is a socket pair, its QMP monitor another. `command` gets the descriptors of the far ends, of the
    console and of the monitor, and answers with the command line. inherited: more descriptors for QEMU.
    continues: the guest starts at once; False leaves that to gdb. has_power_button: the guest ends when it is pressed.
    verify: is shown the machine's PCI functions, with QEMU's names for devices as owners, before the guest starts, and
        raises UserError where it must not.
    """

    def __init__(
        self,
        command: Callable[[int, int], list[str]],
        *,
        inherited: tuple[int, ...] = (),
        continues: bool = True,
        companions: Sequence[Companion] = (),
        verify: Callable[[list[Function]], None] | None = None,
        has_power_button: bool = False,
    ):
        """Start QEMU. Raises UserError when it cannot be executed."""
        self.console, console_far = socket.socketpair()
        self.monitor, monitor_far = socket.socketpair()
        self._stop_signal: int | None = None
        self._stop_asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._complaints = tempfile.TemporaryFile(prefix="mirage-py-")  # noqa: SIM115 (closed with us)
        self._reason: str | None = None
        self._panicked = False
        self._has_run = False
        self._is_locked_up = False
        self._continues = continues
        self._has_power_button = has_power_button
        self._companions = list(companions)
        self._gone: Companion | None = None
        self._verify = verify
        self._refusal: UserError | None = None
        # QEMU waits (-S) and reads these first: so no event is lost however soon the guest ends, and no time either.
        self.monitor.sendall(b"".join(_EARLY[: None if continues and verify is None else 1]))
        line = command(console_far.fileno(), monitor_far.fileno())
        try:
            self.process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=(console_far.fileno(), monitor_far.fileno(), *inherited),
                start_new_session=True,
                preexec_fn=dies_with_us(),  # noqa: PLW1509 (no threads yet)
            )
        except OSError as error:
            raise UserError(f"{line[0]} cannot be started ({error.strerror})") from None
        finally:
            console_far.close()
            monitor_far.close()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask for the end, as if signal `number` had come; a second time: at once. Any thread may call it.

        Where there is a power button it is pressed. A guest that does not mind it is quit after BUTTON_TIMEOUT_S.
        """
        if self._stop_signal is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
        self._stop_signal = self._stop_signal or number
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_asked.set)
        else:
            self._stop_asked.set()

    async def run(self, console: Console, on_ready: Callable[[], None] = lambda: None) -> End:
        """Watch over QEMU until it has ended by itself or because it was asked to.

        on_ready: called once when it runs: a QEMU that complains about its arguments never does.
        """
        self._on_ready = on_ready
        loop = self._loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop, number)
        console.start()
        try:
            ended = asyncio.create_task(self._wait())
            watched = asyncio.create_task(self._watch_monitor())
            asked = asyncio.create_task(self._stop_asked.wait())
            alone = asyncio.create_task(self._wait_companion())
            await asyncio.wait({ended, asked, alone}, return_when=asyncio.FIRST_COMPLETED)
            if alone.done() and not asked.done():
                # It goes as soon as QEMU closes its connection, which is before QEMU itself has ended.
                await asyncio.wait({ended}, timeout=QUIT_TIMEOUT_S)
                first = alone.result()
                self._gone = None if first is None or (ended.done() and first.status() == 0) else first
            asked.cancel()
            alone.cancel()
            if not ended.done():
                await self._end(ended)
            # All that QEMU had to say is in the socket already, and then comes its end.
            with suppress(TimeoutError):
                await asyncio.wait_for(watched, QMP_TIMEOUT_S)
            console.drain()
        finally:
            self.kill()
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
        if self._refusal is not None:
            raise self._refusal
        if self._gone is not None:
            raise UserError(f"{self._gone.what} ended: {self._gone.why()}", "the guest was ended too; run again")
        assert self.process.returncode is not None
        status = 0 if self._is_locked_up else self.process.returncode
        return End(status, self._reason, self._panicked, self._read_complaints(), self._has_run)

    @property
    def stop_signal(self) -> int | None:
        """The signal that asked for the end, None when QEMU ended by itself."""
        return self._stop_signal

    def kill(self) -> None:
        """End QEMU now, if it has not ended."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(KILL_TIMEOUT_S)

    async def _wait(self) -> None:
        await _end_of(self.process.pid)
        self.process.wait(KILL_TIMEOUT_S)

    async def _wait_companion(self) -> Companion | None:
        """The first that ends; without any, for ever."""
        if not self._companions:
            await asyncio.Event().wait()
        ends = [asyncio.create_task(_end_of(companion.pid)) for companion in self._companions]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        return next(one for one, end in zip(self._companions, ends, strict=True) if end.done())

    async def _watch_monitor(self) -> None:
        # Loaded while the guest boots already.
        from qemu.qmp import QMPClient, QMPError, Runstate

        client = QMPClient("mirage-py")
        client.logger.setLevel(logging.CRITICAL)
        client.negotiate = False  # _EARLY did
        try:
            await asyncio.wait_for(client.connect(self.monitor), QMP_TIMEOUT_S)
        except (QMPError, OSError, EOFError, TimeoutError):
            return  # QEMU ended before it listened; its exit status and standard error say why
        except AssertionError:
            # qemu.qmp asserts that a new connection still runs. A guest can be quicker; what QEMU said is in `events`.
            pass
        tasks = [asyncio.create_task(self._listen(client)), asyncio.create_task(self._quit_when_asked(client))]
        try:
            while client.runstate == Runstate.RUNNING:
                await client.runstate_changed()
        finally:
            for task in tasks:
                task.cancel()
            with suppress(QMPError, OSError, EOFError):
                await client.disconnect()
        for event in client.events.clear():
            self._note(event)

    async def _listen(self, client: QMPClient) -> None:
        from qemu.qmp import QMPError

        if self._verify is not None:
            with suppress(QMPError, OSError, EOFError):
                try:
                    self._verify(pci_functions(await client.execute("query-pci")))
                    if self._continues:
                        await client.execute("cont")
                except UserError as error:
                    self._refusal = error
                    self._stop_asked.set()
        if not self._continues:
            # Answered by the main loop, so QEMU is complete; it does not run before gdb says so.
            with suppress(QMPError, OSError, EOFError):
                await client.execute("query-status")
                self._on_ready()
        async for event in client.events:
            self._note(event)

    def _note(self, event: Mapping[str, object]) -> None:
        name, data = event["event"], event.get("data")
        if name == "RESUME":
            self._has_run = True
            self._on_ready()
        elif name == "GUEST_PANICKED":
            self._panicked = True
        elif name == "SHUTDOWN" and self._reason is None:
            self._reason = str(data.get("reason")) if isinstance(data, dict) else ""
            # QEMU 7.2 can lock up in its own clean-up, when a command arrives just then.
            asyncio.get_running_loop().call_later(QUIT_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        if self.process.poll() is None:
            self._is_locked_up = True
            self.process.kill()

    async def _quit_when_asked(self, client: QMPClient) -> None:
        from qemu.qmp import QMPError

        await self._stop_asked.wait()
        with suppress(QMPError, OSError, EOFError):
            if self._can_press_button():
                await client.execute("system_powerdown")
                await asyncio.sleep(SILENCE_S)
                if self._stop_signal == signal.SIGINT:
                    print("mirage-py: the guest was asked to end; Ctrl-C again ends it at once", file=sys.stderr)
                await asyncio.sleep(BUTTON_TIMEOUT_S - SILENCE_S)
            await client.execute("quit")

    def _can_press_button(self) -> bool:
        """Whether the guest waits for it: it runs, and nobody is in a hurry for another reason."""
        return self._has_power_button and self._has_run and self._refusal is None and self._gone is None

    async def _end(self, ended: asyncio.Task[None]) -> None:
        """Wait for the orderly end, then help: SIGTERM, SIGKILL."""
        patience_s = QUIT_TIMEOUT_S + (BUTTON_TIMEOUT_S if self._can_press_button() else 0)
        await asyncio.wait({ended}, timeout=patience_s)
        for number, timeout_s in ((signal.SIGTERM, TERMINATE_TIMEOUT_S), (signal.SIGKILL, KILL_TIMEOUT_S)):
            if ended.done():
                return
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            await asyncio.wait({ended}, timeout=timeout_s)

    def _read_complaints(self) -> str:
        self._complaints.seek(0)
        return self._complaints.read(COMPLAINTS_LIMIT_BYTES).decode(errors="replace")
