# SPDX-License-Identifier: MIT
"""`mirage-py run` for unix targets: the binary itself, with a TAP device made for it where it needs one."""

from __future__ import annotations

import ipaddress
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

from mirage_py.run import cards, network, tap
from mirage_py.run.image import Image
from mirage_py.run.options import RunOptions
from mirage_py.run.session import SIGNAL_EXIT_BASE, dies_with_us
from mirage_py.support.errors import UserError
from mirage_py.support.process import STOP_SIGNALS

DEFAULT_TAP = "tap0"
DEFAULT_HOST = "10.0.0.1/24"
STOP_TIMEOUT_S = 10.0


def _refuse_qemu_options(image: Image, options: RunOptions) -> None:
    asked = {
        "memory": options.memory_mb,
        "machine": options.machine,
        "accel": options.accel,
        "publish": options.publish,
        "link": options.link,
        "without": options.without,
        "pcap": options.pcap,
        "gdb": options.gdb,
        "detach": options.detach,
        "qemu": options.qemu,
    }
    for name, value in asked.items():
        if value:
            raise UserError(
                f"--{name}: {image.name} is a program for this system, not for QEMU",
                "leave it out, or configure with -t hvt",
            )
    if len(options.tap) > 1 or any(cards.is_named(text) for text in options.tap):
        raise UserError(
            "--tap: a program for this system takes one, without the name of a card",
            "give further interfaces as boot arguments, as in `-- --lan-interface tap1`",
        )
    if options.tap and image.net != "direct":
        raise UserError(f"--tap: {image.name} uses the system's sockets", "leave it out, or use --net direct")


def run(image: Image, options: RunOptions) -> int:
    """Run the binary; does not return when there is nothing left to do behind it.

    Raises UserError for options that mean QEMU, and when its TAP device can be neither used nor made.
    """
    _refuse_qemu_options(image, options)
    command = [str(image.path.absolute()), *options.guest_args]
    given = network.argument(options.guest_args, "interface")
    wanted = options.tap[0] if options.tap else None
    if wanted and given not in (None, wanted):
        raise UserError(f"--tap {wanted} and --interface {given} contradict each other", "give one of them")
    if wanted and given is None:
        command += ["--interface", wanted]
    if options.dry_run:
        print(shlex.join(command))
        return 0
    try:
        missing = _missing_taps(image, command[1:]) if image.net == "direct" else {}
    except ValueError:
        return _become(command)  # it knows how to say what is wrong with the address
    if not missing:
        return _become(command)
    with ExitStack() as taps:
        for name, host in missing.items():
            taps.enter_context(tap.lasting(name, host))
        return _beside(command)


def _missing_taps(image: Image, arguments: Sequence[str]) -> dict[str, ipaddress.IPv4Interface]:
    """The interfaces that it uses and that are not there, each with the host's address on it.

    Raises ValueError for an address that is none, and UserError for one that leaves the host none.
    """
    missing = {}
    for key in sorted({"interface", *image.defaults}):
        # Each group's: --interface, --lan-interface; an application's own key of such a name has no address beside it.
        group = key.removesuffix("interface")
        if group == key or (group and f"{group}host-ipv4" not in image.defaults):
            continue
        name = network.argument(arguments, key) or image.defaults.get(key, DEFAULT_TAP)
        if tap.exists(name):
            continue
        address = network.argument(arguments, f"{group}ipv4") or image.defaults.get(f"{group}ipv4")
        if address is None:
            given = network.argument(arguments, f"{group}host-ipv4")
            missing[name] = ipaddress.IPv4Interface(given or image.defaults.get(f"{group}host-ipv4", DEFAULT_HOST))
            continue
        network.require_prefix(f"{group}ipv4", address)
        guest = ipaddress.IPv4Interface(address)
        key = f"{group}ipv4-gateway"
        gateway = network.argument(arguments, key) or image.defaults.get(key)
        if gateway is not None and guest.network.prefixlen == 32:
            host = ipaddress.IPv4Address(gateway)
        else:
            host = next((other for other in guest.network.hosts() if other != guest.ip), guest.ip)
        around = network.covering(guest, host)
        if host == guest.ip or host not in around:
            raise UserError(
                f"--{group}ipv4 {guest} leaves the host no address",
                f"give a larger network, as in 10.0.0.2/24, or the host's address as --{key}",
            )
        missing[name] = ipaddress.IPv4Interface((host, around.prefixlen))
    return missing


def _not_executable(path: str, error: OSError) -> UserError:
    return UserError(f"{path} cannot be executed ({error.strerror})", "build it again with `make`")


def _become(command: list[str]) -> int:
    try:
        os.execv(command[0], command)
    except OSError as error:
        raise _not_executable(command[0], error) from None


def _beside(command: list[str]) -> int:
    """Run `command` as a child, handing signals on, and return its exit code."""
    process: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, frame: object) -> None:
        # Ctrl-C reaches the whole foreground group by itself, the child too; twice does no harm.
        if process is not None and process.poll() is None:
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in STOP_SIGNALS}
    try:
        try:
            process = subprocess.Popen(command, preexec_fn=dies_with_us(signal.SIGTERM))  # noqa: PLW1509 (no threads here)
        except OSError as error:
            raise _not_executable(command[0], error) from None
        code = process.wait()
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
        for number, handler in before.items():
            signal.signal(number, handler)
    return SIGNAL_EXIT_BASE - code if code < 0 else code
