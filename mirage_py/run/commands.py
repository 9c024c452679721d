# SPDX-License-Identifier: MIT
"""The doors of this package: run, ps, logs, stop. The command line parses, and calls these."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mirage_py.run import card, cards, link, native, network, options, qemu, state, supervisor, tap, vfio_user
from mirage_py.run import image as images
from mirage_py.run import machine as machines
from mirage_py.run.console import BLOCK_BYTES, Console, is_foreground_terminal, keys_at_once, old_log, write_all
from mirage_py.run.image import Image
from mirage_py.run.options import RunOptions
from mirage_py.run.session import SIGNAL_EXIT_BASE, Companion, Session
from mirage_py.support import process
from mirage_py.support.errors import UserError

STOP_TIMEOUT_S = 10.0
FOLLOW_INTERVAL_S = 0.1
# Far from those that QEMU gives to devices that ask for none, and from the chipsets' own.
_RNG_SLOTS = (0x1D, 0x1C, 0x1B, 0x1A)
# Several guests that start at the same moment choose the same host ports.
PORT_TRIES = 4


def run(run_options: RunOptions) -> int:
    """Start what was built, and stay with it until it ends; with `detach`, until it runs.

    Returns the exit code: the guest's own; 128 + the signal's number when a signal ended it; 0 when detached.
    Raises UserError for everything that keeps it from starting.
    """
    with process.interruptible("the start", "nothing of it is left; start it again"):
        return _run(run_options)


def _run(run_options: RunOptions) -> int:
    options.check(run_options)
    image = images.load(run_options)
    if image.target != "hvt":
        return native.run(image, run_options)
    if run_options.dry_run:
        machine = plan(image, run_options, network.plan_links(image, run_options, link.presumed))
        sockets = vfio_user.dry_run_sockets(machine.networks)
        for net in machine.networks:
            if net.card.name in sockets:
                print(shlex.join(vfio_user.model_command(sockets[net.card.name], net)))
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
    with ExitStack() as stack:

        def claim(path: Path) -> link.Link:
            end = link.claim(path)
            # A detached guest's supervisor has it too, and the lock is held as long as anybody has it.
            stack.callback(os.close, end.lock)
            return end

        machine = plan(image, run_options, network.plan_links(image, run_options, claim))
        emulated = [net.card for net in machine.networks if net.card.driver == cards.IXGBE]
        if emulated:
            machine = replace(machine, qemu=machines.qemu_for_model(run_options.qemu, str(emulated[0])))
        machines.probe_qemu(machine.qemu)
        if run_options.detach:
            return _detach(machine, run_options)
        session = _start(machine, stack)
        # What could be refused has been; the guest's own words come behind this, though it runs already.
        _announce(machine)
        keyboard = 0 if _can_read(0) else None
        console = Console(session.console, keyboard, write_all(1), session.stop)
        with keys_at_once(0):
            end = asyncio.run(session.run(console))
    if session.stop_signal is not None:
        return SIGNAL_EXIT_BASE + session.stop_signal
    code = _exit_code(end)
    # KeyboardInterrupt's 130 is none that the guest can give us.
    return SIGNAL_EXIT_BASE + signal.SIGINT if code == qemu.EXIT_LARGEST and console.has_typed_break else code


def plan(image: Image, run_options: RunOptions, links: Mapping[str, link.Link]) -> qemu.Machine:
    """Everything that is to be known before QEMU starts. links: card's name -> its end of a wire.

    Raises UserError for contradictions and for ports that cannot be had.
    """
    if not image.needs_network:
        for name in ("publish", "tap", "link", "pcap"):
            if getattr(run_options, name):
                raise UserError(f"--{name}: {image.name} has no network interface", f"leave --{name} out")
    memory_mb = run_options.memory_mb or image.memory_mb
    if memory_mb < image.minimum_memory_mb:
        given = f"--memory {memory_mb}" if run_options.memory_mb else f"memory_mb={memory_mb} in its config.py"
        raise UserError(
            f"{given}: {image.name} does not start with so little memory",
            f"give it {image.minimum_memory_mb} MiB or more",
        )
    if image.has_repl and run_options.machine == "microvm":
        raise UserError(
            "--machine microvm: it has one serial line, and the prompt wants a second",
            "choose q35 or pc, or configure anew",
        )
    kind = machines.choose_machine(run_options.machine, needs_pci=bool(image.cards) or image.has_repl)
    nets = network.plan(image, run_options, links)
    absent = [cards.named(image.cards, name, f"--without {name}") for name in run_options.without]
    if absent and not any("device" in word for word in run_options.qemu_args):
        raise UserError(
            f"{absent[0]} is missing: --without leaves it out, and no --qemu-arg attaches one",
            "add --qemu-arg=-device --qemu-arg=..., or leave --without out",
        )
    if run_options.gdb is not None and not network.is_free("127.0.0.1", run_options.gdb, "tcp"):
        raise UserError(
            f"--gdb: port 127.0.0.1:{run_options.gdb}/tcp is taken", "choose another one, for example --gdb-port 1235"
        )
    slots = cards.place(image.cards, kind.partition(",")[0], [card.name for card in absent])
    # A dry run may be for another computer.
    binary = run_options.qemu or machines.DEFAULT_QEMU
    accelerator = machines.choose_accelerator(run_options.accel)
    return qemu.Machine(
        qemu=binary,
        accelerator=accelerator,
        cpu=machines.cpu_model(accelerator),
        kind=kind,
        memory_mb=memory_mb,
        image=image,
        networks=nets,
        slots=slots,
        boot_args=[word for net in nets for word in net.guest_args] + run_options.guest_args,
        gdb=run_options.gdb,
        prompt=state.state_dir() / f"{image.name}.{os.getpid()}.prompt" if image.has_repl else None,
        rng_slot=_rng_slot(image, run_options, slots),
        extra=run_options.qemu_args,
    )


def _rng_slot(image: Image, run_options: RunOptions, slots: Mapping[str, int]) -> int | None:
    """Where a source of random numbers goes, when the user chose a processor that may have none."""
    if not image.cards or not {"-cpu", "--cpu"}.intersection(run_options.qemu_args):
        return None
    return next((slot for slot in _RNG_SLOTS if slot not in slots.values()), None)


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
    for net in machine.networks:
        # With one card there is nothing to tell apart.
        which = f"{net.card.name} on " if len(machine.networks) > 1 else ""
        if net.tap is not None:
            ends = f"guest {net.guest.ip}, host {net.host}" if net.card.keys else "no stack of the guest's"
            _say(f"{which}{net.tap}: {ends}")
        elif net.link is not None:
            ends = f"guest {net.guest.ip}, the other end {net.host}" if net.card.keys else "no stack of the guest's"
            _say(f"{which}{net.link.path}, end {net.link.end}: {ends}")
        for forward in net.forwards:
            _say(str(forward))
    for forward in (forward for net in machine.networks for forward in net.forwards):
        if forward.warning is not None:
            _say(f"mirage-py: warning: {forward.warning}")
    if machine.prompt is not None:
        _say(f"prompt: socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:{shlex.quote(str(machine.prompt))} (Ctrl-] leaves)")
    if machine.rng_slot is not None:
        _say("a virtio-rng is attached, for a -cpu without RDRAND")
    if machine.gdb is not None:
        _say(f"waiting for gdb: gdb -ex 'target remote 127.0.0.1:{machine.gdb}' {_symbols(machine.image.path)}")


def _symbols(path: Path) -> str:
    for candidate in (path.with_name(path.name + ".debug"), path.with_suffix(".debug")):
        if candidate.exists():
            return shlex.quote(str(candidate))
    return shlex.quote(str(path))


def _start(machine: qemu.Machine, stack: ExitStack) -> Session:
    """Start QEMU; what `stack` holds afterwards has to stay until it ended."""
    tap_fds: dict[str, int] = {}
    models: dict[str, card.Model] = {}
    taps = [net for net in machine.networks if net.tap is not None]
    new = [net for net in taps if net.tap is not None and not tap.exists(net.tap)]
    for net in machine.networks:
        if net.link is not None:
            # QEMU leaves its socket behind. The end is ours until the lock is closed, after this.
            stack.callback(net.link.local.unlink, missing_ok=True)
        if net.card.driver == cards.IXGBE:
            with process.signals_held():
                models[net.card.name] = card.Model(net)
                stack.callback(models[net.card.name].close)
        elif net.tap is not None:
            # QEMU inherits the descriptor: a device that this makes is gone with it, whatever happens to us.
            tap_fds[net.card.name] = tap.open_tap(net.tap)
            stack.callback(os.close, tap_fds[net.card.name])
    for model in models.values():
        model.wait_ready()
    for net in taps:
        assert net.tap is not None
        if net in new:
            # Where the guest has no stack, the addresses are the user's matter.
            host = ipaddress.IPv4Interface((net.host, net.on_link.prefixlen)) if net.card.keys else None
            tap.bring_up(net.tap, host)
        elif not tap.is_up(net.tap):
            _say(f"mirage-py: warning: {net.tap} is down; `sudo ip link set {net.tap} up`")

    if machine.prompt is not None:
        machine.prompt.parent.mkdir(parents=True, exist_ok=True)
        stack.callback(machine.prompt.unlink, missing_ok=True)

    def command(console_fd: int, monitor_fd: int) -> list[str]:
        return qemu.command(
            machine,
            console=f"socket,id=console,fd={console_fd}",
            monitor=f"socket,id=monitor,fd={monitor_fd}",
            tap_fds=tap_fds,
            sockets={name: model.sockets for name, model in models.items()},
        )

    with process.signals_held():
        session = Session(
            command,
            inherited=tuple(tap_fds.values()),
            continues=machine.gdb is None,
            companions=[
                Companion(model.what, model.process.pid, model.process.poll, model.why) for model in models.values()
            ],
            verify=_verification(machine),
            has_power_button=machine.image.has_power_button,
        )
        stack.callback(session.kill)
    return session


def _verification(machine: qemu.Machine) -> Callable[[list[cards.Function]], None] | None:
    """What the machine's PCI functions have to fulfil before the guest starts, where they are not ours alone."""
    image = machine.image
    if not image.cards or not any("device" in word for word in machine.extra):
        return None
    owners = {qemu.identifier(net): net.card.name for net in machine.networks}
    absent = [one.name for one in image.cards if one.name not in owners.values()]

    def verify(functions: list[cards.Function]) -> None:
        cards.check(image.cards, absent, [replace(one, owner=owners.get(one.owner, "")) for one in functions])

    return verify


def _exit_code(end: qemu.End) -> int:
    code, remark = qemu.exit_code(end)
    if remark:
        _say(f"mirage-py: {remark}")
    return code


def _detach(machine: qemu.Machine, run_options: RunOptions) -> int:
    taps = [net.tap for net in machine.networks if net.tap is not None]

    def make(name: str) -> state.Record:
        return state.Record(
            name=name,
            image=str(machine.image.path.absolute()),
            pid=os.getpid(),
            pid_start=state.start_time(os.getpid()),
            started=time.time(),
            forwards=[str(forward) for net in machine.networks for forward in net.forwards],
            tap=", ".join(taps) or None,
        )

    record = state.reserve(run_options.name, machine.image.name, make)

    def start() -> Session:
        with ExitStack() as stack:
            session = _start(machine, stack)
            # The supervisor keeps all of it for its whole life, and the kernel takes it back at its end.
            stack.pop_all()
            return session

    supervisor.start(record, start, lambda end: qemu.exit_code(end)[0])
    _announce(machine)
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
