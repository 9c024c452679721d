# SPDX-License-Identifier: MIT
"""Duplicate address detection and addresses from router advertisements (RFC 4862); how they are made (RFC 7217)."""

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6

from libos.net.ip.addresses import DEPRECATED, DUPLICATE, MAX_ADDRESSES, PREFERRED, TENTATIVE
from libos.net.ip.routers import RETRIES, TWO_HOURS_MS, _is_reserved, interface_id
from libos.wire import ipv6
from tests.net.link.test_rfc4861 import advertise_router
from tests.net.peer6 import EVIL_MAC, Peer6
from tests.net.world import World

HOUR_MS = 3_600_000
PREFIX = "2001:db8:1::"


def detecting(world, **ipv6_options):
    """A host that looks whether its addresses are somebody's."""
    options = {"dad_transmits": 1, "accept_router_advertisements": True, "stable_secret": "a secret", **ipv6_options}
    return world.host("fd00::2/64", ipv6=options)


def peer_of(world, host):
    peer = Peer6(world, host)
    duplicates = peer.duplicates = []
    host.ipv6.on_duplicate = duplicates.append
    return peer


def states(host):
    return {ipv6.format_address(address.ip): address.state for address in host.ipv6.addresses.all()}


def made(host):
    """The addresses made from prefixes."""
    return [address for address in host.ipv6.addresses.all() if address.is_autoconf]


# --- duplicate address detection, section 5.4 ---


def test_address_is_tentative_until_nobody_claimed_it(world):
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=500)
    assert set(states(host).values()) == {TENTATIVE}
    assert host.ipv6.source_for(ipv6.parse_address("fd00::9")) is None
    assert not host.udp.write(b"x", "fd00::9", 9, 9, world.now_ms)
    peer.solicit(dst="fd00::2")
    # It asks within the first second, at a time that is random (section 5.4.2).
    sent = peer.take()
    assert not [packet for packet in sent if ICMPv6ND_NA in packet]
    world.run(for_ms=2000)
    assert set(states(host).values()) == {PREFERRED}
    sent += peer.take()
    asked = [packet for packet in sent if ICMPv6ND_NS in packet and packet[ICMPv6ND_NS].tgt == "fd00::2"]
    assert len(asked) == 1
    assert (asked[0][IPv6].src, asked[0][IPv6].dst, asked[0][IPv6].hlim) == ("::", "ff02::1:ff00:2", 255)
    assert asked[0].dst == "33:33:ff:00:00:02"
    assert len(bytes(asked[0][ICMPv6ND_NS])) == 24  # no MAC
    peer.solicit(dst="fd00::2")
    assert len(peer.take(ICMPv6ND_NA)) == 1


def test_two_hosts_with_the_same_address(world):
    first, second = detecting(world), None
    world.run(for_ms=5000)
    second = detecting(world)
    peer = peer_of(world, second)
    world.run(for_ms=5000)
    assert states(first)["fd00::2"] == PREFERRED
    assert states(second)["fd00::2"] == DUPLICATE
    assert peer.duplicates == ["fd00::2"]
    assert second.ipv6.counters["DuplicateAddresses"] == 1
    assert not second.ipv6.is_ours(ipv6.parse_address("fd00::2"))
    # Its other address works.
    assert second.ipv6.addresses.link_local() is not None


def test_two_hosts_that_ask_at_the_same_time_both_give_up(world):
    hosts = [detecting(world), detecting(world)]
    world.run(for_ms=5000)
    assert [states(host)["fd00::2"] for host in hosts].count(PREFERRED) < 2


@pytest.mark.parametrize("claim", ["advertisement", "detection"])
def test_claim_while_tentative(world, claim):
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=10)
    if claim == "advertisement":
        peer.advertise(target="fd00::2", dst="ff02::1", solicited=0, src="fd00::2", mac=EVIL_MAC)
    else:
        peer.solicit(target="fd00::2", src="::", dst="ff02::1:ff00:2", mac=None)
    world.run(for_ms=5000)
    assert states(host)["fd00::2"] == DUPLICATE
    assert peer.duplicates == ["fd00::2"]


def test_claim_of_an_address_in_use_is_counted_and_changes_nothing(world):
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=5000)
    for _ in range(10):
        peer.advertise(target="fd00::2", src="fd00::9", dst="ff02::1", solicited=0, mac=EVIL_MAC)
    assert host.ndp.counters["Conflicts"] == 10
    assert set(states(host).values()) == {PREFERRED}
    assert peer.duplicates == []


def test_link_local_address_that_is_taken_is_made_anew(world):
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=1)
    taken = next(text for text in states(host) if text.startswith("fe80"))
    peer.advertise(target=taken, dst="ff02::1", solicited=0, src=taken, mac=EVIL_MAC)
    world.run(for_ms=5000)
    ours = ipv6.format_address(host.ipv6.addresses.link_local())
    assert ours != taken
    assert peer.duplicates == [taken]


def test_every_link_local_address_is_taken_ends_after_some_tries(world):
    host = detecting(world)
    peer = peer_of(world, host)
    for _ in range(10):
        for text, state in states(host).items():
            if text.startswith("fe80") and state == TENTATIVE:
                peer.advertise(target=text, dst="ff02::1", solicited=0, src=text, mac=EVIL_MAC)
        world.run(for_ms=100)
    world.run(for_ms=10_000)
    assert len([text for text in peer.duplicates if text.startswith("fe80")]) == RETRIES + 1
    assert host.ipv6.addresses.link_local() is None
    assert states(host)["fd00::2"] == PREFERRED


# --- addresses from prefixes, section 5.5 ---


def test_address_is_made_from_a_prefix_and_used_outside(world):
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=5000)
    advertise_router(peer, prefix=PREFIX)
    (address,) = made(host)
    assert address.state == TENTATIVE
    world.run(for_ms=3000)
    assert address.state == PREFERRED
    assert ipv6.format_address(address.ip).startswith("2001:db8:1:0:")
    assert host.ipv6.source_for(ipv6.parse_address("2001:db8:9::1")) == address.ip
    assert host.ipv6.source_for(ipv6.parse_address("fd00::9")) == ipv6.parse_address("fd00::2")


def test_lifetimes_preferred_then_deprecated_then_gone(world):
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=5000)
    lost = []
    host.tcp.address_lost = lambda ip, address: lost.append(address)
    advertise_router(peer, prefix=PREFIX, valid=300, preferred=100)
    (address,) = made(host)
    world.run(for_ms=50_000)
    assert address.state == PREFERRED
    world.run(for_ms=51_000)
    assert address.state == DEPRECATED
    assert host.ipv6.is_ours(address.ip)
    world.run(for_ms=200_000)
    assert made(host) == []
    assert not host.ipv6.is_ours(address.ip)
    assert lost == [address.ip]
    assert ipv6.solicited_node(address.ip) not in host.ipv6.mld.groups()


@pytest.mark.parametrize(
    ("left_s", "valid_s", "expected_s"),
    [
        (36_000, 20_000, 20_000),  # more than two hours: taken
        (3600, 3700, 3700),  # more than what is left: taken
        (3600, 60, 3600),  # two hours or less are left: nobody shortens it
        (3600, 0, 3600),
        (36_000, 60, 7200),  # more are left: two hours stay
        (36_000, 0, 7200),
        (36_000, 0xFFFFFFFF, None),
    ],
)
def test_two_hour_rule(world, left_s, valid_s, expected_s):
    """Section 5.5.3 e: a forged advertisement does not take an address away."""
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=5000)
    advertise_router(peer, prefix=PREFIX, valid=left_s, preferred=60)
    advertise_router(peer, prefix=PREFIX, valid=valid_s, preferred=0)
    (address,) = made(host)
    assert address.state in (TENTATIVE, DEPRECATED)
    if expected_s is None:
        assert address.valid_ms - world.now_ms > 1 << 50
    else:
        assert address.valid_ms - world.now_ms == expected_s * 1000
    assert TWO_HOURS_MS == 2 * HOUR_MS


def test_preferred_lifetime_of_an_address_that_is_somebody_elses_ends_quietly(world):
    """Its timer used to fire for ever: nothing becomes of it but its end."""
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=5000)
    advertise_router(peer, prefix=PREFIX, valid=300, preferred=60)
    for _ in range(100):
        for address in made(host):
            if address.state == TENTATIVE:
                text = ipv6.format_address(address.ip)
                peer.advertise(target=text, dst="ff02::1", solicited=0, src=text, mac=EVIL_MAC)
        world.run(for_ms=100)
    assert [address.state for address in made(host)] == [DUPLICATE]
    world.run(for_ms=55_000)
    assert [address.state for address in made(host)] == [DUPLICATE]
    world.run(for_ms=300_000)
    assert made(host) == []


def test_preferred_again(world):
    host = detecting(world)
    peer = peer_of(world, host)
    advertise_router(peer, prefix=PREFIX, valid=7200, preferred=1)
    world.run(for_ms=5000)
    (address,) = made(host)
    assert address.state == DEPRECATED
    advertise_router(peer, prefix=PREFIX, valid=7200, preferred=3600)
    assert address.state == PREFERRED


@pytest.mark.parametrize(
    "change",
    [{"prefix_len": 48}, {"prefix_len": 72}, {"autonomous": 0}, {"valid": 0, "preferred": 0}, {"prefix": "fe80::"}],
    ids=str,
)
def test_prefix_that_makes_no_address(world, change):
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=5000)
    advertise_router(peer, **{"prefix": PREFIX, **change})
    assert made(host) == []


def test_made_address_that_is_taken_is_made_anew_three_times(world):
    host = detecting(world)
    peer = peer_of(world, host)
    world.run(for_ms=5000)
    advertise_router(peer, prefix=PREFIX)
    seen = set()
    for _ in range(200):
        for address in made(host):
            if address.state == TENTATIVE:
                text = ipv6.format_address(address.ip)
                seen.add(text)
                peer.advertise(target=text, dst="ff02::1", solicited=0, src=text, mac=EVIL_MAC)
        world.run(for_ms=50)
    assert len(seen) == RETRIES + 1
    assert sorted(peer.duplicates) == sorted(seen)
    assert [address.state for address in made(host)] == [DUPLICATE]
    advertise_router(peer, prefix=PREFIX)
    assert len(made(host)) == 1


def test_number_of_addresses_is_bounded(world):
    host = detecting(world)
    peer = peer_of(world, host)
    for number in range(50):
        advertise_router(peer, prefix=f"2001:db8:{number:x}::")
    assert len(host.ipv6.addresses.all()) == MAX_ADDRESSES
    assert len(host.ipv6.mld.groups()) <= MAX_ADDRESSES


# --- RFC 7217 ---


def test_address_is_stable_for_a_network_and_tells_nothing_to_others():
    mac = b"\x52\x54\x00\x12\x34\x56"
    first, second = bytes.fromhex("20010db800010000"), bytes.fromhex("20010db800020000")
    ids = {
        interface_id(first, mac, 0, b"secret"),
        interface_id(second, mac, 0, b"secret"),
        interface_id(first, mac, 1, b"secret"),
        interface_id(first, mac, 0, b"another"),
        interface_id(first, b"\x52\x54\x00\x12\x34\x57", 0, b"secret"),
    }
    assert len(ids) == 5
    assert interface_id(first, mac, 0, b"secret") in ids
    assert all(len(octets) == 8 and mac[3:] not in octets for octets in ids)


@pytest.mark.parametrize(
    ("octets", "is_reserved"),
    [
        ("0000000000000000", True),
        ("02005efffe001234", True),
        ("fdffffffffffff80", True),
        ("fdffffffffffffff", True),
        ("fdffffffffffff7f", False),
        ("0000000000000001", False),
        ("02005efffd000000", False),
    ],
)
def test_reserved_identifiers_are_not_used(octets, is_reserved):
    assert _is_reserved(bytes.fromhex(octets)) == is_reserved


@pytest.mark.parametrize("secret", ["the same", None])
def test_same_addresses_at_each_boot_with_a_secret_only(secret):
    def boot(seed):
        world = World(seed=seed)
        host = detecting(world, stable_secret=secret)
        world.run(for_ms=5000)
        advertise_router(peer_of(world, host), prefix=PREFIX)
        return sorted(states(host))

    assert (boot(1) == boot(2)) == (secret is not None)
