# SPDX-License-Identifier: MIT
"""What must be survived of those on the same link: ARP, Neighbour Discovery, routers' advertisements, MLD."""

import struct

import pytest

from libos.net.ip import routers
from libos.net.link import ndp, neighbours
from libos.wire import arp, ethernet, icmp6, ipv6
from tests.net.peer import neighbour_message
from tests.net.survival import FAMILIES, Siege, assert_it_shows

EVIL_MAC = b"\x52\x54\x00\x00\x00\x66"
QUESTION, ANSWER = 1, 2  # of ARP; of Neighbour Discovery a solicitation, an advertisement
LISTENING = {"accept_router_advertisements": True}
ROUTER = ipv6.parse_address("fe80::1")


def say(siege, what, ip, mac=EVIL_MAC, target_ip=None, flags=0, ttl=255):
    """A frame by which `ip` asks the host for its MAC, or tells its own. flags, ttl: of Neighbour Discovery."""
    host_mac = siege.host.device.mac
    if siege.family == 4:
        packet = bytearray(42)
        ethernet.emit(packet, 0, host_mac, mac, ethernet.ETHERTYPE_ARP)
        operation = arp.REQUEST if what == QUESTION else arp.REPLY
        arp.emit(packet, 14, operation, mac, ip, host_mac, target_ip or siege.host_ip)
        return bytes(packet)
    kind, option = icmp6.NEIGHBOUR_SOLICITATION, icmp6.SOURCE_MAC
    if what == ANSWER:
        kind, option = icmp6.NEIGHBOUR_ADVERTISEMENT, icmp6.TARGET_MAC
    target_ip = target_ip or (siege.host_ip if what == QUESTION else ip)
    return neighbour_message(kind, flags, target_ip, option, mac, ip, siege.host_ip, host_mac, ttl)


# --- of both ---


@FAMILIES
def test_flood_of_questions(family):
    """Each from another neighbour, and from strangers to the network: those are answered at most."""
    with Siege(
        "neighbours.InSolicits" if family == 6 else "neighbours.InRequests", family, heap_slack=64 << 10
    ) as siege:
        for turn in range(12):
            strangers = [siege.stranger(turn * 50 + number) for number in range(50)]
            siege.inject(*[say(siege, QUESTION, ip) for ip in strangers])
            if turn % 4 == 0:
                siege.talk()
        assert siege.tables()["neighbours"] <= 256


@FAMILIES
def test_flood_of_answers_that_nobody_asked_for(family):
    with Siege("neighbours.InUnsolicited", family) as siege:
        before = siege.tables()["neighbours"]
        for turn in range(10):
            strangers = [siege.stranger(turn * 20 + number) for number in range(50)]
            siege.inject(*[say(siege, ANSWER, ip, flags=icmp6.SOLICITED | icmp6.OVERRIDE) for ip in strangers])
        assert siege.tables()["neighbours"] == before


@FAMILIES
@pytest.mark.parametrize("what", [QUESTION, ANSWER], ids=["asks", "answers"])
def test_another_mac_for_the_friend(family, what):
    """The healthy connection goes on while it is claimed: who has the old MAC is asked, and answers."""
    with Siege("neighbours.InUnsolicited", family) as siege:
        for turn in range(60):
            siege.inject(say(siege, what, siege.friend_ip))
            siege.world.run(for_ms=100)
            if turn % 20 == 10:
                siege.talk()
        assert siege.layer.neighbours.lookup(siege.friend_ip, siege.world.now_ms) == siege.friend.device.mac


def test_another_mac_for_the_friend_with_override():
    """Neighbour Discovery believes that one (RFC 4861 section 7.2.5), and asks it: it is silent, the friend is back."""
    with Siege("ndp.Failures", 6) as siege:
        siege.inject(say(siege, ANSWER, siege.friend_ip, flags=icmp6.OVERRIDE))
        assert siege.layer.neighbours.lookup(siege.friend_ip, siege.world.now_ms) == EVIL_MAC
        siege.talk()
        assert siege.layer.neighbours.lookup(siege.friend_ip, siege.world.now_ms) == siege.friend.device.mac


@FAMILIES
def test_claims_of_our_own_address(family):
    with Siege("neighbours.Conflicts", family) as siege:
        for number in range(100):
            siege.inject(
                say(siege, ANSWER, siege.host_ip if family == 4 else siege.stranger(number), target_ip=siege.host_ip)
            )
        siege.talk()
        assert siege.layer.is_ours(siege.host_ip)


@FAMILIES
def test_neighbours_that_never_answer(family):
    """Hundreds are talked to: what waits for their MACs is bounded, and others are asked for at the same time."""
    with Siege("neighbours.TableFull", family, heap_slack=64 << 10) as siege:
        for number in range(200):
            siege.host.udp.write(
                b"x" * 500, siege.layer.format_address(siege.stranger(number)), 9, 9, siege.world.now_ms
            )
            if number % 20 == 0:
                siege.world.settle()
        assert siege.tables()["held"] <= 32
        siege.talk()


# --- Neighbour Discovery ---


def message(siege, kind, rest, options, code=0, ttl=255, src_ip=None, dst_ip=None):
    return siege.control(struct.pack(">BBH", kind, code, 0) + rest + options, src_ip, dst_ip, ttl=ttl)


SOURCE = bytes([icmp6.SOURCE_MAC, 1]) + EVIL_MAC


def advertisement(siege, number, lifetime_s=60, options=SOURCE, **fields):
    """Of router `number`: a prefix, an MTU, a name server."""
    prefix = struct.pack(">BBBBIIIQQ", 3, 4, 64, 0xC0, 60, 60, 0, 0x20010DB8 << 32 | number, 0)
    server = struct.pack(">BBHIQQ", 25, 3, 0, 60, 0x20010DB8 << 32, number)
    rest = struct.pack(">BBHII", 64, 0, lifetime_s, 0, 0)
    src_ip = ROUTER[:8] + struct.pack(">Q", number)
    options += prefix + struct.pack(">BBHI", 5, 1, 0, 1400) + server
    return message(siege, icmp6.ROUTER_ADVERTISEMENT, rest, options, **{"src_ip": src_ip, **fields})


def each(siege, options=SOURCE, **fields):
    """One message of each kind, in the name of the friend, or of a router."""
    about = bytes(4) + siege.friend_ip
    from_friend = {"src_ip": siege.friend_ip, **fields}
    from_router = {"src_ip": ROUTER, **fields}
    return [
        message(siege, icmp6.NEIGHBOUR_SOLICITATION, bytes(4) + siege.host_ip, options, **from_friend),
        message(siege, icmp6.NEIGHBOUR_ADVERTISEMENT, b"\x20\0\0\0" + about[4:], options, **from_friend),
        message(siege, icmp6.ROUTER_ADVERTISEMENT, struct.pack(">BBHII", 64, 0, 60, 0, 0), options, **from_router),
        message(siege, icmp6.REDIRECT, about + siege.friend_ip, options, **from_router),
    ]


@pytest.mark.parametrize("ttl", [0, 1, 64, 254])
def test_discovery_from_beyond_a_router(ttl):
    """A hop limit that is not 255: no neighbour said that."""
    with Siege("ndp.InErrors", 6, options=LISTENING) as siege:
        before = siege.layer.neighbours.entries()
        for number in range(50):
            siege.inject(*each(siege, ttl=ttl), advertisement(siege, 1 + number, ttl=ttl))
        assert siege.layer.neighbours.entries() == before
        assert siege.layer.routers.known() == ([], [])


def test_discovery_that_contradicts_itself():
    """Options of length 0 and past the end, a code, messages cut short."""
    with Siege("ndp.InErrors", 6, options=LISTENING) as siege:
        before = siege.layer.neighbours.entries()
        for options in (b"\1\0" + EVIL_MAC, b"\1\2" + EVIL_MAC, b"\1\xff" + EVIL_MAC, b"\1", SOURCE + b"\2", bytes(8)):
            siege.inject(*each(siege, options))
        siege.inject(*each(siege, code=1))
        for whole in each(siege, b""):
            for length in range(4, len(whole) - siege.at):
                body = whole[siege.at : siege.at + length]
                siege.inject(siege.control(body, siege.friend_ip, ttl=255))
        assert siege.layer.neighbours.entries() == before
        assert siege.layer.routers.known() == ([], [])


def test_discovery_in_fragments():
    """RFC 6980: who watches over the link could not look at it."""
    with Siege("icmp6.InErrors", 6) as siege:
        before = siege.layer.neighbours.entries()
        for ident in range(50):
            body = say(siege, ANSWER, siege.friend_ip, flags=icmp6.OVERRIDE)[siege.at :]
            body = siege.control(body + bytes([14, 10]) + bytes(78), siege.friend_ip)[siege.at :]
            for at in range(0, len(body), 64):
                header = bytearray(8)
                ipv6.emit_fragment(header, 0, 58, at, at + 64 < len(body), ident)
                part = bytes(header) + body[at : at + 64]
                siege.inject(siege.packet(part, ipv6.FRAGMENT, siege.friend_ip, ttl=255))
        assert siege.layer.neighbours.entries() == before


def test_macs_that_no_host_has():
    """A group's MAC, and nobody's, for somebody new."""
    with Siege("ndp.InSolicits", 6) as siege:
        before = siege.tables()["neighbours"]
        for number, mac in enumerate((b"\x33\x33\0\0\0\1", b"\xff" * 6, bytes(6))):
            siege.inject(say(siege, QUESTION, siege.stranger(100 + number), mac))
            siege.inject(say(siege, ANSWER, siege.friend_ip, mac, flags=icmp6.OVERRIDE))
            siege.talk()
        known = [mac for _, _, mac in siege.layer.neighbours.entries() if mac is not None]
        assert all(not mac[0] & 1 and any(mac) for mac in known)
        assert siege.tables()["neighbours"] <= before + 3  # who is being asked for


def test_flood_of_router_advertisements():
    """Of hundreds of routers, each with a prefix, a narrower MTU and a name server; and then all are taken back."""
    with Siege("ipv6.RouterIgnored", 6, options=LISTENING, heap_slack=64 << 10) as siege:
        addresses = siege.tables()["addresses"]
        for turn in range(10):
            siege.inject(*[advertisement(siege, 1 + turn * 20 + number) for number in range(20)])
            siege.talk()
            tables = siege.tables()
            assert tables["routers"] <= 8
            assert tables["prefixes"] <= 16
            assert tables["name servers"] <= 4
            assert addresses < tables["addresses"] <= 16
        siege.inject(*[advertisement(siege, 1 + number, lifetime_s=0) for number in range(200)])
        assert siege.tables()["routers"] == 0


def test_flood_of_redirects():
    with Siege("ndp.InRedirects", 6, options=LISTENING) as siege:
        for number in range(200):
            about = bytes(4) + siege.stranger(number) + siege.friend_ip
            siege.inject(message(siege, icmp6.REDIRECT, about, b"\2\1" + EVIL_MAC, src_ip=ROUTER))
        siege.talk()
        assert siege.layer.next_hop(siege.friend_ip) == siege.friend_ip


def test_flood_of_questions_whether_an_address_is_free():
    """Duplicate address detection of ours, of the friend's, and of hundreds of others."""
    with Siege("ndp.OutAdverts", 6) as siege:
        for number in range(200):
            target_ip = (siege.host_ip, siege.friend_ip, siege.stranger(number))[number % 3]
            group = ipv6.solicited_node(target_ip)
            siege.inject(
                message(siege, icmp6.NEIGHBOUR_SOLICITATION, bytes(4) + target_ip, b"", src_ip=bytes(16), dst_ip=group)
            )
        assert siege.layer.is_ours(siege.host_ip)


# --- MLD ---


def listener_message(siege, kind, rest, src_ip=ROUTER, ttl=1):
    """A message of MLD to all nodes, with a router alert as it must have."""
    group = ipv6.ALL_NODES
    body = siege.control(struct.pack(">BBH", kind, 0, 0) + rest, src_ip, group)[siege.at :]
    alert = bytearray(8)
    ipv6.emit_router_alert(alert, 0, 58)
    return siege.packet(bytes(alert) + body, ipv6.HOP_BY_HOP, src_ip, group, ttl=ttl)


def test_flood_of_queries_for_groups():
    with Siege("mld.InGroupMembQueries", 6) as siege:
        for _ in range(300):
            group = siege.rng.choice(
                [bytes(16), ipv6.solicited_node(siege.host_ip), b"\xff\x05" + siege.rng.randbytes(14)]
            )
            delay_ms = siege.rng.choice([0, 1, 1000, 65_535])
            version2 = siege.rng.choice([b"", b"\2\x7d\0\0"])
            siege.inject(listener_message(siege, icmp6.MLD_QUERY, struct.pack(">HH", delay_ms, 0) + group + version2))
        siege.talk()


def test_queries_that_make_no_sense():
    """Cut short, with more sources than there are, from no router, and from beyond one."""
    with Siege("mld.InErrors", 6) as siege:
        whole = bytes(20) + b"\2\x7d\0\0"
        for length in range(4, 24):
            siege.inject(listener_message(siege, icmp6.MLD_QUERY, whole[:length]))
        siege.inject(listener_message(siege, icmp6.MLD_QUERY, whole[:22] + b"\xff\xff"))
        siege.inject(listener_message(siege, icmp6.MLD_QUERY, whole, src_ip=siege.ip))
        siege.inject(listener_message(siege, icmp6.MLD_QUERY, whole, ttl=255))


# --- the attacks again, with the defence taken away: what is above can fail ---


def believe(table, ip, mac, now_ms):
    entry = table._table.get(ip)
    if entry is None:
        return table._admit(ip, mac, now_ms)
    table._stale(entry, mac, now_ms)
    return entry


WITHOUT = {
    "any hop limit": (
        lambda: test_discovery_from_beyond_a_router(64),
        lambda patch: patch.setattr(ndp, "HOP_LIMIT", 64),
    ),
    "a table without a limit": (
        lambda: test_flood_of_questions(6),
        lambda patch: patch.setattr(neighbours, "MAX_ENTRIES", 1 << 30),
    ),
    "routers without a limit": (
        test_flood_of_router_advertisements,
        lambda patch: patch.setattr(routers, "MAX_ROUTERS", 1 << 30),
    ),
    "whoever asks is believed": (
        lambda: test_another_mac_for_the_friend(6, QUESTION),
        lambda patch: patch.setattr(ndp.Ndp, "learn", believe),
    ),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_without_the_defence_it_shows(monkeypatch, name):
    assert_it_shows(monkeypatch, *WITHOUT[name])
