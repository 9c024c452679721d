# SPDX-License-Identifier: MIT
"""The server on the interpreter that images have: curl and Python's own clients, over the three builds."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import Guest
from tests.conftest import need

APP = Path(__file__).parent / "apps" / "server"
EXAMPLE = guests.EXAMPLES / "site"
PORT = 8080
LINES = "".join(f"line {number}\n" for number in range(5000)).encode()
PHOTO = hashlib.shake_256(b"photo").digest(1 << 20)

pytestmark = pytest.mark.build


def source(folder: Path) -> Path:
    """The application, with large files beside its small ones."""
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("mirage", "dist", "Makefile"))
    (folder / "www" / "lines.txt").write_bytes(LINES)
    (folder / "www" / "photo.bin").write_bytes(PHOTO)
    (folder / "www" / "sub").mkdir()
    (folder / "www" / "sub" / "index.html").write_bytes(b"sub")
    return folder


@contextmanager
def unix(binary: Path) -> Iterator[Guest]:
    with guests.start_socket(binary, {"port": PORT}) as guest:
        yield guest


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for program, package in (("gcc", "gcc"), ("curl", "curl")):
        need(program, package)
    folder = tmp_path_factory.mktemp("web")
    return guests.build(source(folder / "source"), folder / "app", "-t", "unix", "--net", "socket")


@pytest.fixture
def guest(built: Path) -> Iterator[Guest]:
    with unix(built) as guest:
        yield guest


def curl(guest: Guest, path: str, *options: str) -> str:
    command = ["curl", "-s", "-m", "20", "--path-as-is", *options, f"http://{guest.host}:{guest.ports[PORT]}{path}"]
    return guests.run_beside(guest, *command).stdout


def status(guest: Guest, path: str, *options: str) -> int:
    return int(curl(guest, path, "-o", os.devnull, "-w", "%{http_code}", *options))


def client(guest: Guest) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(guest.host, guest.ports[PORT], timeout=20)


def connect(guest: Guest) -> socket.socket:
    return socket.create_connection((guest.host, guest.ports[PORT]), timeout=20)


def everything(peer: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionResetError):
        while part := peer.recv(65536):
            data += part
    return data


def ask(peer: socket.socket, data: bytes) -> bytes:
    peer.sendall(data)
    return peer.recv(65536)


# --- with curl --------------------------------------------------------------------------------------------------------


def test_handlers(guest: Guest) -> None:
    assert curl(guest, "/hello") == curl(guest, "/plain") == "hello, world\n"
    user = json.loads(curl(guest, "/users/a%20%C3%A4?x=1&y=%C3%BC"))
    assert user == {"id": "a ä", "query": {"x": "1", "y": "ü"}, "path": "/users/a ä"}
    assert json.loads(curl(guest, "/form", "-d", "a=1&b=two+words")) == {"a": "1", "b": "two words"}
    assert status(guest, "/form", "-H", "Content-Type: text/plain", "-d", "a") == 415
    assert status(guest, "/teapot") == 418
    assert curl(guest, "/teapot") == "short and stout\n"
    assert status(guest, "/hello", "-X", "DELETE") == 405
    assert "Allow: GET, HEAD, OPTIONS" in curl(guest, "/hello", "-i", "-X", "OPTIONS")
    assert curl(guest, "/health") == "ok\n"
    assert "Date: " in curl(guest, "/hello", "-I")


def test_a_failing_handler_is_500_with_the_traceback_on_the_console(guest: Guest) -> None:
    assert status(guest, "/fail") == 500
    assert curl(guest, "/hello") == "hello, world\n"
    guests.wait_saying(guest, "ZeroDivisionError")
    assert 'File "everything.py"' in guest.text()
    assert "Error" not in curl(guest, "/fail").replace("500 Internal Server Error", "")


def test_streams(guest: Guest) -> None:
    assert curl(guest, "/stream") == "".join(f"part {number}\n" for number in range(5))
    assert curl(guest, "/stream", "--http1.0") == curl(guest, "/stream")
    assert "Transfer-Encoding: chunked" in curl(guest, "/stream", "-I")
    events = curl(guest, "/events")
    assert re.findall(r"id: (\d)\ndata: tick (\d)\n\n", events) == [("0", "0"), ("1", "1"), ("2", "2")]
    command = ["curl", "-s", "-m", "10", f"http://{guest.host}:{guest.ports[PORT]}/broken"]
    assert guests.run_beside(guest, *command).returncode in (18, 56)  # not all of it came; or a reset
    guests.wait_saying(guest, "ValueError: in the middle")


def test_uploads(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(PHOTO)
    upload = f"@{tmp_path / 'photo'}"
    for options in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue")):
        target = tmp_path / "back"
        curl(guest, "/echo", *options, "--data-binary", upload, "-o", str(target))
        assert target.read_bytes() == PHOTO
    assert curl(guest, "/count", "--data-binary", upload) == str(len(PHOTO))
    (tmp_path / "large").write_bytes(PHOTO * 5)
    assert status(guest, "/echo", "--data-binary", f"@{tmp_path / 'large'}") == 413
    assert curl(guest, "/count", "--data-binary", f"@{tmp_path / 'large'}") == str(len(PHOTO) * 5)


def test_files(guest: Guest, tmp_path: Path) -> None:
    target = tmp_path / "got"
    curl(guest, "/photo.bin", "-o", str(target))
    assert target.read_bytes() == PHOTO
    curl(guest, "/photo.bin", "-o", str(target), "-r", "1000-99999")
    assert target.read_bytes() == PHOTO[1000:100000]
    curl(guest, "/lines.txt", "-o", str(target), "-H", "Accept-Encoding: gzip")
    assert gzip.decompress(target.read_bytes()) == LINES
    assert "Content-Encoding: br" in curl(guest, "/lines.txt", "-I", "-H", "Accept-Encoding: gzip, br")
    etag = re.search(r'ETag: ("[^"]*")', curl(guest, "/lines.txt", "-I"))
    assert etag
    assert status(guest, "/lines.txt", "-H", f"If-None-Match: {etag[1]}") == 304
    assert curl(guest, "/sub", "-L") == "sub"
    assert curl(guest, "/nope") == "<p>nowhere\n"
    for path in ("/../config.py", "/%2e%2e/config.py", "/sub/..%2f..%2fconfig.py", "//etc/passwd"):
        assert status(guest, path) in (400, 404)


def test_metrics_and_access_log(guest: Guest) -> None:
    curl(guest, "/hello?a=b", "-A", 'a "quoted" agent\\')
    metrics = curl(guest, "/metrics")
    assert "\nmirage_http_requests 2\n" in metrics
    assert re.search(r"^mirage_tcp_PassiveOpens 2$", metrics, re.MULTILINE)
    guests.wait_saying(guest, '"GET /hello?a=b HTTP/1.1" 200 13 "-" "a \\"quoted\\" agent\\\\"')


# --- with Python's own ------------------------------------------------------------------------------------------------


def test_keep_alive_and_pipelining(guest: Guest) -> None:
    connection = client(guest)
    for number in range(200):
        connection.request("GET", "/hello" if number % 2 else "/photo.bin")
        answer = connection.getresponse()
        assert len(answer.read()) == (13 if number % 2 else len(PHOTO))
    with connect(guest) as peer:
        count = 300
        peer.sendall(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        data = b""
        while data.count(b"hello, world\n") < count:
            part = peer.recv(65536)
            assert part
            data += part
        assert data.count(b"HTTP/1.1 200 OK\r\n") == count


def test_websocket_of_somebody_else_s(guest: Guest) -> None:
    wsproto = pytest.importorskip("wsproto")
    from wsproto.events import AcceptConnection, CloseConnection, Ping, Pong, Request, TextMessage

    with connect(guest) as peer:
        ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        peer.sendall(ws.send(Request(host="a", target="/ws")))

        def event() -> object:
            while True:
                for found in ws.events():
                    return found
                ws.receive_data(peer.recv(65536) or None)

        assert isinstance(event(), AcceptConnection)
        for text in ("hello", "ä" * 1000, "x" * 200000):
            peer.sendall(ws.send(TextMessage(data=text)))
            got = ""
            while True:
                message = event()
                assert isinstance(message, TextMessage)
                got += message.data
                if message.message_finished:
                    break
            assert got == text
        peer.sendall(ws.send(Ping(payload=b"here?")))
        pong = event()
        assert isinstance(pong, Pong)
        assert pong.payload == b"here?"
        peer.sendall(ws.send(TextMessage(data="fail")))
        closed = event()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1011
        peer.sendall(ws.send(closed.response()))
        assert everything(peer) == b""


def test_the_end_answers_what_is_in_flight(guest: Guest) -> None:
    idle, busy = connect(guest), connect(guest)
    assert b"200 OK" in ask(idle, b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
    busy.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    time.sleep(0.2)
    guest.process.send_signal(signal.SIGTERM)
    assert idle.recv(10) == b""
    busy.sendall(b"cd")
    answer = everything(busy)
    assert answer.endswith(b"\r\n\r\nabcd")
    assert b"Connection: close" in answer
    assert guest.wait(10) == 128 + signal.SIGTERM


# --- survival ---------------------------------------------------------------------------------------------------------


def metric(guest: Guest, name: str) -> int:
    match = re.search(rf"^mirage_http_{name} (\d+)$", curl(guest, "/metrics"), re.MULTILINE)
    assert match
    return int(match[1])


def heap(guest: Guest) -> int:
    return int(curl(guest, "/heap"))


@pytest.mark.slow
def test_attacks_are_borne(guest: Guest) -> None:
    """Slow heads, giant heads, many connections, peers that do not read: memory is bounded, others are served."""
    for _ in range(20):
        curl(guest, "/hello")
    before = heap(guest)
    slow = [connect(guest) for _ in range(200)]
    for peer in slow:
        with suppress(OSError):
            peer.sendall(b"GET / HTTP/1.1\r\nX-A: ")
    assert curl(guest, "/hello") == "hello, world\n"
    assert metric(guest, "evicted") > 0
    deaf = []
    for _ in range(40):
        peer = connect(guest)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with suppress(OSError):
            peer.sendall(b"GET /photo.bin HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        deaf.append(peer)
    for _ in range(50):
        with connect(guest) as peer, suppress(OSError):
            peer.sendall(b"GET / HTTP/1.1\r\nX-B: " + b"y" * 100000 + b"\r\n\r\n")
            assert b" 431 " in peer.recv(100)
    assert curl(guest, "/hello") == "hello, world\n"
    assert heap(guest) - before < 1 << 20
    assert metric(guest, "open_connections") <= 96
    assert metric(guest, "malformed") >= 50
    deadline = time.monotonic() + 30
    while metric(guest, "open_connections") > 1:
        assert time.monotonic() < deadline, "connections stay"
        time.sleep(0.5)
    assert metric(guest, "timeouts") > 0
    # What is left is the interpreter's own, and the answers of this test's client.
    assert heap(guest) - before < 64 << 10
    for peer in (*slow, *deaf):
        peer.close()


# --- other builds -----------------------------------------------------------------------------------------------------


def check_all(guest: Guest, tmp_path: Path) -> None:
    """A little of everything, with the programs that reach the guest."""
    for _ in range(3):
        assert curl(guest, "/hello") == "hello, world\n"
    curl(guest, "/photo.bin", "-o", str(tmp_path / "photo"))
    assert (tmp_path / "photo").read_bytes() == PHOTO
    curl(guest, "/echo", "--data-binary", f"@{tmp_path / 'photo'}", "-o", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == PHOTO
    assert curl(guest, "/stream").endswith("part 4\n")
    assert curl(guest, "/events").count("data: tick") == 3
    assert status(guest, "/fail") == 500
    key = base64.b64encode(b"k" * 16).decode()
    upgrade = ("-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13")
    head = curl(guest, "/ws", "-i", "-m", "1", *upgrade, "-H", f"Sec-WebSocket-Key: {key}")
    assert "101 Switching Protocols" in head


@pytest.mark.slow
@pytest.mark.tap
def test_over_our_own_stack_on_a_tap(tmp_path: Path) -> None:
    built = guests.build(source(tmp_path / "source"), tmp_path / "app", "-t", "unix", "--net", "direct")
    with guests.Namespace() as namespace:
        command = [str(built), "--ipv4", f"{guests.GUEST_IP}/24", "--interface", "tap0"]
        with guests.started(command, {PORT}, host=guests.GUEST_IP, prefix=namespace.prefix) as guest:
            check_all(guest, tmp_path)


@pytest.mark.slow
@pytest.mark.qemu
def test_in_a_machine(tmp_path: Path) -> None:
    image = guests.build(source(tmp_path / "source"), tmp_path / "app", "-t", "hvt")
    with guests.start_hvt(image, {PORT}, "--publish", f"{guests.free_port()}:{PORT}") as guest:
        check_all(guest, tmp_path)


@pytest.mark.slow
def test_over_tls(tmp_path: Path) -> None:
    """The same handlers behind TLS, and a port without it that leads there."""
    need("curl", "curl")
    app = source(tmp_path / "source")
    config = (app / "config.py").read_text()
    config = config.replace("register, unikernel", "register, tls, unikernel")
    config = config.replace("http_server(generic_stack(), ", "http_server(tls(generic_stack()), https_only=True, ")
    (app / "config.py").write_text(config)
    binary = guests.build(app, tmp_path / "app", "-t", "unix", "--net", "socket")
    ca = str(tmp_path / "app" / "mirage" / "ca.pem")
    with guests.start_socket(binary, {"port": 8443, "http-port": PORT}) as guest:

        def secure(path: str, *options: str) -> str:
            url = f"https://localhost:{guest.ports[8443]}{path}"
            command = ["curl", "-s", "-m", "20", "--cacert", ca, *options, url]
            return guests.run_beside(guest, *command).stdout

        assert secure("/hello") == "hello, world\n"
        assert "Strict-Transport-Security: max-age=31536000" in secure("/hello", "-I")
        target = tmp_path / "got"
        secure("/photo.bin", "-o", str(target))
        assert target.read_bytes() == PHOTO
        secure("/lines.txt", "-o", str(target), "-H", "Accept-Encoding: gzip")
        assert gzip.decompress(target.read_bytes()) == LINES
        (tmp_path / "photo").write_bytes(PHOTO)
        secure("/echo", "--data-binary", f"@{tmp_path / 'photo'}", "-o", str(target))
        assert target.read_bytes() == PHOTO
        assert secure("/stream").endswith("part 4\n")
        assert secure("/events").count("data: tick") == 3
        assert status(guest, "/hello?a=b") == 308
        location = f"Location: https://{guest.host}:{guest.ports[8443]}/hello?a=b"
        assert location in curl(guest, "/hello?a=b", "-i")
        assert "mirage_http_requests" in secure("/metrics")
        slow = subprocess.Popen(
            ["curl", "-s", "-m", "20", "--cacert", ca, f"https://localhost:{guest.ports[8443]}/stream"],
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.1)
        guest.process.send_signal(signal.SIGTERM)
        out, _ = slow.communicate(timeout=20)
        assert out in ("", "".join(f"part {number}\n" for number in range(5)))  # before it began, or all of it
        assert guest.wait(10) == 128 + signal.SIGTERM


# --- the example ------------------------------------------------------------------------------------------------------


def test_the_example_serves_its_page_and_its_chat(tmp_path: Path) -> None:
    need("curl", "curl")
    binary = guests.build(EXAMPLE, tmp_path / "site", "-t", "unix", "--net", "socket")
    ca = tmp_path / "site" / "mirage" / "ca.pem"
    with guests.start_socket(binary, {"port": 8443}) as guest:

        def curl(path: str, *options: str) -> str:
            url = f"https://localhost:{guest.ports[8443]}{path}"
            command = ["curl", "-s", "-m", "20", "--cacert", str(ca), *options, url]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout

        def status(path: str) -> int:
            return int(curl(path, "-o", os.devnull, "-w", "%{http_code}"))

        page = curl("/")
        for path in ("style.css", "script.js", "logo.svg"):
            assert f'"{path}"' in page
            assert status(f"/{path}") == 200
        assert [json.loads(curl("/api/visits"))["visits"] for _ in range(3)] == [1, 2, 3]
        assert json.loads(curl("/api/hello/you")) == {"hello": "you"}
        assert status("/nope") == 404
        chat = ("-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13")
        key = base64.b64encode(b"k" * 16).decode()
        assert "101 Switching" in curl("/chat", "-i", "-m", "1", *chat, "-H", f"Sec-WebSocket-Key: {key}")
