# SPDX-License-Identifier: MIT
"""The guest's network as QEMU is told: addresses, forwarded ports, the user-mode network or a TAP device."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from mirage_py.errors import UserError
from mirage_py.run.image import Image
from mirage_py.run.options import Forward, RunOptions, parse_publish

USER_GUEST = ipaddress.IPv4Interface("10.0.2.15/24")  # what QEMU's user-mode network hands out first
USER_GATEWAY = ipaddress.IPv4Address("10.0.2.2")
TAP_GUEST = ipaddress.IPv4Interface("10.0.0.2/24")  # the default of the runtime key --ipv4
FIRST_UNPRIVILEGED_PORT = 1024
REPLACEMENT_BASE = 8000
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True)
class Network:
    """What the guest's interface is attached to.

    guest: the guest's address, and with it the network's. host: the gateway on it, the TAP's address.
    guest_args: boot arguments that tell the guest so, where the user did not.
    forwards: for the user-mode network. tap: the device's name, None for the user-mode network.
    """

    guest: ipaddress.IPv4Interface
    host: ipaddress.IPv4Address
    mac: str
    tap: str | None = None
    forwards: list[Forward] = field(default_factory=list)
    guest_args: list[str] = field(default_factory=list)


def argument(arguments: Iterable[str], key: str) -> str | None:
    """The value of `--key VALUE` or `--key=VALUE` in boot arguments; the last one counts."""
    found, is_next = None, False
    for word in arguments:
        if is_next:
            found, is_next = word, False
        elif word == f"--{key}":
            is_next = True
        elif word.startswith(f"--{key}="):
            found = word.partition("=")[2]
    return found


def switch(arguments: Iterable[str], key: str) -> bool | None:
    """What `--key`, `--no-key` or `--key=true` in boot arguments say; the last one counts, None where there is none."""
    found = None
    for word in arguments:
        name, _, value = word.partition("=")
        if name in (f"--{key}", f"--no-{key}"):
            found = name == f"--{key}" and value in ("", "true", "yes", "1")
    return found


def uses_dhcp(image: Image, arguments: list[str], *, has_server: bool) -> bool:
    """Whether the guest asks for its address. has_server: somebody will answer, if nothing else is said."""
    if "dhcp" not in image.keys:
        return False
    asked = switch(arguments, "dhcp")
    if asked is None and "dhcp" in image.defaults:
        asked = image.defaults["dhcp"] == "True"
    if asked is None:
        asked = has_server and argument(arguments, "ipv4") is None and "ipv4" not in image.defaults
    return asked


def _given_address(arguments: list[str], key: str) -> str | None:
    # One that does not parse is the guest's to refuse: it knows the words for it.
    given = argument(arguments, key)
    try:
        if given is not None:
            ipaddress.IPv4Interface(given)
    except ValueError:
        return None
    return given


def mac_address(seed: str) -> str:
    """A locally administered MAC address, the same for the same `seed`: two guests on one bridge must differ."""
    digest = hashlib.sha256(seed.encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x52, 0x54, 0x00, *digest[:3]))


def is_free(address: str, port: int, proto: str) -> bool:
    """Whether `port` can be bound here and now.

    Raises UserError when `address` is not one of this host's.
    """
    with socket.socket(socket.AF_INET, _KINDS[proto]) as sock:
        if proto == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
            if proto == "tcp":
                sock.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UserError(f"{address} is not an address of this host", "leave it out for 127.0.0.1") from None
            return False
    return True


def _any_port(address: str, proto: str, taken: set[tuple[str, int]]) -> int:
    while True:
        with socket.socket(socket.AF_INET, _KINDS[proto]) as sock:
            sock.bind((address, 0))
            port = int(sock.getsockname()[1])
        if (proto, port) not in taken:
            return port


def default_forward(guest_port: int, proto: str, taken: set[tuple[str, int]]) -> Forward:
    """Forward a guest port from 127.0.0.1, from the same number where an ordinary user can have it, else 8000 above."""
    candidates = [guest_port] if guest_port >= FIRST_UNPRIVILEGED_PORT else []
    candidates.append(REPLACEMENT_BASE + guest_port)
    for port in candidates:
        if port <= 65535 and (proto, port) not in taken and is_free("127.0.0.1", port, proto):
            return Forward(port, guest_port, proto=proto)
    return Forward(_any_port("127.0.0.1", proto, taken), guest_port, proto=proto)


def _published(options: RunOptions) -> list[Forward]:
    forwards = [parse_publish(text) for text in options.publish]
    for index, forward in enumerate(forwards):
        address, port, proto = forward.host_address, forward.host_port, forward.proto
        clash = any(
            (other.host_port, other.proto) == (port, proto) and {other.host_address, address} & {address, "0.0.0.0"}
            for other in forwards[:index]
        )
        if clash or not is_free(address, port, proto):
            why = "needs root" if port < FIRST_UNPRIVILEGED_PORT and not clash else "is taken"
            raise UserError(
                f"--publish: host port {address}:{port}/{proto} {why}",
                f"choose another one, for example --publish {REPLACEMENT_BASE + port % 1000}:{forward.guest_port}",
            )
    return forwards


def choose_forwards(image: Image, options: RunOptions) -> list[Forward]:
    """The forwards that were asked for, and one for each of the image's ports that none was asked for.

    A port whose runtime key stands among the boot arguments is the port given there.
    Raises UserError when a published host port cannot be had.
    """
    forwards = _published(options)
    served = {(forward.proto, forward.guest_port) for forward in forwards}
    for port in image.ports:
        given = argument(options.guest_args, port.key) if port.key else None
        number = int(given) if given and given.isascii() and given.isdigit() and int(given) <= 65535 else port.port
        if (port.proto, number) in served:
            continue
        served.add((port.proto, number))
        taken = {(forward.proto, forward.host_port) for forward in forwards}
        forwards.append(default_forward(number, port.proto, taken))
    return forwards


def plan(image: Image, options: RunOptions) -> Network:
    """Decide the addresses and ports of `image`'s network interface.

    Raises UserError for a published port that cannot be had and for addresses that do not fit together.
    """
    arguments = options.guest_args
    given_ipv4, given_gateway = _given_address(arguments, "ipv4"), _given_address(arguments, "ipv4-gateway")
    guest = ipaddress.IPv4Interface(given_ipv4) if given_ipv4 else (TAP_GUEST if options.tap else USER_GUEST)
    if given_gateway:
        host = ipaddress.IPv4Interface(given_gateway).ip
    elif guest.network == USER_GUEST.network:
        host = USER_GATEWAY
    else:
        host = next((address for address in guest.network.hosts() if address != guest.ip), guest.ip)
    if host == guest.ip or host not in guest.network:
        raise UserError(
            f"the guest's address {guest} leaves the host's side of its network no address (gateway {host})",
            "give --ipv4 and --ipv4-gateway of one network, for example --ipv4 10.0.0.2/24 --ipv4-gateway 10.0.0.1",
        )
    added = []
    # The user-mode network hands out the very same addresses.
    is_told = not uses_dhcp(image, arguments, has_server=not options.tap)
    if is_told and "ipv4" in image.keys and argument(arguments, "ipv4") is None:
        added += ["--ipv4", str(guest)]
    if is_told and "ipv4-gateway" in image.keys and argument(arguments, "ipv4-gateway") is None:
        added += ["--ipv4-gateway", str(host)]
    return Network(
        guest=guest,
        host=host,
        mac=mac_address(options.tap or image.name),
        tap=options.tap,
        forwards=[] if options.tap else choose_forwards(image, options),
        guest_args=added,
    )


def netdev(network: Network, tap_fd: int | None) -> str:
    """The -netdev value. tap_fd: the TAP's descriptor as QEMU inherits it; None names the device instead."""
    if network.tap is not None:
        if tap_fd is not None:
            return f"tap,id=net0,fd={tap_fd}"
        return f"tap,id=net0,ifname={network.tap},script=no,downscript=no,vnet_hdr=on"
    parts = ["user", "id=net0"]
    if network.guest.network != USER_GUEST.network or network.host != USER_GATEWAY:
        parts += [f"net={network.guest.network}", f"host={network.host}"]
    parts += [
        f"hostfwd={forward.proto}:{forward.host_address}:{forward.host_port}-{network.guest.ip}:{forward.guest_port}"
        for forward in network.forwards
    ]
    return ",".join(parts)
