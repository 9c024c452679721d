# SPDX-License-Identifier: MIT
"""A name server for tests: `name_server.py ADDRESS [SAYS]` says SAYS (192.0.2.7) for every A, else nothing."""

from __future__ import annotations

import socket
import struct
import sys


def main() -> None:
    """Answer until killed."""
    says = socket.inet_aton(sys.argv[2] if len(sys.argv) > 2 else "192.0.2.7")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((sys.argv[1], 53))
        print("ready", flush=True)
        while True:
            query, client = sock.recvfrom(2048)
            end = query.index(b"\0", 12) + 5
            is_a = query[end - 3] == 1
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + says
            head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(is_a), 0, 0)
            sock.sendto(head + query[12:end] + (record if is_a else b""), client)


if __name__ == "__main__":
    main()
