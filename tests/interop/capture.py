# SPDX-License-Identifier: MIT
"""Captures what crosses an interface, with the kernel's note beside each frame on what is left to offloads.

AF_PACKET with PACKET_VNET_HDR: a frame whose checksum is partial, or which is to be cut into segments, says so.
"""

from __future__ import annotations

import ctypes
import math
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from tests.interop.network import Namespace

CLONE_NEWNET = 0x40000000  # linux/sched.h
SOL_PACKET, PACKET_VNET_HDR = 263, 15  # linux/socket.h, linux/if_packet.h
PACKET_OUTGOING = 4
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
# struct virtio_net_hdr: flags, GSO type, header length, segment size, checksum start and offset.
VNET = struct.Struct("<BBHHHH")
NEEDS_CSUM = 1
GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_ECN = 1, 3, 4, 0x80
BUFFER_BYTES = 64 << 20
FRAME_MAX = 65536 + VNET.size + 64
LIMIT = 20_000  # frames that are kept


@dataclass(frozen=True)
class Captured:
    """A frame that the guest sent (is_ours) or got; the header says what is left to do with it."""

    data: bytes
    is_ours: bool
    needs_csum: bool
    gso_type: int
    gso_size: int
    csum_start: int
    csum_offset: int
    when_s: float  # time.monotonic()


def open_in(namespace: Namespace, interface: str, protocol: int = ETH_P_ALL) -> socket.socket:
    """A packet socket on an interface of another namespace."""
    made: list[socket.socket | OSError] = []
    libc = ctypes.CDLL(None, use_errno=True)

    def make() -> None:
        # A namespace is a thread's: this one ends here, the socket stays where it was made.
        fd = os.open(namespace.prefix[1].removeprefix("--net="), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            sock.bind((interface, protocol))
            made.append(sock)
        except OSError as error:
            made.append(error)
        finally:
            os.close(fd)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


@dataclass
class Capture:
    """Frames as they come, in a thread, at most LIMIT of them; `missed` counts the others."""

    sock: socket.socket
    frames: list[Captured] = field(default_factory=list)
    missed: int = 0

    def start(self) -> Self:
        self.sock.settimeout(0.1)
        self._is_ending, self._end_s = False, math.inf
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def _read(self) -> None:
        while time.monotonic() < self._end_s:
            try:
                data, address = self.sock.recvfrom(FRAME_MAX)
            except TimeoutError:
                if self._is_ending:
                    return
                continue
            now_s = time.monotonic()
            if len(self.frames) >= LIMIT:
                self.missed += 1
                continue
            flags, gso_type, _, gso_size, start, offset = VNET.unpack_from(data)
            needs_csum = bool(flags & NEEDS_CSUM)
            is_ours = address[2] != PACKET_OUTGOING
            frame = Captured(data[VNET.size :], is_ours, needs_csum, gso_type, gso_size, start, offset, now_s)
            self.frames.append(frame)

    def stop(self) -> None:
        """Ends it when nothing more has come for a moment, or after some seconds; what was on its way is in."""
        self._is_ending, self._end_s = True, time.monotonic() + 5
        self._thread.join(10)
        self.sock.close()

    @property
    def ours(self) -> list[Captured]:
        """What the guest sent."""
        return [frame for frame in self.frames if frame.is_ours]


@contextmanager
def capturing(namespace: Namespace, interface: str = "tap0") -> Iterator[Capture]:
    """Captures while the block runs."""
    capture = Capture(open_in(namespace, interface)).start()
    try:
        yield capture
    finally:
        capture.stop()
