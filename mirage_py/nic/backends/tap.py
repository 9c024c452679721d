# SPDX-License-Identifier: MIT
"""A Linux TAP interface, with a virtio-net header: checksums and large segments pass through it unfinished."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable

from mirage_py.nic.frame import GSO_TCPV4, GSO_TCPV6, GSO_UDP, Frame
from mirage_py.support.errors import UserError

# <linux/if_tun.h>.
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_TUN_F_CSUM = 0x01
_TUN_F_TSO4 = 0x02
_TUN_F_TSO6 = 0x04
# Large datagrams: Linux 6.2 and newer, and both only together.
_TUN_F_USO = 0x20 | 0x40

# struct virtio_net_hdr: flags, GSO type, header length, GSO size, checksum start and offset.
_HEADER = struct.Struct("<BBHHHH")
_NEEDS_CSUM = 1
_DATA_VALID = 2
_NO_HEADER = bytes(_HEADER.size)
_UDP_HEADER_BYTES = 8
_READ_BYTES = 65536 + 18 + _HEADER.size


class TapBackend:
    """A TAP interface that exists already, or that this process may create. Raises UserError."""

    is_cable = False  # what is not read waits in the kernel, which drops and counts it there

    def __init__(self, name: str, offloads: bool = True) -> None:
        self.takes_offloads = offloads
        self.takes_datagrams = False
        self.name = name
        try:
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(
                f"/dev/net/tun: {error.strerror}", "load the tun module, or use the user-mode network"
            ) from error
        try:
            request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
            fcntl.ioctl(self._fd, _TUNSETIFF, request)
            fcntl.ioctl(self._fd, _TUNSETVNETHDRSZ, struct.pack("i", _HEADER.size))
            self._set_offloads(offloads)
        except OSError as error:
            os.close(self._fd)
            remedy = f"create it for this user: ip tuntap add {name} mode tap user $USER"
            raise UserError(f"TAP interface {name}: {error.strerror}", remedy) from error

    def _set_offloads(self, offloads: bool) -> None:
        if not offloads:
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, 0)
            return
        flags = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6
        try:
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, flags | _TUN_F_USO)
            self.takes_datagrams = True
        except OSError:
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, flags)

    def send(self, frames: list[Frame]) -> int:
        for number, frame in enumerate(frames):
            header = _NO_HEADER
            if frame.gso_size:
                header = _HEADER.pack(
                    _NEEDS_CSUM, frame.gso_type, frame.hdr_len, frame.gso_size, frame.csum_start, frame.csum_offset
                )
            elif frame.csum_start:
                header = _HEADER.pack(_NEEDS_CSUM, 0, 0, 0, frame.csum_start, frame.csum_offset)
            try:
                os.writev(self._fd, [header, *frame.parts])
            except BlockingIOError:
                return number
            except OSError:
                # The interface is down, or the kernel thinks nothing of this frame: lost, as on a wire.
                continue
        return len(frames)

    def receive(self, limit: int) -> list[Frame]:
        frames = []
        fd = self._fd
        for _ in range(limit):
            try:
                data = os.read(fd, _READ_BYTES)
            except OSError:
                break
            if len(data) < _HEADER.size + 14:
                continue
            flags, gso_type, hdr_len, gso_size, start, offset = _HEADER.unpack_from(data)
            frame = Frame([memoryview(data)[_HEADER.size :]], len(data) - _HEADER.size)
            kind = gso_type & 0x7F
            if gso_size and kind in (GSO_TCPV4, GSO_TCPV6, GSO_UDP):
                frame.gso_size, frame.gso_type = gso_size, kind
                frame.csum_start, frame.csum_offset = start, offset
                # The kernel's header length is a hint only: the transport's header says it.
                if kind == GSO_UDP:
                    frame.hdr_len = start + _UDP_HEADER_BYTES if start else hdr_len
                else:
                    frame.hdr_len = start + (data[_HEADER.size + start + 12] >> 4) * 4 if start else hdr_len
            elif flags & _NEEDS_CSUM:
                frame.csum_start, frame.csum_offset = start, offset
            elif flags & _DATA_VALID:
                frame.is_checked = True
            frames.append(frame)
        return frames

    def fileno(self) -> int:
        return self._fd

    def on_ready(self, callback: Callable[[], None]) -> None:
        pass

    def set_link(self, up: bool) -> None:
        pass

    def on_link(self, callback: Callable[[bool], None]) -> None:
        pass

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
