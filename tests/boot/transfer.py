# SPDX-License-Identifier: MIT
"""Both sides of a transfer over the kernel's sockets, each a process: the receiver tells the hash of what came.

transfer.py receive ADDRESS PORT COUNT      prints "listening", then the SHA-256 in hexadecimal
transfer.py send ADDRESS PORT COUNT SEED    prints the SHA-256 of what it sent
"""

from __future__ import annotations

import hashlib
import random
import socket
import sys

BLOCK_BYTES = 1 << 18
TIMEOUT_S = 120


def receive(address: str, port: int, count: int) -> str:
    """Take `count` octets from one connection."""
    digest = hashlib.sha256()
    with socket.create_server((address, port)) as listener:
        listener.settimeout(TIMEOUT_S)
        print("listening", flush=True)
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(TIMEOUT_S)
            while count:
                data = sock.recv(min(count, BLOCK_BYTES))
                if not data:
                    break
                digest.update(data)
                count -= len(data)
    return digest.hexdigest()


def send(address: str, port: int, count: int, seed: int) -> str:
    """Send `count` octets out of `seed`."""
    data = random.Random(seed).randbytes(count)
    with socket.create_connection((address, port), timeout=TIMEOUT_S) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        # Its end says that everything has arrived.
        sock.recv(1)
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    way, address, *numbers = sys.argv[1:]
    print({"receive": receive, "send": send}[way](address, *map(int, numbers)))
