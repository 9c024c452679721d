# SPDX-License-Identifier: MIT
"""What is asked of web servers while their processor time is counted: handshakes, downloads, requests by wrk.

The client's own time is nobody's concern, so most of it is CPython's ssl: it says which suite it got, and whether it
resumed.
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.machine import CLIENT_TIMEOUT_S, GuestError

TIMEOUT_S = 60.0
SUITE = "TLS_AES_128_GCM_SHA256"
READ_BYTES = 1 << 18
_REQUESTS = re.compile(r"(\d+) requests in ")
_ERRORS = re.compile(r"Socket errors: (.*)|Non-2xx or 3xx responses: (\d+)")


@dataclass(frozen=True)
class Address:
    """Where a server is."""

    host: str
    port: int
    is_secure: bool = True


def client_context() -> ssl.SSLContext:
    """TLS 1.3 over X25519. The certificates here are signed by nobody: what is measured is the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ecdh_curve("X25519")
    return context


def _request(path: str, connection: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench.test\r\nConnection: {connection}\r\n\r\n".encode()


def _read_answer(plain: socket.socket, into: bytearray) -> int:
    """Reads one answer with a Content-Length; its body's octets. GuestError for any but 200."""
    count = plain.recv_into(into)
    head_end = into.find(b"\r\n\r\n", 0, count)
    while head_end < 0 and count:
        more = plain.recv_into(memoryview(into)[count:])
        count = count + more if more else 0
        head_end = into.find(b"\r\n\r\n", 0, count)
    head = bytes(into[: max(0, head_end)])
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if not head.startswith(b"HTTP/1.1 200") or length is None:
        raise GuestError(f"answered {bytes(into[: min(count, 60)])!r}")
    size, have = int(length[1]), count - head_end - 4
    while have < size:
        more = plain.recv_into(into)
        if not more:
            raise GuestError(f"ended after {have} of {size} octets")
        have += more
    return size


@contextmanager
def connected(
    address: Address, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
) -> Iterator[socket.socket]:
    """A connection, with TLS where the address says so."""
    with ExitStack() as stack:
        sock: socket.socket = stack.enter_context(socket.create_connection((address.host, address.port), TIMEOUT_S))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.is_secure:
            context = context or client_context()
            sock = stack.enter_context(
                context.wrap_socket(sock, server_hostname="bench.test", session=session, suppress_ragged_eofs=False)
            )
        yield sock


def handshakes(address: Address, count: int, path: str, is_resumed: bool = False) -> None:
    """So many connections with one request each; all but one resumed, or none. GuestError where it was not so."""
    context, session, buffer = client_context(), None, bytearray(READ_BYTES)
    for number in range(count):
        with connected(address, context, session) as sock:
            assert isinstance(sock, ssl.SSLSocket)
            cipher = sock.cipher()
            if cipher is None or cipher[0] != SUITE:
                raise GuestError(f"speaks {cipher}, not {SUITE}")
            sock.sendall(_request(path, "close"))
            _read_answer(sock, buffer)
            if sock.session_reused is not (session is not None):
                raise GuestError(f"connection {number}: resumed is {sock.session_reused}")
            if is_resumed:
                session = sock.session


def download(sock: socket.socket, path: str) -> int:
    """Asks for `path` as the connection's last; its body's octets."""
    sock.sendall(_request(path, "close"))
    return _read_answer(sock, bytearray(READ_BYTES))


def downloads(address: Address, count: int, path: str) -> int:
    """Asks for `path` so often on one connection; the bodies' octets."""
    buffer = bytearray(READ_BYTES)
    with connected(address) as sock:
        octets = 0
        for _ in range(count):
            sock.sendall(_request(path, "keep-alive"))
            octets += _read_answer(sock, buffer)
    return octets


def wrk(address: Address, path: str, connections: int, seconds: float) -> int:
    """Requests that wrk had answered, all of them with 200, on connections that it keeps."""
    program = shutil.which("wrk")
    if program is None:
        raise GuestError("wrk is not installed (Debian package wrk)")
    url = f"{'https' if address.is_secure else 'http'}://{address.host}:{address.port}{path}"
    command = [program, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False)
    found, bad = _REQUESTS.search(done.stdout), _ERRORS.search(done.stdout)
    if found is None or bad is not None or int(found[1]) == 0:
        raise GuestError(f"wrk: {bad[0] if bad else (done.stderr or done.stdout).strip()[-200:]}")
    return int(found[1])
