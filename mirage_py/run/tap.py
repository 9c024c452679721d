# SPDX-License-Identifier: MIT
"""TAP devices of the host: opened, and made and removed again where they were not there (pyroute2)."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from mirage_py.support import process
from mirage_py.support.errors import UserError

TUN_DEVICE = "/dev/net/tun"
# linux/sockios.h, linux/if.h
SIOCGIFFLAGS = 0x8913
IFF_UP = 1
# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000


def exists(name: str) -> bool:
    """Whether there is a network interface of this name."""
    # Not by /sys: it may show another network namespace than ours.
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def is_up(name: str) -> bool:
    """Whether the interface `name` is up, as an administrator sets it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
        except OSError:
            return False
    flags: int = struct.unpack_from("H", answer, 16)[0]
    return bool(flags & IFF_UP)


def _refusal(name: str, error: OSError) -> UserError:
    if error.errno in (errno.EPERM, errno.EACCES):
        if exists(name):
            return UserError(
                f"TAP device {name} is not yours to open",
                f"have it made for you: `sudo ip link delete {name}; sudo ip tuntap add {name} mode tap user $USER`",
            )
        return UserError(
            f"TAP device {name} is not there, and making one needs root",
            f"`sudo ip tuntap add {name} mode tap user $USER`, then give it an address and set it up; or use sudo",
        )
    if error.errno == errno.EBUSY:
        return UserError(f"TAP device {name} is in use", "stop the guest that holds it, or name another one")
    if error.errno == errno.EINVAL:
        return UserError(f"interface {name} is not a TAP device (of one queue)", "name another one")
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return UserError(f"{TUN_DEVICE} is not there", "load the module: `sudo modprobe tun`")
    return UserError(f"TAP device {name}: {error.strerror}")


def open_tap(name: str) -> int:
    """Attach to the TAP device `name`, with a vnet header; one that is not there lives as long as the descriptor.

    Raises UserError when the rights do not suffice, or it is in use or no TAP.
    """
    try:
        fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _refusal(name, error) from None
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    except OSError as error:
        os.close(fd)
        raise _refusal(name, error) from None
    return fd


def bring_up(name: str, host: ipaddress.IPv4Interface | None) -> None:
    """Give the new interface `name` its address, None for none, and set it up.

    Raises UserError when the kernel refuses, for example because the address's network is routed elsewhere.
    """
    # pyroute2 takes a tenth of a second to load: only who makes a TAP pays for it.
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as ip:
            (index,) = ip.link_lookup(ifname=name)
            if host is not None:
                ip.addr("add", index=index, address=str(host.ip), prefixlen=host.network.prefixlen)
            ip.link("set", index=index, state="up")
    except (NetlinkError, OSError, ValueError) as error:
        raise UserError(
            f"TAP device {name} cannot be set up with {host or 'no address'} ({error})", "choose another --ipv4"
        ) from None


@contextmanager
def lasting(name: str, host: ipaddress.IPv4Interface) -> Iterator[None]:
    """A TAP device for a program that opens it by name: made before, removed behind, unless it was there.

    Raises UserError when it is not there and the rights to make it are not either.
    """
    if exists(name):
        yield
        return
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    is_made = False
    try:
        try:
            with IPRoute() as ip, process.signals_held():
                ip.link("add", ifname=name, kind="tuntap", mode="tap")
                is_made = True
        except NetlinkError as error:
            raise _refusal(name, OSError(error.code, os.strerror(error.code))) from None
        bring_up(name, host)
        yield
    finally:
        with IPRoute() as ip, process.signals_held():
            for index in ip.link_lookup(ifname=name) if is_made else ():
                ip.link("del", index=index)
