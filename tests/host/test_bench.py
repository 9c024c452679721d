# SPDX-License-Identifier: MIT
"""bench: what is computed and written, without measuring anything."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from bench import linux_guest, machine, rows
from bench.__main__ import line
from bench.apps import build_client
from bench.cpio import Archive


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name, read as the kernel reads them."""
    found, offset = {}, 0
    while True:
        assert archive[offset : offset + 6] == b"070701"
        fields = [int(archive[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[offset + 110 : offset + 109 + name_size].decode()
        start = offset + (110 + name_size + 3 & ~3)
        if name == "TRAILER!!!":
            return found
        found[name] = mode, archive[start : start + size]
        offset = start + (size + 3 & ~3)


def test_archive() -> None:
    archive = Archive()
    archive.file("a/b/c", b"12345", 0o755)
    archive.file("a/b/d", b"")
    archive.device("dev/console", 5, 1)
    with pytest.raises(ValueError, match="already"):
        archive.file("a/b/c", b"")
    assert entries(archive.finish()) == {
        "a": (0o040755, b""),
        "a/b": (0o040755, b""),
        "a/b/c": (0o100755, b"12345"),
        "a/b/d": (0o100644, b""),
        "dev": (0o040755, b""),
        "dev/console": (0o020600, b""),
    }


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_archive_as_cpio_reads_it(tmp_path: Path) -> None:
    archive = Archive()
    archive.file("a/b", b"12345")
    done = subprocess.run(
        ["cpio", "-i", "--quiet"], input=archive.finish(), cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "b").read_bytes() == b"12345"


def test_linux_guest_is_taken_from_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "linux-guest"
    folder.mkdir(parents=True)
    known = {"kernel": "k", "initrd": "i", "kernel_version": "6", "micropython_version": "1"}
    (folder / "guest.json").write_text(json.dumps({"version": linux_guest.VERSION, **known}))
    assert linux_guest.assemble(tmp_path) == linux_guest.LinuxGuest(**known)


@pytest.mark.parametrize(
    ("ours", "theirs", "limit", "is_floor", "met"),
    [
        ([1.0, 9.0, 2.0], [4.0], 0.5, False, True),
        ([1.0, 9.0, 3.0], [4.0], 0.5, False, False),
        ([3.0], [4.0], 0.5, True, True),
        ([430e3], [], 430, False, True),
        ([431e3], [], 430, False, False),
        ([], [], 430, False, None),
        ([1.0], [1.0], None, False, None),
    ],
)
def test_row(ours: list[float], theirs: list[float], limit: float | None, is_floor: bool, met: bool | None) -> None:
    scale = 1.0 if theirs else 1e-3
    row = rows.Row("size", "KB", limit, is_floor=is_floor, scale=scale, ours=ours, theirs=theirs)
    assert row.is_met is met
    assert len(line(row)) == 7


def test_processor_time_is_counted() -> None:
    before = machine.cpu_seconds(os.getpid())
    sum(range(2_000_000))
    assert 0 < machine.cpu_seconds(os.getpid()) - before < 10


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
            with connection:
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
