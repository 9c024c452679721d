# SPDX-License-Identifier: MIT
"""The C module `_mirage`, in a runtime for unix: against the fake that the other tests stand on, and against Linux."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirage_py.support import paths
from tests.conftest import Guest, need
from tests.contract import images

pytestmark = pytest.mark.build

FAKES = Path(__file__).parent.parent / "fakes"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    engine = images.obtain("unix", ["net", "socket"])
    sources = [images.APPS / "main.py", *sorted(set(images.APPS.glob("*.py")) - {images.APPS / "main.py"})]
    return images.link(engine, sources, tmp_path_factory.mktemp("c_module"))


def run(image: Path, *args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": TIMEOUT_S, "stdin": subprocess.DEVNULL}
    return subprocess.run([str(image), *map(str, args)], check=False, **(settings | options))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "features"), [("unix", "net repl socket"), ("hvt", "net repl"), ("hvt", "net compiler"), ("hvt", "")]
)
def test_compiles_without_a_warning(tmp_path: Path, target: str, features: str) -> None:
    source = images.obtain("unix", ["net", "socket"]).source
    command = ["make", "-C", paths.targets_dir(), "-j2", f"TARGET={target}", f"FEATURES={features}"]
    command += [f"MPY_DIR={source}", f"BUILD={tmp_path}", "WERROR=-Werror"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning:" not in done.stderr


def test_another_micropython_is_noticed(tmp_path: Path) -> None:
    """The changes to MicroPython's collector are made to the file that they were written for, or not at all."""
    common = paths.targets_dir() / "common"
    command = [sys.executable, common / "patch_micropython.py", common / "changes" / "gc.c.txt"]
    source = images.obtain("unix", ["net", "socket"]).source / "py" / "gc.c"
    original, copy = tmp_path / "gc.c", tmp_path / "copy.c"
    for text, code in ((source.read_text(), 0), (source.read_text().replace("n_free == 1", "n_free == 2"), 1)):
        original.write_text(text)
        copy.unlink(missing_ok=True)
        done = subprocess.run([*command, original, copy], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == code
        assert copy.exists() == (code == 0)
        assert ("is not MicroPython 1.25.0's" in done.stderr) == (code != 0)


@pytest.mark.slow
def test_prompt_beside_the_application(tmp_path: Path) -> None:
    """What is typed runs; neither Ctrl-D, sys.exit() nor an exception ends the application; its end ends the prompt."""
    engine = images.obtain("unix", ["net", "repl", "socket"])
    (tmp_path / "main.py").write_text(
        "import _mirage, sys, time\nanswer = 42\nwhile answer:\n    _mirage.repl_poll()\n    time.sleep_ms(1)\n"
        "print('main ended')\nsys.exit(5)\n"
    )
    image = images.link(engine, [tmp_path / "main.py"], tmp_path)
    typed = "6 * 7\rx = 8\r\x04x\rimport sys\rsys.exit(3)\r1 / 0\rimport main\rmain.answer\rmain.answer = 0\r"
    done = subprocess.run([image], input=typed, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 5
    assert done.stdout.startswith("\nMicroPython v1.25.0")
    for text in (">>> 6 * 7\n42\n", ">>> x\n8\n", "ZeroDivisionError: divide by zero", ">>> main.answer\n42\n"):
        assert text in done.stdout
    assert done.stdout.endswith("main ended\n")


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("pass", 0), ("sys.exit(3)", 3), ("raise ValueError", 1)])
def test_the_compiler_brings_no_prompt(tmp_path: Path, how: str, code: int) -> None:
    engine = images.obtain("unix", ["compiler", "net", "socket"])
    (tmp_path / "main.py").write_text(f"import sys\nprint(eval('1 + 2'))\n{how}\n")
    image = images.link(engine, [tmp_path / "main.py"], tmp_path)
    done = run(image)
    assert done.returncode == code
    assert done.stdout.startswith("3\n")
    assert ">>>" not in done.stdout


# --- the fake ---------------------------------------------------------------------------------------------------------


def test_names_are_the_fakes() -> None:
    """Every function of the C module is in the fake and the other way round, save what only tests know."""
    table = (paths.targets_dir() / "common" / "modmirage.c").read_text()
    in_c = set(re.findall(r"MP_ROM_QSTR\(MP_QSTR_([a-z]\w*)\), MP_ROM_PTR", table))
    source = (FAKES / "_mirage.py").read_text()
    in_fake = set(re.findall(r"^def ([a-z]\w*)\(", source, re.MULTILINE)) - {"reset"}
    # The socket functions have a fake of their own, where their driver is tested.
    assert {name for name in in_c if not name.startswith(("sock_", "repl_"))} == in_fake


def test_buffers_behave_as_the_fakes(image: Path) -> None:
    done = run(image, "both")
    assert done.returncode == 0, done.stdout
    fake = subprocess.run(
        [sys.executable, "-E", "-c", "import sys; sys.path.insert(0, sys.argv[1]); exec(open(sys.argv[2]).read())"]
        + [str(FAKES), str(images.APPS / "both.py")],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert fake.returncode == 0, fake.stderr
    assert done.stdout == fake.stdout
    assert "checksums wrong 0" in done.stdout
    assert "copies wrong 0" in done.stdout
    assert "kept 50" in done.stdout


# --- descriptors and waiting ------------------------------------------------------------------------------------------


def test_pipes_and_wait(image: Path) -> None:
    (read_fd, write_fd), (broken_read_fd, broken_write_fd) = os.pipe(), os.pipe()
    os.close(broken_read_fd)
    fds = (read_fd, write_fd, broken_write_fd)
    for fd in fds:
        os.set_blocking(fd, False)
    done = run(image, "pipes", *fds, pass_fds=fds)
    for fd in fds:
        os.close(fd)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == [
        "source True",
        "nothing 0 -1",
        "written 5",
        "level True True",
        "read 3 b'\\x00hel\\x00'",
        "rest True 2 b'loe'",
        "drained 0",
        "again True True",
        "not watched 0 1",
        "full True",
        "not writable 0",
        "writable True",
        # The test's own descriptor keeps the pipe open.
        "end -1",
        "broken OSError 32",
        "closed OSError 9",
        "closed watch OSError 9",
        "closed twice OSError 9",
        "bounds ValueError",
        "no allocation",
    ]


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code", "output"),
    [
        (["args", "a b", "", "größe", "--x=1"], 0, "('a b', '', 'gr\\xf6\\xdfe', '--x=1')\n"),
        (["end"], 0, "the end"),
        (["exit", "3"], 3, ""),
        (["sys.exit", "0"], 0, ""),
        (["sys.exit", "64"], 64, ""),
        (["sys.exit none"], 0, ""),
        (["sys.exit text"], 1, "a reason\n"),
        (["recursion"], 0, "caught maximum recursion depth exceeded\n"),
    ],
)
def test_end(image: Path, how: list[str], code: int, output: str) -> None:
    done = run(image, "process", *how)
    assert (done.returncode, done.stdout, done.stderr) == (code, output, "")


def test_uncaught_exception_is_reported_with_file_and_line(image: Path) -> None:
    done = run(image, "process", "raise")
    line = 1 + (images.APPS / "process.py").read_text().split("\n").index('    raise ValueError("on purpose")')
    assert done.returncode == 1
    assert done.stdout.startswith("Traceback (most recent call last):\n")
    assert f'File "process.py", line {line}, in fail\nValueError: on purpose\n' in done.stdout


def test_exception_that_cannot_be_printed(image: Path) -> None:
    done = run(image, "process", "unprintable")
    assert done.returncode == 1


@pytest.mark.parametrize("how", ["wait", "busy", "sleep", "asyncio"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_signal_unwinds_and_ends(image: Path, spawn: Callable[..., Guest], how: str, number: int, code: int) -> None:
    guest = spawn([image, "process", how])
    guest.expect("ready")
    time.sleep(2)  # by then it would be told, did it not wait
    guest.process.send_signal(number)
    assert guest.wait(10) == code
    assert guest.output.startswith("ready\nunwound\n")
    traceback = guest.output.removeprefix("ready\nunwound\n")
    if how == "busy":
        # What runs and does not end is told; where it waits, there is nothing to tell.
        assert traceback.startswith('Traceback (most recent call last):\n  File "main.py", line ')
        assert traceback.splitlines()[-1].startswith("KeyboardInterrupt" if number == signal.SIGINT else "Terminated")
    else:
        assert traceback == ""


def test_keyboard_interrupt_can_be_caught(image: Path, spawn: Callable[..., Guest]) -> None:
    guest = spawn([image, "process", "catch"])
    guest.expect("ready")
    guest.process.send_signal(signal.SIGINT)
    assert guest.wait(10) == 0
    assert guest.output == "ready\ncaught\nwent on\n"


def test_console_that_is_gone_is_no_reason_to_end(image: Path) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    done = run(image, "process", "exit", "5", stdout=write_fd, capture_output=False)
    os.close(write_fd)
    assert done.returncode == 5


def test_closed_standard_descriptors(image: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" process "console" <&- >&- 2>&-', str(image)], timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0


def test_standard_input(image: Path) -> None:
    done = run(image, "process", "prompt", input="world\nand more", stdin=None)
    assert done.stdout == "name? hello world\nrest and more\nend ''\n"


def test_console_wakes_a_wait_and_is_silent_at_its_end(image: Path, spawn: Callable[..., Guest]) -> None:
    def wait_until_asleep() -> None:
        deadline = time.monotonic() + 10
        while Path(f"/proc/{guest.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, guest.output
            time.sleep(0.01)

    guest = spawn([image, "process", "console"])
    guest.expect("ready")
    wait_until_asleep()
    guest.type(b"abc")
    guest.expect("got b'abc'")
    wait_until_asleep()
    assert guest.process.stdin is not None
    guest.process.stdin.close()
    assert guest.wait(10) == 0
    assert guest.output == "ready\nwoken by 1\ngot b'abc'\nwoken by 1\nquiet 0\n"


def test_console_from_a_file(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"x" * 100)
    with path.open() as stream:
        done = run(image, "process", "console", stdin=stream)
    assert done.stdout == f"ready\ngot b'{'x' * 64}'\ngot b'{'x' * 36}'\nquiet 0\n"


def test_full_heap_is_an_exception(image: Path) -> None:
    done = run(image, "process", "memory")
    assert done.returncode == 0, done.stdout
    megabytes = int(re.search(r"caught after (\d+) MB", done.stdout)[1])  # type: ignore[index]
    assert megabytes > 55
    assert done.stdout.endswith("and on 10000000\n")


# --- the collector and frozen machine code ----------------------------------------------------------------------------


@pytest.mark.timing
def test_heap_and_frozen_code(image: Path) -> None:
    done = run(image, "heap")
    assert done.returncode == 0, done.stdout
    facts = [line for line in done.stdout.splitlines() if not line.startswith("time ")]
    assert facts == [
        "intact True",
        "chain 50000",
        "wide True True",
        "flat True",
        "no place 0",
        "disabled and back",
        "sums True",
        "constants True",
    ]
    us = {label: int(value) for label, value in re.findall(r"^time (.*) (\d+)$", done.stdout, re.MULTILINE)}
    # Generous bounds: the stock allocator and collector miss the first three by factors of a hundred and of ten.
    assert us["fill"] < 20_000_000
    assert us["collect"] < 3_000_000
    assert us["collect wide"] < 1_000_000
    assert us["long run"] < 100_000_000


# --- sockets ----------------------------------------------------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def exchange(connection: socket.socket, data: bytes) -> bytes:
    """Sends data and the end, while receiving all that comes back."""
    connection.settimeout(TIMEOUT_S)
    back = bytearray()
    connection.setblocking(False)
    sent = 0
    while True:
        try:
            if sent < len(data):
                sent += connection.send(data[sent : sent + 65536])
                if sent == len(data):
                    connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        try:
            piece = connection.recv(65536)
        except BlockingIOError:
            continue
        if not piece:
            return bytes(back)
        back += piece


def test_socket_echo(image: Path, spawn: Callable[..., Guest]) -> None:
    address = "::1" if has_ipv6() else "127.0.0.1"
    guest = spawn([image, "sockets", address])
    match = re.search(r"tcp (\d+) udp (\d+)\n", guest.expect("\n"))
    assert match is not None
    tcp, udp = ("127.0.0.1", int(match[1])), ("127.0.0.1", int(match[2]))
    octets = 0

    data = os.urandom(3_000_000)
    with socket.create_connection(tcp) as connection:
        assert exchange(connection, data) == data
        octets += len(data)

    many = [socket.create_connection(tcp) for _ in range(50)]
    for round_ in range(3):
        for number, connection in enumerate(many):
            connection.sendall(b"%d %d" % (round_, number))
            octets += len(b"%d %d" % (round_, number))
        for number, connection in enumerate(many):
            expected = b"%d %d" % (round_, number)
            assert connection.recv(len(expected), socket.MSG_WAITALL) == expected
    for connection in many:
        connection.close()

    with socket.create_connection(tcp) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        octets += 1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(TIMEOUT_S)
        for size in (0, 1, 1400):
            datagrams.sendto(bytes(size), udp)
            assert datagrams.recvfrom(2000) == (bytes(size), udp)
        # Answered after everything above was taken in.
        datagrams.sendto(b"stop", udp)

    assert guest.wait(TIMEOUT_S) == 0, guest.output
    assert guest.output.splitlines()[1:] == [
        f"counters 52 1 {octets} 50 0",
        "in use OSError 98",
        "bad address ValueError",
        "bad port ValueError",
        "bad proto ValueError",
        "closed OSError 9",
        "not a socket OSError 88",
        "refused 111 0",
        "connected 0 True True",
        "sent 4",
        "received b'dat' b'a' b''",
        "aborted 104",
    ]


# --- TAP --------------------------------------------------------------------------------------------------------------


@pytest.mark.tap
def test_tap_in_a_namespace(image: Path) -> None:
    ip = need("ip", "iproute2")
    unshare = need("unshare", "util-linux")
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("needs root and /dev/net/tun")
    script = f"""
        set -e
        {ip} tuntap add tap0 mode tap
        {ip} address add 10.98.0.1/24 dev tap0
        {ip} link set tap0 mtu 1400 up
        "$0" tap tap0 &
        sleep 0.3
        {shutil.which("python3") or sys.executable} -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"datagram", ("10.98.0.2", 9))'
        wait $!
    """
    command = [unshare, "--net", "sh", "-c", script, str(image)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["absent 19"] * 3
    assert re.fullmatch(r"tap 1400 [017]", lines[3])
    assert lines[4:6] == ["second 16", "ready"]
    assert "arp answered 72" in lines
    offloads = int(lines[3].split()[2])
    assert f"udp b'datagram' {1 if offloads & 1 else 0} {(34, 6) if offloads & 1 else (0, 0)}" in lines
