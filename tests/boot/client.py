# SPDX-License-Identifier: MIT
"""The real client of the boot tests: one process, the kernel's sockets, a JSON line as its answer.

A process of its own, so that the same client runs on loopback and, under `ip netns exec`, beside a TAP device.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import select
import socket
import struct
import sys
import threading
import time

BLOCK_BYTES = 1 << 16


def open_connection(host: str, port: int, timeout_s: float) -> socket.socket:
    """Connect, and set the options that every scenario wants."""
    sock = socket.create_connection((host, port), timeout=timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Read `count` octets, or fewer when the peer closes first."""
    chunks = []
    while count:
        chunk = sock.recv(min(count, BLOCK_BYTES))
        if not chunk:
            break
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def echo(sock: socket.socket, payload: bytes) -> bool:
    """Send `payload` while reading it back: a server that blocks on its own output is no reason to hang here."""
    sender = threading.Thread(target=sock.sendall, args=(payload,), daemon=True)
    sender.start()
    answer = read_exactly(sock, len(payload))
    sender.join()
    return answer == payload


def sizes(host: str, port: int, timeout_s: float, seed: int) -> dict[str, object]:
    """Payloads from 1 to 200,000 octets: the small ones, every power of two and its neighbours, and random ones."""
    rng = random.Random(seed)
    wanted = set(range(1, 33)) | {1459, 1460, 1461, 65535, 65536, 65537, 199_999, 200_000}
    wanted |= {size for bit in range(6, 18) for size in ((1 << bit) - 1, 1 << bit, (1 << bit) + 1)}
    wanted |= {rng.randint(1, 200_000) for _ in range(20)}
    wrong = []
    with open_connection(host, port, timeout_s) as sock:
        for size in sorted(wanted):
            if not echo(sock, rng.randbytes(size)):
                wrong.append(size)
    return {"tried": len(wanted), "wrong": wrong, "seed": seed}


def closes(host: str, port: int, timeout_s: float) -> dict[str, object]:
    """RFC 862: the server echoes until the end of the input, and closes then."""
    with open_connection(host, port, timeout_s) as sock:
        sock.sendall(b"last words")
        sock.shutdown(socket.SHUT_WR)
        return {"answer": read_exactly(sock, 1000).decode(), "closed": sock.recv(1) == b""}


def sequential(host: str, port: int, timeout_s: float, count: int) -> dict[str, object]:
    """`count` connections one after the other, each echoing its number."""
    wrong = 0
    for number in range(count):
        with open_connection(host, port, timeout_s) as sock:
            payload = b"connection %d" % number
            wrong += not echo(sock, payload)
            sock.shutdown(socket.SHUT_WR)
            wrong += sock.recv(1) != b""
    return {"connections": count, "wrong": wrong}


def parallel(host: str, port: int, timeout_s: float, count: int) -> dict[str, object]:
    """`count` connections open at the same time, each echoing several payloads in turn with the others."""
    sockets = [open_connection(host, port, timeout_s) for _ in range(count)]
    wrong = 0
    for turn in range(5):
        payloads = [random.Random(turn * count + index).randbytes(3000) for index in range(count)]
        for sock, payload in zip(sockets, payloads, strict=True):
            sock.sendall(payload)
        for sock, payload in zip(sockets, payloads, strict=True):
            wrong += read_exactly(sock, len(payload)) != payload
    for sock in sockets:
        sock.close()
    return {"connections": count, "wrong": wrong}


def bulk(host: str, port: int, timeout_s: float, count: int) -> dict[str, object]:
    """`count` octets through one connection and back, compared by their hash."""
    rng = random.Random(count)
    block = rng.randbytes(1 << 20)
    sent_hash, received_hash = hashlib.sha256(), hashlib.sha256()
    sent = received = 0
    started = time.monotonic()
    with open_connection(host, port, timeout_s) as sock:
        sock.setblocking(False)
        pending = memoryview(b"")
        while received < count:
            if not pending and sent < count:
                # The block is turned by another offset each time, so that a segment lost or swapped shows.
                offset = (sent // len(block)) % len(block)
                pending = memoryview(block[offset:] + block[:offset])[: count - sent]
                sent_hash.update(pending)
                sent += len(pending)
            readable, writable, _ = select.select([sock], [sock] if pending else [], [], timeout_s)
            if not readable and not writable:
                return {"error": f"nothing moved for {timeout_s} s", "sent": sent, "received": received}
            if readable:
                chunk = sock.recv(1 << 18)
                if not chunk:
                    return {"error": "the server closed early", "sent": sent, "received": received}
                received_hash.update(chunk)
                received += len(chunk)
            if writable:
                pending = pending[sock.send(pending) :]
    seconds = time.monotonic() - started
    equal = received == count and sent_hash.digest() == received_hash.digest()
    return {"bytes": count, "equal": equal, "seconds": round(seconds, 3)}


def reset(host: str, port: int, timeout_s: float, count: int) -> dict[str, object]:
    """Clients that reset the connection in the middle of a transfer; then a healthy one must still be served."""
    for _ in range(count):
        sock = open_connection(host, port, timeout_s)
        sock.sendall(b"x" * 30_000)
        sock.recv(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    with open_connection(host, port, timeout_s) as sock:
        return {"resets": count, "healthy": echo(sock, b"still there?")}


def ask(host: str, port: int, timeout_s: float, text: str) -> dict[str, object]:
    """Send one line, read the answer to its end: the probe application's control port."""
    with open_connection(host, port, timeout_s) as sock:
        sock.sendall(text.encode() + b"\n")
        chunks = []
        while chunk := sock.recv(BLOCK_BYTES):
            chunks.append(chunk)
    return {"answer": b"".join(chunks).decode()}


def main() -> int:
    """Run the scenario that the command line names and print its result as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=["sizes", "closes", "sequential", "parallel", "bulk", "reset", "ask"])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seed", type=int, default=862)
    parser.add_argument("--text", default="")
    parser.add_argument("--timeout", type=float, default=30.0)
    args = parser.parse_args()
    try:
        if args.scenario == "sizes":
            result = sizes(args.host, args.port, args.timeout, args.seed)
        elif args.scenario == "closes":
            result = closes(args.host, args.port, args.timeout)
        elif args.scenario == "ask":
            result = ask(args.host, args.port, args.timeout, args.text)
        else:
            counted = {"sequential": sequential, "parallel": parallel, "bulk": bulk, "reset": reset}
            result = counted[args.scenario](args.host, args.port, args.timeout, args.count)
    except OSError as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))
    return 0 if "error" not in result else 1


if __name__ == "__main__":
    sys.exit(main())
