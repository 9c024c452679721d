# SPDX-License-Identifier: MIT
"""The doors of this package: run, ps, logs, stop. The command line parses, and calls these."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mirage_py.errors import UserError
from mirage_py.run import card, native, network, options, qemu, state, supervisor, tap, vfio_user
from mirage_py.run import image as images
from mirage_py.run import machine as machines
from mirage_py.run.console import BLOCK_BYTES, Console, is_foreground_terminal, keys_at_once, old_log, write_all
from mirage_py.run.image import Image
from mirage_py.run.options import RunOptions
from mirage_py.run.session import SIGNAL_EXIT_BASE, Companion, Session

STOP_TIMEOUT_S = 10.0
FOLLOW_INTERVAL_S = 0.1
# Several guests that start at the same moment choose the same host ports.
PORT_TRIES = 4


def run(run_options: RunOptions) -> int:
    """Start what was built, and stay with it until it ends; with `detach`, until it runs.

    Returns the exit code: the guest's own; 128 + the signal's number when a signal ended it; 0 when detached.
    Raises UserError for everything that keeps it from starting.
    """
    options.check(run_options)
    image = images.load(run_options)
    if image.target != "hvt":
        return native.run(image, run_options)
    if run_options.dry_run:
        machine = plan(image, run_options)
        sockets = vfio_user.Sockets(vfio_user.DRY_RUN_FOLDER) if image.needs_model else None
        if sockets is not None and machine.network is not None:
            print(shlex.join(vfio_user.model_command(sockets, machine.network, machine.pcap)))
        print(shlex.join(qemu.command(machine, sockets=sockets)))
        return 0
    for _ in range(PORT_TRIES - 1):
        try:
            return _run_machine(image, run_options)
        except qemu.PortTakenError as error:
            # A published port that is gone is found out, and said, by the next plan.
            _say(f"mirage-py: {error.cause}; choosing again")
    return _run_machine(image, run_options)


def _run_machine(image: Image, run_options: RunOptions) -> int:
    machine = plan(image, run_options)
    if image.needs_model:
        machine = replace(machine, qemu=machines.qemu_for_model(run_options.qemu))
    machines.probe_qemu(machine.qemu)
    _announce(machine)
    if run_options.detach:
        return _detach(machine, run_options)
    with ExitStack() as stack:
        session = _start(machine, stack)
        keyboard = 0 if _can_read(0) else None
        console = Console(session.console, keyboard, write_all(1), session.stop)
        with keys_at_once(0):
            end = asyncio.run(session.run(console))
    if session.stop_signal is not None:
        return SIGNAL_EXIT_BASE + session.stop_signal
    return _exit_code(end)


def plan(image: Image, run_options: RunOptions) -> qemu.Machine:
    """Everything that is to be known before QEMU starts.

    Raises UserError for contradictions and for ports that cannot be had.
    """
    if not image.needs_network:
        for name, value in (("publish", run_options.publish), ("tap", run_options.tap), ("pcap", run_options.pcap)):
            if value:
                raise UserError(f"--{name}: {image.name} has no network interface", f"leave --{name} out")
    if len(image.cards) > 1:
        raise UserError(
            f"{image.name} drives {len(image.cards)} PCI devices ({', '.join(image.cards)}), and `run` attaches one",
            "start QEMU yourself; `mirage-py run --dry-run` of an image with one shows how",
        )
    net = network.plan(image, run_options) if image.needs_network else None
    if run_options.pcap is not None and not run_options.pcap.absolute().parent.is_dir():
        raise UserError(f"--pcap {run_options.pcap}: there is no such directory", "make it first")
    # A dry run may be for another computer.
    binary = run_options.qemu or machines.DEFAULT_QEMU
    accelerator = machines.choose_accelerator(run_options.accel)
    return qemu.Machine(
        qemu=binary,
        accelerator=accelerator,
        cpu=machines.cpu_model(accelerator),
        kind=machines.choose_machine(run_options.machine, needs_pci=image.needs_network),
        memory_mb=run_options.memory_mb or image.memory_mb,
        image=image,
        network=net,
        boot_args=(net.guest_args if net else []) + run_options.guest_args,
        pcap=run_options.pcap,
        gdb=run_options.gdb,
        extra=run_options.qemu_args,
    )


def _can_read(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return not os.isatty(fd) or is_foreground_terminal(fd)


def _say(line: str) -> None:
    # Standard output is the guest's.
    print(line, file=sys.stderr, flush=True)


def _announce(machine: qemu.Machine) -> None:
    net = machine.network
    if net is not None and net.tap is not None:
        _say(f"{net.tap}: guest {net.guest.ip}, host {net.host}")
    for forward in net.forwards if net is not None else ():
        _say(str(forward))
    if machine.gdb is not None:
        _say(f"waiting for gdb: gdb -ex 'target remote 127.0.0.1:{machine.gdb}' {_symbols(machine.image.path)}")


def _symbols(path: Path) -> str:
    for candidate in (path.with_name(path.name + ".debug"), path.with_suffix(".debug")):
        if candidate.exists():
            return shlex.quote(str(candidate))
    return shlex.quote(str(path))


def _start(machine: qemu.Machine, stack: ExitStack) -> Session:
    """Start QEMU; what `stack` holds afterwards has to stay until it ended."""
    tap_fd: int | None = None
    net = machine.network
    model: card.Card | None = None
    if net is not None and machine.image.needs_model:
        is_new = net.tap is not None and not tap.exists(net.tap)
        model = card.Card(net, machine.pcap)
        stack.callback(model.close)
        if net.tap is not None and is_new:
            tap.bring_up(net.tap, ipaddress.IPv4Interface((net.host, net.guest.network.prefixlen)))
    elif net is not None and net.tap is not None:
        is_new = not tap.exists(net.tap)
        # QEMU inherits the descriptor: a device that this makes is gone with it, whatever happens to us.
        tap_fd = tap.open_tap(net.tap)
        stack.callback(os.close, tap_fd)
        if is_new:
            tap.bring_up(net.tap, ipaddress.IPv4Interface((net.host, net.guest.network.prefixlen)))
        elif not tap.is_up(net.tap):
            _say(f"mirage-py: warning: {net.tap} is down; `sudo ip link set {net.tap} up`")

    def command(console_fd: int, monitor_fd: int) -> list[str]:
        return qemu.command(
            machine,
            console=f"socket,id=console,fd={console_fd}",
            monitor=f"socket,id=monitor,fd={monitor_fd}",
            tap_fd=tap_fd,
            sockets=None if model is None else model.sockets,
        )

    session = Session(
        command,
        inherited=() if tap_fd is None else (tap_fd,),
        continues=machine.gdb is None,
        companion=None if model is None else Companion("the emulated network card", model.process.pid, model.why),
    )
    stack.callback(session.kill)
    return session


def _exit_code(end: qemu.End) -> int:
    code, remark = qemu.exit_code(end)
    if remark:
        _say(f"mirage-py: {remark}")
    return code


def _detach(machine: qemu.Machine, run_options: RunOptions) -> int:
    net = machine.network

    def make(name: str) -> state.Record:
        return state.Record(
            name=name,
            image=str(machine.image.path.absolute()),
            pid=os.getpid(),
            pid_start=state.start_time(os.getpid()),
            started=time.time(),
            forwards=[str(forward) for forward in net.forwards] if net is not None else [],
            tap=net.tap if net is not None else None,
        )

    record = state.reserve(run_options.name, machine.image.name, make)
    # The supervisor keeps the stack's contents for its whole life, and the kernel takes them back at its end.
    supervisor.start(record, lambda: _start(machine, ExitStack()), lambda end: qemu.exit_code(end)[0])
    _say(f"{record.name}: running; `mirage-py logs {record.name}`, `mirage-py stop {record.name}`")
    return 0


def ps(*, include_ended: bool = False) -> list[state.Record]:
    """The detached guests that run, oldest first; with `include_ended` also those of the last days."""
    return [record for record in state.records() if include_ended or record.is_running]


def logs(name: str, follow: bool = False) -> int:
    """Copy the console log of guest `name` to standard output; with `follow` until the guest ends.

    Returns 0. Raises UserError when there is no such guest.
    """
    record = state.find(name)
    write = write_all(1)
    previous = old_log(record.log)
    with ExitStack() as stack:
        if previous.exists():
            write(previous.read_bytes())
        try:
            file = stack.enter_context(record.log.open("rb"))
        except FileNotFoundError:
            return 0
        while True:
            # Looked at before reading: so what came before the end is not missed.
            is_running = record.is_running
            while data := file.read(BLOCK_BYTES):
                write(data)
            if _was_rotated(file.fileno(), record.log):
                # Whatever came between the last reading and the rotation, then the new file.
                while data := file.read(BLOCK_BYTES):
                    write(data)
                file = stack.enter_context(record.log.open("rb"))
                continue
            if not follow or not is_running:
                return 0
            time.sleep(FOLLOW_INTERVAL_S)


def _was_rotated(fd: int, path: Path) -> bool:
    try:
        return os.fstat(fd).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return False  # in the middle of being rotated, or forgotten


def stop(name: str, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """End the detached guest `name`; by force when it takes longer than `timeout_s`.

    Returns 0, also when it had ended before. Raises UserError when there is no such guest.
    """
    record = state.find(name)
    supervisor.stop(record, timeout_s)
    return 0
