# SPDX-License-Identifier: MIT
"""`commands.run` with a real QEMU and a tiny guest: exit codes, the console, and no QEMU left behind."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.guest import tiny

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(tiny.missing() is not None, reason=str(tiny.missing())),
]
WAIT_S = 20.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("guest é") / "tiny.hvt")


@pytest.fixture(scope="module")
def network_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("guest") / "tiny.hvt", **tiny.NETWORK_NOTE)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not so after {WAIT_S} s: {what}"
        time.sleep(0.02)


def qemus_of(image: Path) -> list[int]:
    """The QEMU processes that run `image`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if entry.name.isdigit() and b"-kernel" in words and str(image).encode() in words:
            found.append(int(entry.name))
    return found


def started(image: Path, *guest_args: str, **options: object) -> subprocess.Popen[bytes]:
    """The tool with a guest that has printed "ready"."""
    process = subprocess.Popen(
        tiny.run_command(image, *guest_args, **options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("machine", [None, "q35", "pc"])
@pytest.mark.parametrize("code", [0, 1, 64, 70])
def test_exit_code_is_the_guests(image: Path, machine: str | None, code: int) -> None:
    done = tiny.run(image, f"exit={code}", machine=machine)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"ready\n", b"")


@pytest.mark.parametrize("machine", [None, "q35", "pc", "microvm"])
def test_machines_with_a_network_interface(network_image: Path, machine: str | None) -> None:
    done = tiny.run(network_image, "exit=3", machine=machine)
    assert done.returncode == 3, done.stderr
    assert b"-> guest 7/tcp" in done.stderr


def test_guests_started_at_the_same_moment_get_ports_each(network_image: Path) -> None:
    command = tiny.run_command(network_image, "exit=3")
    processes = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(6)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 3, said


@pytest.mark.parametrize(("way", "code", "word"), [("panic", 70, b"panicked"), ("reset", 70, b"triple fault")])
def test_guest_that_dies_is_reported(image: Path, way: str, code: int, word: bytes) -> None:
    done = tiny.run(image, way)
    assert done.returncode == code
    assert word in done.stderr


def test_power_off_is_success(image: Path) -> None:
    assert tiny.run(image, "poweroff", machine="q35").returncode == 0


def test_boot_arguments_arrive_quoted(image: Path) -> None:
    done = tiny.run(image, "args", "two words", "", "exit=0")
    assert done.stdout == b"args 'two words' '' exit=0\nready\n"


def test_long_output_is_whole(image: Path) -> None:
    done = tiny.run(image, "lines=2000", "exit=0")
    assert done.stdout.count(b"\n") == 2001
    assert done.stdout.splitlines()[-1].startswith(b"line 1999 ")


def test_standard_input_reaches_the_guest(image: Path) -> None:
    done = tiny.run(image, "echo", "exit=4", stdin=b"hello to you, q")
    assert (done.returncode, done.stdout) == (4, b"ready\nhello to you, q")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_guest(image: Path, number: signal.Signals) -> None:
    process = started(image, "forever")
    assert qemus_of(image)
    process.send_signal(number)
    assert process.wait(WAIT_S) == 128 + number
    assert qemus_of(image) == []
    process.communicate()


def test_stopped_qemu_is_killed(image: Path) -> None:
    process = started(image, "forever")
    (qemu,) = qemus_of(image)
    os.kill(qemu, signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 128 + signal.SIGTERM
    assert qemus_of(image) == []
    process.communicate()


def test_killed_tool_leaves_no_qemu(image: Path) -> None:
    process = started(image, "forever")
    assert qemus_of(image)
    process.kill()
    process.communicate()
    until(lambda: qemus_of(image) == [], "no QEMU")


def test_killed_qemu_is_an_error(image: Path) -> None:
    process = started(image, "forever")
    (qemu,) = qemus_of(image)
    os.kill(qemu, signal.SIGKILL)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert b"mirage-py: error: QEMU was ended by signal 9" in said


def test_reader_that_goes_away_ends_the_guest(image: Path) -> None:
    process = started(image, "lines=100000", "forever")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(WAIT_S)
    assert qemus_of(image) == []


def in_terminal(command: list[str]) -> tuple[int, int]:
    """Start `command` with a terminal of its own; its pid, and the terminal's other end."""
    pid, master = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    return pid, master


def read_until(master: int, word: bytes) -> bytes:
    text = b""
    while word not in text:
        text += os.read(master, 4096)
    return text


def test_terminal_is_raw_while_it_runs_and_restored(image: Path) -> None:
    pid, master = in_terminal(tiny.run_command(image, "echo", "exit=5"))
    cooked = termios.tcgetattr(master)[3]
    read_until(master, b"ready")
    assert not termios.tcgetattr(master)[3] & (termios.ECHO | termios.ICANON)
    os.write(master, b"xq")
    assert b"xxq" not in read_until(master, b"q")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert termios.tcgetattr(master)[3] == cooked
    os.close(master)


def test_control_c_in_a_terminal(image: Path) -> None:
    pid, master = in_terminal(tiny.run_command(image, "forever"))
    read_until(master, b"ready")
    os.write(master, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert qemus_of(image) == []
    os.close(master)


def test_closed_terminal_leaves_no_qemu(image: Path) -> None:
    pid, master = in_terminal(tiny.run_command(image, "forever"))
    read_until(master, b"ready")
    assert qemus_of(image)
    os.close(master)
    os.waitpid(pid, 0)
    until(lambda: qemus_of(image) == [], "no QEMU")


def test_gdb_says_how_and_waits(image: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = subprocess.Popen(
        tiny.run_command(image, "exit=0", gdb=port), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.readline().decode()
    assert f"target remote 127.0.0.1:{port}" in said

    def answers() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    until(answers, "gdb's port answers")
    process.terminate()
    process.communicate(timeout=WAIT_S)


def test_pcap_file_is_made(network_image: Path, tmp_path: Path) -> None:
    path = tmp_path / "a, b.pcap"
    assert tiny.run(network_image, "exit=0", pcap=[str(path)]).returncode == 0
    assert path.read_bytes()[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4")


def test_forwarded_port_is_bound(network_image: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = started(network_image, "forever", publish=[f"{port}:7"])
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S):
        pass
    process.terminate()
    process.communicate(timeout=WAIT_S)


def test_image_that_qemu_cannot_boot(image: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.hvt"
    data = bytearray(image.read_bytes())
    where = data.index(b"Xen\0")
    data[where - 4] = 0  # the note's type, of which QEMU knows the entry point
    broken.write_bytes(data)
    done = tiny.run(broken, "exit=0")
    assert done.returncode == 1
    assert b"mirage-py: error: QEMU: " in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_dry_run_prints_a_command_that_works(network_image: Path) -> None:
    line = tiny.run(network_image, "args", "exit=9", dry_run=True).stdout.decode()
    done = subprocess.run(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 9 << 1 | 1
    assert b"ready" in done.stdout
