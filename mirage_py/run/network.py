# SPDX-License-Identifier: MIT
"""The guest's networks as QEMU is told: addresses, forwarded ports, the user-mode network, TAP devices, wires."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mirage_py.run.cards import Card, assign, is_named, named
from mirage_py.run.image import Image
from mirage_py.run.link import Link
from mirage_py.run.options import Forward, RunOptions, parse_publish
from mirage_py.support.errors import UserError

USER_GUEST = ipaddress.IPv4Interface("10.0.2.15/24")  # what QEMU's user-mode network hands out first
USER_GATEWAY = ipaddress.IPv4Address("10.0.2.2")
TAP_GUEST = ipaddress.IPv4Interface("10.0.0.2/24")  # the default of the runtime key --ipv4
MIN_COVERING_PREFIX = 8  # of a network around a guest with a /32 and its gateway
FIRST_UNPRIVILEGED_PORT = 1024
REPLACEMENT_BASE = 8000
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True)
class Network:
    """What a network card of the guest is attached to.

    number: which of the image's devices it is, from 0.
    guest: the guest's address, and with it the network's. host: the gateway on it, the TAP's address. A card without
        a stack has none of its own; there they are the network's.
    guest_args: boot arguments that tell the guest so, where the user did not.
    tap: the device's name; link: the wire to another guest; neither for the user-mode network, which has the forwards.
    """

    card: Card
    number: int
    guest: ipaddress.IPv4Interface
    host: ipaddress.IPv4Address
    mac: str
    tap: str | None = None
    forwards: list[Forward] = field(default_factory=list)
    guest_args: list[str] = field(default_factory=list)
    link: Link | None = None
    pcap: Path | None = None

    @property
    def on_link(self) -> ipaddress.IPv4Network:
        """The network that guest and host are both in. A guest with a /32, as clouds give it, does not know of it."""
        return covering(self.guest, self.host)

    @property
    def is_user_mode(self) -> bool:
        """Whether it is on QEMU's user-mode network."""
        return self.tap is None and self.link is None


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


def uses_dhcp(image: Image, card: Card, arguments: list[str], *, has_server: bool) -> bool:
    """Whether the stack on `card` asks for its address. has_server: somebody answers, if nothing else is said."""
    key, address_key = card.keys.get("dhcp"), card.keys.get("ipv4", "")
    if key is None:
        return False
    asked = switch(arguments, key)
    if asked is None and key in image.defaults:
        asked = image.defaults[key] == "True"
    if asked is None:
        asked = has_server and argument(arguments, address_key) is None and address_key not in image.defaults
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


def covering(guest: ipaddress.IPv4Interface, host: ipaddress.IPv4Address) -> ipaddress.IPv4Network:
    """The guest's network, or with a /32 one that has `host` in it too: of 256 addresses, or as many as it takes."""
    found = guest.network
    if found.prefixlen == 32:
        found = found.supernet(new_prefix=24)
    while guest.network.prefixlen == 32 and host not in found and found.prefixlen > MIN_COVERING_PREFIX:
        found = found.supernet()
    return found


def require_prefix(key: str, given: str | None) -> None:
    """Raises UserError for an address that lacks its prefix length: nobody else would say what is missing."""
    try:
        ipaddress.IPv4Address(given or "")
    except ValueError:
        return
    raise UserError(f"--{key} {given}: the prefix length is missing", f"write it as in --{key} {given}/24")


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
    # What it is each time, as long as nobody else has it.
    usual = next((port for port in candidates if port <= 65535 and (proto, port) not in taken), None)
    for port in candidates:
        if port <= 65535 and (proto, port) not in taken and is_free("127.0.0.1", port, proto):
            return Forward(port, guest_port, proto=proto, instead_of=usual if port != usual else None)
    return Forward(_any_port("127.0.0.1", proto, taken), guest_port, proto=proto, instead_of=usual)


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


def plan(image: Image, options: RunOptions, links: Mapping[str, Link] | None = None) -> list[Network]:
    """Decide what each network card of `image` is attached to, in the order of its note, those left out left out.

    links: card's name -> its end of the wire, where --link asks for one.
    Raises UserError for a published port that cannot be had, for addresses that do not fit together, for a TAP or a
    file that two cards would share, and for options that name a card that the image does not have.
    """
    links = links or {}
    cards = attached(image, options)
    taps = assign(options.tap, cards, "--tap", taken=links)
    for name in taps:
        if name in links:
            raise UserError(f"{name} cannot have both --tap and --link", "give each card one of them")
    if len(set(taps.values())) < len(taps):
        raise UserError(f"--tap: two cards on the same TAP device ({', '.join(taps.values())})", "name one for each")
    pcaps = _pcaps(options.pcap, cards)
    found: list[Network] = []
    for card in cards:
        number = image.cards.index(card)
        found.append(_plan_card(image, options, card, number, taps.get(card.name), links.get(card.name)))
        found[-1] = replace(found[-1], pcap=pcaps.get(card.name))
    # The application's ports are where its first stack is; behind a card without one there may be a host too.
    reachable = [network for network in found if network.is_user_mode]
    first = next((network for network in reachable if network.card.keys), None)
    if first is None and options.publish:
        first = next(iter(reachable), None)
    if first is not None:
        forwards = choose_forwards(image, options) if first.card.keys else _published(options)
        found[found.index(first)] = replace(first, forwards=forwards)
    elif options.publish:
        raise UserError(
            "--publish: no card of the guest is on the user-mode network, which forwards ports",
            "a guest on a TAP device or a link is reached at its own address; leave --publish out",
        )
    return found


def attached(image: Image, options: RunOptions) -> list[Card]:
    """The network cards of `image` that `run` attaches. Raises UserError for a --without that names none."""
    absent = {named(image.cards, name, f"--without {name}").name for name in options.without}
    return [card for card in image.cards if card.network and card.name not in absent]


def plan_links(image: Image, options: RunOptions, claim: Callable[[Path], Link]) -> dict[str, Link]:
    """Card's name -> the end of a wire that `claim` gives. Raises UserError."""
    cards = attached(image, options)
    taps = assign([text for text in options.tap if is_named(text)], cards, "--tap")
    loose = sum(not is_named(text) for text in options.tap)
    free = [card.name for card in cards if card.name not in taps]
    # Of what names no card, the TAPs come first.
    given = assign(options.link, cards, "--link", taken={*taps, *free[:loose]})
    return {name: claim(Path(path)) for name, path in given.items()}


def _pcaps(values: list[str], cards: list[Card]) -> dict[str, Path]:
    loose = [text for text in values if not is_named(text)]
    found = {name: Path(text) for name, text in assign([v for v in values if is_named(v)], cards, "--pcap").items()}
    if len(loose) > 1:
        raise UserError(f"--pcap {loose[1]}: {loose[0]} is the file already", "give CARD=FILE for each card")
    for position, card in enumerate(cards if loose else ()):
        path = Path(loose[0])
        found.setdefault(card.name, path.with_suffix(f".{card.name}{path.suffix}") if position else path)
    if len({path.absolute() for path in found.values()}) < len(found):
        raise UserError("--pcap: two cards in the same file", "give each a file of its own")
    for path in found.values():
        if not path.absolute().parent.is_dir():
            raise UserError(f"--pcap {path}: there is no such directory", "make it first")
        if path.is_dir():
            raise UserError(f"--pcap {path}: it is a directory", "name a file in it")
    return found


def _default_guest(number: int, end: int | None, tap: str | None) -> ipaddress.IPv4Interface:
    """Cards are in different networks; but both ends of a wire are in one."""
    if end is not None:
        return ipaddress.IPv4Interface(f"10.255.0.{1 + end}/24")
    if not number:
        return TAP_GUEST if tap else USER_GUEST
    return ipaddress.IPv4Interface(f"10.{number}.0.2/24" if tap else f"10.0.{2 + number}.15/24")


def _plan_card(
    image: Image, options: RunOptions, card: Card, number: int, tap: str | None, link: Link | None
) -> Network:
    arguments = options.guest_args
    key, gateway_key = card.keys.get("ipv4", ""), card.keys.get("ipv4-gateway", "")
    require_prefix(key, argument(arguments, key))
    given_ipv4, given_gateway = _given_address(arguments, key), _given_address(arguments, gateway_key)
    default = _default_guest(number, link.end if link else None, tap)
    guest = ipaddress.IPv4Interface(given_ipv4) if given_ipv4 else default
    if given_gateway:
        host = ipaddress.IPv4Interface(given_gateway).ip
    elif guest == default and guest.network != TAP_GUEST.network and not tap and not link:
        host = guest.network.network_address + 2
    elif guest.network == USER_GUEST.network:
        host = USER_GATEWAY
    else:
        host = next((address for address in guest.network.hosts() if address != guest.ip), guest.ip)
    if host == guest.ip or host not in covering(guest, host):
        raise UserError(
            f"the guest's address {guest} leaves the host's side of its network no address (gateway {host})",
            f"give --{key} and --{gateway_key} of one network, "
            f"for example --{key} 10.0.0.2/24 --{gateway_key} 10.0.0.1",
        )
    added = []
    # The user-mode network hands out the very same addresses.
    if not uses_dhcp(image, card, arguments, has_server=not tap and not link):
        if key and argument(arguments, key) is None:
            added += [f"--{key}", str(guest)]
        if gateway_key and argument(arguments, gateway_key) is None:
            added += [f"--{gateway_key}", str(host)]
    seed = tap or (f"{link.path}.{link.end}" if link else image.name)
    return Network(
        card=card,
        number=number,
        guest=guest,
        host=host,
        mac=mac_address(f"{seed}/{card.name}" if number else seed),
        tap=tap,
        link=link,
        guest_args=added,
    )


def netdev(network: Network, tap_fd: int | None) -> str:
    """The -netdev value. tap_fd: the TAP's descriptor as QEMU inherits it; None names the device instead."""
    identifier = f"id=net{network.number}"
    if network.tap is not None:
        if tap_fd is not None:
            return f"tap,{identifier},fd={tap_fd}"
        return f"tap,{identifier},ifname={network.tap},script=no,downscript=no,vnet_hdr=on"
    if network.link is not None:
        # QEMU's option syntax: a comma inside a value is doubled.
        local, remote = (str(path).replace(",", ",,") for path in (network.link.local, network.link.remote))
        return f"dgram,{identifier},local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"
    parts = ["user", identifier]
    if network.guest.network != USER_GUEST.network or network.host != USER_GATEWAY:
        parts += [f"net={network.on_link}", f"host={network.host}"]
    parts += [
        f"hostfwd={forward.proto}:{forward.host_address}:{forward.host_port}-{network.guest.ip}:{forward.guest_port}"
        for forward in network.forwards
    ]
    return ",".join(parts)
