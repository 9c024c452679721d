# SPDX-License-Identifier: MIT
"""A server for HTTP clients and a proxy, of what CPython has: `python -m tests.web.origin HOST [CERTIFICATE KEY]`.

Prints two ports, its own and the proxy's, and serves until its input ends.
"""

from __future__ import annotations

import contextlib
import gzip
import select
import socket
import ssl
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Request, TextMessage

LINES = b"".join(b"line %d\n" % number for number in range(5000))
BOMB = gzip.compress(bytes(100_000_000), 9)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, data: bytes = b"", status: int = 200, **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self) -> None:
        # The proxy hands on what comes behind the first request of a connection as it is.
        path = self.path.split("/", 3)[3] if "://" in self.path else self.path[1:]
        name, *rest = path.split("/")
        getattr(self, "get_" + name.replace("-", "_"), self.get_nothing)(*rest)

    do_HEAD = do_GET

    def get_nothing(self, *rest: str) -> None:
        self.answer(b"nothing here", 404)

    def get_hello(self) -> None:
        self.answer(b"hello", Content_Type="text/plain")

    def get_zeros(self, count: str) -> None:
        self.answer(bytes(int(count)))

    def get_compressed(self, coding: str) -> None:
        data = gzip.compress(LINES) if coding == "gzip" else zlib.compress(LINES)
        if coding == "raw":
            data = data[2:-4]
        assert "gzip" in self.headers["Accept-Encoding"]
        self.answer(data, Content_Encoding="deflate" if coding == "raw" else coding)

    def get_bomb(self) -> None:
        self.close_connection = True
        self.answer(BOMB, Content_Encoding="gzip")

    def get_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"one, ", b"two, ", b"three"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(0.02)
        self.wfile.write(b"0\r\nX-Sum: 15\r\n\r\n")

    def get_status(self, status: str) -> None:
        self.answer(status=int(status))

    def get_redirect(self, left: str) -> None:
        count = int(left)
        self.answer(b"moved", 302, Location=f"/redirect/{count - 1}" if count > 1 else "/hello")

    def get_set_cookie(self) -> None:
        self.answer(Set_Cookie="id=7; Path=/cookies")

    def get_cookies(self) -> None:
        self.answer(self.headers.get("Cookie", "none").encode())

    def get_slow(self, duration_ms: str) -> None:
        time.sleep(int(duration_ms) / 1000)
        self.answer(b"slow")

    def get_short(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"not all of it")
        self.close_connection = True

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(data)

    do_PUT = do_POST

    def get_websocket(self) -> None:
        head = f"GET {self.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        ws = WSConnection(ConnectionType.SERVER)
        ws.receive_data(head.encode() + b"\r\n")
        self.close_connection = True
        while True:
            for event in ws.events():
                if isinstance(event, Request):
                    self.connection.sendall(ws.send(AcceptConnection()))
                elif isinstance(event, TextMessage | BytesMessage):
                    # A message may come in parts, and goes back in those.
                    kind = type(event)
                    self.connection.sendall(ws.send(kind(data=event.data, message_finished=event.message_finished)))
                elif isinstance(event, CloseConnection):
                    self.connection.sendall(ws.send(event.response()))
                    return
            data = self.connection.recv(65536)
            if not data:
                return
            ws.receive_data(data)


def proxy(listener: socket.socket) -> None:
    """CONNECT, and http:// URLs whose server closes; with the user `me` and the password `secret`."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_proxied, args=(connection,), daemon=True).start()


def _proxied(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        _proxy(connection)


def _proxy(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    if b"proxy-authorization: basic bwu6c2vjcmv0" not in head.lower():
        connection.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        connection.close()
        return
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        there = socket.create_connection((host.strip("[]"), int(port)))
        connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
    else:
        authority, _, path = target.removeprefix("http://").partition("/")
        host, _, port = authority.partition(":")
        there = socket.create_connection((host, int(port or 80)))
        lines = [line for line in head.split(b"\r\n")[1:] if not line.lower().startswith(b"proxy-")]
        first = f"{method} /{path} HTTP/1.1".encode()
        rest = b"\r\n".join([first, b"X-Proxied: yes", *lines]) + b"\r\n\r\n" + rest
    there.sendall(rest)
    pairs = {connection: there, there: connection}
    while True:
        for ready in select.select(list(pairs), [], [])[0]:
            try:
                data = ready.recv(65536)
                pairs[ready].sendall(data)
            except OSError:
                data = b""
            if not data:
                connection.close()
                there.close()
                return


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    context: ssl.SSLContext | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        # In the connection's own thread: a handshake that takes its time holds up nobody else.
        if self.context is not None:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        if self.context is not None:
            request.unwrap()  # type: ignore[attr-defined]


def main() -> None:
    host, *files = sys.argv[1:]
    server = _Server((host, 0), Handler)
    if files:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(*files)
    listener = socket.create_server((host, 0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=proxy, args=(listener,), daemon=True).start()
    print(server.server_address[1], listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
