# SPDX-License-Identifier: MIT
"""CPython's ssl beside a guest: what test_tls_flows.py runs where the guest's network is. Prints one JSON object."""

import argparse
import json
import socket
import ssl
import sys
import time
from typing import Any

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def connect(options: argparse.Namespace, session: ssl.SSLSession | None = None, **more: Any) -> ssl.SSLSocket:
    context = more.pop("context", None) or made(options)
    plain = socket.create_connection((options.host, options.port), timeout=60)
    return context.wrap_socket(plain, server_hostname=options.name, session=session)


def made(options: argparse.Namespace) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.ca)
    if options.version:
        context.minimum_version = context.maximum_version = VERSIONS[options.version]
    return context


def read_exactly(stream: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        data = stream.recv(min(count, 1 << 16))
        if not data:
            raise ConnectionError("the end came too early")
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def echo(options: argparse.Namespace) -> dict[str, Any]:
    """Sizes through and back, an orderly end, and the session again."""
    context = made(options)
    session = None
    resumed = []
    wrong = []
    for _ in range(2):
        with connect(options, session, context=context) as stream:
            for size in (1, 1000, 16384, 16385, 200_000):
                data = bytes(range(256)) * (size // 256 + 1)
                stream.sendall(data[:size])
                if read_exactly(stream, size) != data[:size]:
                    wrong.append(size)
            resumed.append(stream.session_reused)
            session = stream.session
            found = {"version": stream.version(), "cipher": stream.cipher()}
            stream.unwrap()
    return {**found, "resumed": resumed, "wrong": wrong}


def line(options: argparse.Namespace) -> dict[str, Any]:
    with connect(options) as stream:
        stream.sendall(b"hello\n")
        return {"answer": read_exactly(stream, 6).decode(), "version": stream.version()}


def name(options: argparse.Namespace) -> dict[str, Any]:
    try:
        connect(options)
    except ssl.SSLCertVerificationError as error:
        return {"refused": error.verify_message}
    return {"refused": None}


def silent(options: argparse.Namespace) -> dict[str, Any]:
    """Connections that say nothing, more than may be half open; one that was there before, and one that comes now."""
    healthy = connect(options)
    quiet = [socket.create_connection((options.host, options.port), timeout=60) for _ in range(options.count)]
    with connect(options) as late:
        for stream in (healthy, late):
            stream.sendall(b"ping")
            if read_exactly(stream, 4) != b"ping":
                return {"healthy": False}
    ended = 0
    for stream in quiet:
        try:
            if stream.recv(1) == b"":
                ended += 1
        except ConnectionResetError:
            ended += 1
        stream.close()
    healthy.close()
    return {"healthy": True, "ended": ended}


def garbage(options: argparse.Namespace) -> dict[str, Any]:
    with socket.create_connection((options.host, options.port), timeout=60) as stream:
        stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
        stream.shutdown(socket.SHUT_WR)
        answer = b""
        while data := stream.recv(100):
            answer += data
    return {"answer": answer.hex()}


def idle(options: argparse.Namespace) -> dict[str, Any]:
    """The guest's heap in octets for each of many connections that do nothing, or have not even begun with TLS.

    text: the control port. Without a version they are connections to there.
    """
    there = argparse.Namespace(host=options.host, port=int(options.text), text="heap")
    held: list[socket.socket] = []

    def hold(count: int) -> int:
        for _ in range(count):
            if options.version:
                held.append(connect(options))
                held[-1].sendall(b"x")
                read_exactly(held[-1], 1)
            else:
                held.append(socket.create_connection((there.host, there.port), timeout=60))
        return int(ask(there)["answer"])

    before = hold(5)  # what the first one brings with it is not an idle connection's
    after = hold(options.count)
    for stream in held:
        stream.close()
    return {"each": (after - before) / options.count}


def ask(options: argparse.Namespace) -> dict[str, Any]:
    with socket.create_connection((options.host, options.port), timeout=60) as stream:
        stream.sendall(options.text.encode())
        answer = b""
        while data := stream.recv(1000):
            answer += data
    return {"answer": answer.decode()}


def serve(options: argparse.Namespace) -> dict[str, Any]:
    """A server for the guest: takes connections until its input ends; first it prints its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.ca.replace("ca.pem", "site.pem"))
    if options.version:
        context.minimum_version = context.maximum_version = VERSIONS[options.version]
    listener = socket.create_server((options.host, 0))
    listener.settimeout(60)
    print(listener.getsockname()[1], flush=True)
    for _ in range(options.count):
        plain, _ = listener.accept()
        try:
            with context.wrap_socket(plain, server_side=True) as stream:
                stream.sendall(stream.recv(1000))
                stream.recv(1)
        except (ssl.SSLError, OSError) as error:
            print(error, file=sys.stderr)
    return {}


SCENARIOS = {function.__name__: function for function in (echo, line, name, silent, garbage, idle, ask, serve)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--ca", default="")
    parser.add_argument("--name", default="localhost")
    parser.add_argument("--version", choices=VERSIONS)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--text", default="")
    options = parser.parse_args()
    started = time.monotonic()
    result = SCENARIOS[options.scenario](options)
    print(json.dumps({**result, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main()
