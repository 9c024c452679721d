# SPDX-License-Identifier: MIT
"""The benchmark's client in C, against servers that are right and wrong."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from bench import machine
from bench.apps import build_client
from bench.connections import Held


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    return build_client(tmp_path_factory.mktemp("client"))


@pytest.fixture
def server():
    """A server that gives every chunk to `answer` and sends back what it makes of it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(answer):
        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                while data := connection.recv(65536):
                    connection.sendall(answer(data))

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    listener.close()


@pytest.mark.parametrize("what", [("echoes", "100", "64"), ("echoes", "3", "65536"), ("bulk", "64", "65536")])
def test_client_with_an_echo(client: Path, server, what: tuple[str, ...]) -> None:
    assert machine.run_client(client, "127.0.0.1", server(lambda data: data), *what) > 0


@pytest.mark.parametrize("what", [("echoes", "100", "64"), ("bulk", "64", "65536")])
def test_client_sees_a_wrong_octet(client: Path, server, what: tuple[str, ...]) -> None:
    port = server(lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(machine.GuestError, match="differs"):
        machine.run_client(client, "127.0.0.1", port, *what)


@pytest.fixture
def peer():
    """A server that does `serve(connection)`, once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(serve):
        def run() -> None:
            connection, _ = listener.accept()
            # The client may have seen enough, and left.
            with connection, suppress(OSError):
                serve(connection)

        threading.Thread(target=run, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    listener.close()


@pytest.mark.parametrize(("wrong", "is_right"), [(0, True), (1, False)])
def test_client_and_a_sink(client: Path, peer, wrong: int, is_right: bool) -> None:
    def sink(connection: socket.socket) -> None:
        total = wrong
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(b"%d\n" % total)

    port = peer(sink)
    if is_right:
        assert machine.run_client(client, "127.0.0.1", port, "send", "10", "65536") > 0
    else:
        with pytest.raises(machine.GuestError, match="did not get all"):
            machine.run_client(client, "127.0.0.1", port, "send", "10", "65536")


@pytest.mark.parametrize("what", ["right", "wrong octet", "short"])
def test_client_and_a_source(client: Path, peer, what: str) -> None:
    def source(connection: socket.socket) -> None:
        data = bytearray(index % 256 for index in range(int(connection.recv(20))))
        if what == "wrong octet":
            data[-5] ^= 1
        connection.sendall(data[:-1] if what == "short" else data)

    port = peer(source)
    arguments = (client, "127.0.0.1", port, "receive", "3", "10000")
    if what == "right":
        assert machine.run_client(*arguments) > 0
    else:
        with pytest.raises(machine.GuestError, match="differs" if what == "wrong octet" else "ended"):
            machine.run_client(*arguments)


def test_client_holds_connections_and_echoes_on_them_in_turn(client: Path) -> None:
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket, number: int) -> None:
            with connection, suppress(OSError):
                while data := connection.recv(65536):
                    seen.append(number)
                    connection.sendall(data)

        def accept() -> None:
            for number in range(3):
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection, number), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        command = [str(client), "127.0.0.1", str(listener.getsockname()[1]), "hold", "3", "64"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            held = Held(process)
            assert held.line(30) == "held"
            assert held.echo(7) > 0
            process.kill()
    assert seen == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
