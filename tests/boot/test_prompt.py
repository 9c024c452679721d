# SPDX-License-Identifier: MIT
"""`configure --repl`: what is typed at the prompt is answered, and the application goes on meanwhile."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import EXAMPLES
from tests.conftest import Guest as Process

pytestmark = [pytest.mark.build, pytest.mark.slow]
PROMPT = re.compile(r"^prompt: (socat .*) \(Ctrl-\] leaves\)$", re.MULTILINE)
PORT = 7007  # the default of examples/echo
TIMEOUT_S = 30.0


def read_until(line: socket.socket, words: bytes) -> bytes:
    said = b""
    while words not in said:
        try:
            data = line.recv(4096)
        except TimeoutError:
            data = b""
        assert data, f"{words!r} is not there, but {said!r}"
        said += data
    return said


@pytest.mark.qemu
@pytest.mark.xdist_group("machine")
def test_prompt_on_the_second_serial_line_beside_the_application(tmp_path: Path) -> None:
    image = guests.build(EXAMPLES / "echo", tmp_path / "app", "-t", "hvt", "--repl")
    with guests.start_hvt(image, {PORT}) as guest:
        found = PROMPT.search(guest.text())
        assert found, guest.text()
        address = shlex.split(found[1])[-1]
        assert address.startswith("UNIX-CONNECT:")
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(TIMEOUT_S)
            line.connect(address.partition(":")[2])
            line.sendall(b"1+1\r")
            read_until(line, b"1+1\r\n2\r\n>>> ")
            assert guest.client("sequential", PORT, count=20)["wrong"] == 0
            # Half a statement holds nobody up, and the application is at hand.
            line.sendall(b"import main; type(main.stack0).__name")
            assert guest.client("sequential", PORT, count=20)["wrong"] == 0
            line.sendall(b"__\r")
            read_until(line, b"'Stack'\r\n")
            line.sendall(b"\x04")
            read_until(line, b">>> ")
        # Nor does it matter that who typed has gone.
        assert guest.client("sequential", PORT, count=20)["wrong"] == 0
        assert "1+1" not in guest.text()
        assert guest.process.poll() is None
    assert not Path(address.partition(":")[2]).exists()


@pytest.mark.xdist_group("processes")
def test_prompt_on_the_terminal_beside_the_application(
    tmp_path: Path, spawn: Callable[[Sequence[str]], Process]
) -> None:
    binary = guests.build(EXAMPLES / "echo", tmp_path / "app", "-t", "unix", "--net", "socket", "--repl")
    port = guests.free_port()
    process = spawn([str(binary), "--port", str(port)])
    process.expect(f"listening on tcp port {port}")
    process.type(b"1+1\r")
    process.expect("1+1\n2\n>>> ")
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as client:
        process.type(b"40+")
        client.sendall(b"still there?")
        assert client.recv(100) == b"still there?"
        process.type(b"2\r")
        process.expect("40+2\n42\n>>> ")
        client.sendall(b"and now?")
        assert client.recv(100) == b"and now?"
    assert process.process.poll() is None
