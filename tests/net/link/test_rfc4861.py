# SPDX-License-Identifier: MIT
"""Neighbour Discovery (RFC 4861): the states of a neighbour, what changes an entry and what must not, routers."""

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Raw

from libos.net.ip import routers as net_routers
from libos.net.link import ndp as net_ndp
from libos.net.link import neighbours
from libos.net.link.neighbours import DELAY, FAILED, INCOMPLETE, PROBE, REACHABLE, STALE
from libos.wire import ipv6
from tests.net.peer6 import EVIL_MAC, IP, MAC, Peer6

ADDRESS = ipv6.parse_address(IP)
ROUTER = "fe80::1"


def octets(mac):
    return bytes.fromhex(mac.replace(":", ""))


@pytest.fixture
def host(world):
    return world.host("fd00::2/64", ipv6={"accept_router_advertisements": True})


@pytest.fixture
def peer(world, host):
    peer = Peer6(world, host)
    world.run(for_ms=20_000)  # what is said at the start is over
    peer.take()
    return peer


def write(peer, to=IP):
    return peer.host.udp.write(b"x", to, 9, 9, peer.world.now_ms)


def entry(peer, address=ADDRESS):
    return [(state, mac) for ip, state, mac in peer.host.ndp.entries() if ip == address]


# --- address resolution, section 7.2 ---


def test_solicitation_is_what_scapy_expects(world, peer):
    write(peer)
    world.settle()
    (packet,) = peer.take()
    assert packet.dst == "33:33:ff:00:00:09"
    assert (packet[IPv6].src, packet[IPv6].dst, packet[IPv6].hlim) == (peer.host.ip, "ff02::1:ff00:9", 255)
    assert packet[ICMPv6ND_NS].tgt == IP
    assert octets(packet[ICMPv6NDOptSrcLLAddr].lladdr) == peer.host.device.mac
    given_sum = packet[ICMPv6ND_NS].cksum
    del packet[ICMPv6ND_NS].cksum
    assert IPv6(bytes(packet[IPv6]))[ICMPv6ND_NS].cksum == given_sum
    assert entry(peer) == [(INCOMPLETE, None)]


def test_frames_wait_for_the_answer_and_leave_in_order(world, peer):
    for number in range(3):
        peer.host.udp.write(bytes([number]), IP, 9, 9, world.now_ms)
    world.settle()
    assert peer.take(UDP) == []
    peer.advertise()
    assert [bytes(packet[UDP].payload)[:1] for packet in peer.take(UDP)] == [b"\0", b"\1", b"\2"]
    assert entry(peer) == [(REACHABLE, octets(MAC))]
    assert not peer.host.device.in_use


def test_nobody_answers_three_solicitations_then_silence_is_remembered(world, peer):
    lost = []
    peer.host.ndp.on_failure = lambda ip, now_ms: lost.append(ip)
    write(peer)
    world.run(for_ms=2900)
    assert len(peer.take(ICMPv6ND_NS)) == 3
    assert lost == []
    world.run(for_ms=200)
    assert lost == [ADDRESS]
    assert entry(peer) == [(FAILED, None)]
    assert peer.host.ndp.counters["PendingDropped"] == 1
    write(peer)
    world.run(for_ms=1000)
    assert peer.take() == []
    world.run(for_ms=neighbours.FAILED_MS)
    assert entry(peer) == []
    assert not peer.host.device.in_use


def test_connection_attempt_to_a_silent_neighbour_fails_at_once(world, peer):
    flow = peer.host.connect(IP, 7)
    world.run(for_ms=3500)
    assert flow.error is not None


def test_frames_that_wait_are_bounded(world, peer):
    for address in range(0x100, 0x100 + 3 * neighbours.MAX_RESOLVING):
        for _ in range(8):
            write(peer, f"fd00::{address:x}")
    world.settle()
    assert len([1 for _, state, _ in peer.host.ndp.entries() if state == INCOMPLETE]) == neighbours.MAX_RESOLVING
    assert peer.host.device.in_use == neighbours.MAX_PENDING
    assert peer.host.ndp.counters["TableFull"] > 0
    world.run(for_ms=10_000)
    assert not peer.host.device.in_use
    assert peer.host.ndp.entries() == []


# --- our own advertisements, section 7.2.4 ---


def test_solicitation_is_answered_and_its_sender_learned(world, peer):
    peer.solicit(dst="ff02::1:ff00:2")
    (packet,) = peer.take()
    assert packet.dst == MAC
    assert (packet[IPv6].src, packet[IPv6].dst, packet[IPv6].hlim) == (peer.host.ip, IP, 255)
    body = packet[ICMPv6ND_NA]
    assert (body.tgt, body.S, body.O, body.R) == (peer.host.ip, 1, 1, 0)
    assert octets(packet[ICMPv6NDOptDstLLAddr].lladdr) == peer.host.device.mac
    assert entry(peer) == [(STALE, octets(MAC))]


def test_solicitation_without_a_mac_is_answered_after_asking(world, peer):
    peer.solicit(mac=None)
    (packet,) = peer.take()
    assert packet[ICMPv6ND_NS].tgt == IP
    peer.advertise()
    (packet,) = peer.take()
    assert packet[ICMPv6ND_NA].tgt == peer.host.ip


def test_duplicate_address_detection_of_another_is_answered_to_all(world, peer):
    peer.solicit(src="::", dst="ff02::1:ff00:2", mac=None)
    (packet,) = peer.take()
    assert (packet.dst, packet[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    assert (packet[ICMPv6ND_NA].S, packet[ICMPv6ND_NA].O) == (0, 1)
    assert peer.host.ndp.entries() == []


def test_solicitation_for_another_is_not_answered(world, peer):
    peer.solicit(target="fd00::3", dst="ff02::1:ff00:2")
    assert peer.take() == []
    assert peer.host.ndp.entries() == []


# --- what is no message of Neighbour Discovery: sections 6.1.2, 7.1.1, 7.1.2 ---


def messages(host):
    """Of each kind that is taken, a right one."""
    return {
        "NS": ICMPv6ND_NS(tgt=host.ip) / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
        "NA": ICMPv6ND_NA(tgt=IP, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC),
        "RA": ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
    }


def reaction(peer, kind):
    """True when a message of that kind had its effect."""
    if kind == "RA":
        return peer.host.ipv6.routers.known()[0] != []
    return entry(peer) not in ([], [(INCOMPLETE, None)])


FAULTS = ["none", "hop limit", "code", "option of no length", "option too long", "option cut off", "short", "fragments"]


@pytest.mark.parametrize("kind", ["NS", "NA", "RA"])
@pytest.mark.parametrize("fault", FAULTS)
def test_message_that_is_not_right_is_dropped_and_counted(world, peer, kind, fault):
    write(peer)  # so that there is something to be confirmed
    world.settle()
    src = ROUTER if kind == "RA" else IP
    packet = IPv6(src=src, dst=peer.host.ip) / messages(peer.host)[kind]
    data = bytes(packet[IPv6].payload)
    if fault == "code":
        data = data[:1] + b"\x01" + data[2:]
    elif fault == "option of no length":
        data += b"\x01\x00" + bytes(6)
    elif fault == "option too long":
        data += b"\x0e\x02" + bytes(6)
    elif fault == "option cut off":
        data += b"\x0e\x01" + bytes(2)
    elif fault == "short":
        data = data[:12]
    elif fault == "fragments":
        data += b"\x0e\x08" + bytes(62)
    before = peer.host.ndp.counters["InErrors"] + peer.host.icmp6.counters["InErrors"]
    message = peer.message(data, src, hop_limit=254 if fault == "hop limit" else 255)
    if fault == "fragments":  # RFC 6980
        for at, end in ((0, 48), (48, len(data))):
            header = IPv6ExtHdrFragment(nh=58, offset=at // 8, m=not at, id=7)
            peer.send(peer.ip(src=src, hlim=255) / header / Raw(message[54 + at : 54 + end]))
    else:
        peer.send(message)
    after = peer.host.ndp.counters["InErrors"] + peer.host.icmp6.counters["InErrors"]
    assert (reaction(peer, kind), after - before) == ((True, 0) if fault == "none" else (False, 1))


def test_solicitation_from_nobody_must_be_to_the_group_and_without_a_mac(world, peer):
    peer.solicit(src="::", dst="ff02::1:ff00:2", mac=MAC)
    peer.solicit(src="::", dst="ff02::1", mac=None)
    peer.solicit(target="ff02::1")
    assert peer.take() == []
    assert peer.host.ndp.counters["InErrors"] == 3


def test_solicited_advertisement_to_a_group_is_dropped(world, peer):
    write(peer)
    peer.advertise(dst="ff02::1", solicited=1)
    assert entry(peer) == [(INCOMPLETE, None)]
    assert peer.host.ndp.counters["InErrors"] == 1


def test_router_advertisement_from_another_than_a_link_local_address_is_dropped(world, peer):
    peer.send(peer.ip(src=IP, hlim=255) / ICMPv6ND_RA())
    assert peer.host.ipv6.routers.known() == ([], [])
    assert peer.host.ndp.counters["InErrors"] == 1


def test_mac_that_no_host_can_have_is_not_taken(world, peer):
    write(peer)
    for mac in ("01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"):
        peer.advertise(mac=mac)
        peer.solicit(mac=mac)
    assert entry(peer) == [(INCOMPLETE, None)]


# --- the states of an entry: sections 7.2.5, 7.3.3 ---


def test_reachable_becomes_stale_then_delay_and_probe_on_use_then_reachable(world, peer):
    peer.learn()
    assert entry(peer) == [(REACHABLE, octets(MAC))]
    world.run(for_ms=net_ndp.REACHABLE_MS * 3 // 2 + 100)
    assert entry(peer) == [(STALE, octets(MAC))]
    assert peer.take() == []  # nobody uses it, nobody asks
    write(peer)
    world.settle()
    assert entry(peer) == [(DELAY, octets(MAC))]
    assert [packet.dst for packet in peer.take(UDP)] == [MAC]  # the datagram does not wait
    world.run(for_ms=neighbours.DELAY_FIRST_PROBE_MS + 10)
    assert entry(peer) == [(PROBE, octets(MAC))]
    (packet,) = peer.take(ICMPv6ND_NS)
    assert (packet.dst, packet[IPv6].dst) == (MAC, IP)
    peer.advertise(override=0, mac=None)
    assert entry(peer) == [(REACHABLE, octets(MAC))]


def test_probe_without_an_answer_removes_the_entry_and_the_next_use_asks_all(world, peer):
    peer.learn()
    generation = peer.host.ndp.generation
    peer.host.ndp.doubt(ADDRESS, world.now_ms)
    world.run(for_ms=2900)
    assert [packet.dst for packet in peer.take(ICMPv6ND_NS)] == [MAC] * 3
    world.run(for_ms=200)
    assert entry(peer) == []
    assert peer.host.ndp.generation != generation
    write(peer)
    world.settle()
    assert [packet.dst for packet in peer.take(ICMPv6ND_NS)] == ["33:33:ff:00:00:09"]


def test_entry_that_nobody_uses_goes(world, peer):
    peer.solicit()
    world.run(for_ms=neighbours.STALE_MS + 1000)
    assert peer.host.ndp.entries() == []


@pytest.mark.parametrize(
    ("solicited", "override", "mac", "expected"),
    [
        (0, 0, EVIL_MAC, (STALE, MAC)),  # not taken, but the entry is doubted
        (1, 0, EVIL_MAC, (STALE, MAC)),
        (0, 1, EVIL_MAC, (STALE, EVIL_MAC)),
        (1, 1, EVIL_MAC, (STALE, EVIL_MAC)),  # nobody asked: so not a solicited one
        (0, 1, MAC, (REACHABLE, MAC)),
        (0, 0, MAC, (REACHABLE, MAC)),
    ],
)
def test_advertisement_that_nobody_asked_for(world, peer, solicited, override, mac, expected):
    peer.learn()
    peer.advertise(solicited=solicited, override=override, mac=mac)
    assert entry(peer) == [(expected[0], octets(expected[1]))]
    assert peer.host.ndp.counters["InUnsolicited"] == 1


def test_advertisement_never_makes_an_entry(world, peer):
    for number in range(0x100, 0x200):
        peer.advertise(target=f"fd00::{number:x}", settle=False)
    world.settle()
    assert peer.host.ndp.entries() == []
    assert peer.host.ndp.counters["InUnsolicited"] == 0x100


def test_solicitation_with_another_mac_does_not_overwrite_while_the_old_one_answers(world, peer):
    peer.learn()
    peer.solicit(mac=EVIL_MAC)
    assert entry(peer) == [(PROBE, octets(MAC))]
    asked = peer.take(ICMPv6ND_NS)
    assert [packet.dst for packet in asked] == [MAC]
    peer.advertise(mac=MAC)
    assert entry(peer) == [(REACHABLE, octets(MAC))]
    write(peer)
    world.settle()
    assert [packet.dst for packet in peer.take(UDP)] == [MAC]


def test_flood_of_solicitations_is_bounded_and_does_not_push_out_what_is_in_use(world, peer):
    peer.learn()
    for number in range(600):
        peer.solicit(src=f"fd00::1:{number:x}", mac=EVIL_MAC, settle=number % 30 == 29)
    assert len(peer.host.ndp.entries()) <= neighbours.MAX_ENTRIES
    assert entry(peer) == [(REACHABLE, octets(MAC))]
    assert not peer.host.device.in_use
    world.run(for_ms=neighbours.STALE_MS + net_ndp.REACHABLE_MS * 2)
    assert peer.host.ndp.entries() == []


def test_stranger_from_another_network_is_answered_but_not_learned(world, peer):
    peer.solicit(src="2001:db8::66", mac=EVIL_MAC)
    assert len(peer.take(ICMPv6ND_NA)) == 1
    assert peer.host.ndp.entries() == []


def test_redirect_is_counted_and_changes_nothing(world, peer):
    advertise_router(peer)
    packet = peer.ip(src=ROUTER, hlim=255) / ICMPv6ND_Redirect(tgt="fe80::66", dst="2001:db8::1")
    peer.send(packet / ICMPv6NDOptDstLLAddr(lladdr=EVIL_MAC))
    assert peer.host.ndp.counters["InRedirects"] == 1
    assert peer.host.ipv6.next_hop(ipv6.parse_address("2001:db8::1")) == ipv6.parse_address(ROUTER)
    assert [ip for ip, _, _ in peer.host.ndp.entries()] == [ipv6.parse_address(ROUTER)]


def test_connection_goes_on_through_a_storm_of_forgeries(world):
    """A second host's connection survives what a third one says on the link."""
    host = world.host("fd00::2/64", ipv6={"accept_router_advertisements": True})
    friend = world.host("fd00::3/64")
    peer = Peer6(world, host)
    friend.echo(7)
    flow = host.connect(friend, 7)
    data = bytes(50_000)
    flow.send(data)
    for number in range(100):
        peer.solicit(src="fd00::3", mac=EVIL_MAC, settle=False)
        peer.advertise(target="fd00::3", mac=EVIL_MAC, override=0, settle=False)
        peer.solicit(src=f"fd00::{number + 256:x}", mac=EVIL_MAC, settle=False)
        advertise_router(peer, router=f"fe80::{number + 256:x}", prefix=f"2001:db8:{number:x}::", settle=False)
        world.run(for_ms=10)
    world.run(until=lambda: len(flow.received) == len(data), limit_ms=10_000)
    assert flow.error is None


# --- routers: section 6.3 ---


def advertise_router(
    peer, router=ROUTER, mac=MAC, lifetime=1800, prefix=None, valid=7200, preferred=3600, options=(), settle=True,
    on_link=1, autonomous=1, prefix_len=64, **fields,
):  # fmt: skip
    packet = peer.ip(src=router, dst="ff02::1", hlim=255)
    packet.dst = "33:33:00:00:00:01"
    packet = packet / ICMPv6ND_RA(routerlifetime=lifetime, **{"chlim": 0, **fields}) / ICMPv6NDOptSrcLLAddr(lladdr=mac)
    if prefix is not None:
        packet = packet / ICMPv6NDOptPrefixInfo(
            prefix=prefix, prefixlen=prefix_len, L=on_link, A=autonomous, validlifetime=valid,
            preferredlifetime=preferred,
        )  # fmt: skip
    for option in options:
        packet = packet / option
    peer.send(packet, settle)


OUTSIDE = ipv6.parse_address("2001:db8:ffff::1")


def test_three_router_solicitations_and_none_after_an_answer(world):
    host = world.host("fd00::2/64", ipv6={"accept_router_advertisements": True})
    peer = Peer6(world, host)
    world.run(for_ms=30_000)
    asked = peer.take(ICMPv6ND_RS)
    assert len(asked) == 3
    assert asked[0].dst == "33:33:00:00:00:02"
    assert (asked[0][IPv6].src, asked[0][IPv6].dst, asked[0][IPv6].hlim) == (peer.link_local, "ff02::2", 255)
    assert octets(asked[0][ICMPv6NDOptSrcLLAddr].lladdr) == host.device.mac
    other = world.host("fd00::3/64", ipv6={"accept_router_advertisements": True})
    other_peer = Peer6(world, other)
    world.run(for_ms=1100)
    assert len(other_peer.take(ICMPv6ND_RS)) == 1
    advertise_router(other_peer)
    world.run(for_ms=30_000)
    assert other_peer.take(ICMPv6ND_RS) == []


def test_default_router_for_its_lifetime(world, peer):
    assert peer.host.ipv6.next_hop(OUTSIDE) is None
    advertise_router(peer, lifetime=60)
    assert peer.host.ipv6.next_hop(OUTSIDE) == ipv6.parse_address(ROUTER)
    world.run(for_ms=59_000)
    assert peer.host.ipv6.next_hop(OUTSIDE) == ipv6.parse_address(ROUTER)
    world.run(for_ms=1100)
    assert peer.host.ipv6.next_hop(OUTSIDE) is None
    advertise_router(peer, lifetime=60)
    advertise_router(peer, lifetime=0)
    assert peer.host.ipv6.next_hop(OUTSIDE) is None


def test_router_with_the_higher_preference_is_taken(world, peer):
    advertise_router(peer, router="fe80::1", prf=3)
    advertise_router(peer, router="fe80::2", prf=1)
    advertise_router(peer, router="fe80::3", prf=0)
    assert peer.host.ipv6.next_hop(OUTSIDE) == ipv6.parse_address("fe80::2")


def test_router_that_does_not_answer_gives_way_to_another(world, peer):
    advertise_router(peer, router="fe80::1", prefix="2001:db8:1::")
    advertise_router(peer, router="fe80::2", mac=EVIL_MAC)
    assert peer.host.ipv6.next_hop(OUTSIDE) == ipv6.parse_address("fe80::1")
    write(peer, "2001:db8:ffff::1")
    world.run(for_ms=neighbours.DELAY_FIRST_PROBE_MS + 4000)
    assert peer.host.ipv6.next_hop(OUTSIDE) == ipv6.parse_address("fe80::2")


def test_neighbour_that_is_no_router_any_more_is_not_used_as_one(world, peer):
    advertise_router(peer)
    peer.advertise(target=ROUTER, router=0)
    assert peer.host.ipv6.next_hop(OUTSIDE) is None


def test_static_gateway_goes_before_advertised_routers(world):
    host = world.host("fd00::2/64", gateway="fd00::1", ipv6={"accept_router_advertisements": True})
    advertise_router(Peer6(world, host))
    assert host.ipv6.next_hop(OUTSIDE) == ipv6.parse_address("fd00::1")


def test_prefix_is_on_the_link_for_its_lifetime(world, peer):
    neighbour = ipv6.parse_address("2001:db8:1::77")
    advertise_router(peer, prefix="2001:db8:1::", valid=100, preferred=50)
    assert peer.host.ipv6.next_hop(neighbour) == neighbour
    world.run(for_ms=100_100)
    assert peer.host.ipv6.next_hop(neighbour) == ipv6.parse_address(ROUTER)
    advertise_router(peer, prefix="2001:db8:1::", on_link=0)
    assert peer.host.ipv6.next_hop(neighbour) == ipv6.parse_address(ROUTER)


def test_link_local_prefix_and_no_prefix_are_ignored(world, peer):
    for prefix in ("fe80::", "ff02::", "::"):
        advertise_router(peer, prefix=prefix)
    advertise_router(peer, prefix="2001:db8:1::", valid=10, preferred=20)
    advertise_router(peer, prefix="2001:db8:1::", prefix_len=129)
    assert peer.host.ipv6.routers.known()[1] == []
    assert len(peer.host.ipv6.addresses.all()) == 2
    assert peer.host.ipv6.counters["RouterIgnored"] == 5


def test_parameters_within_bounds_only(world, peer):
    ip, ndp = peer.host.ipv6, peer.host.ndp
    advertise_router(peer, chlim=100, reachabletime=20_000, retranstimer=500, options=[ICMPv6NDOptMTU(mtu=1400)])
    assert (ip.hop_limit, ndp.reachable_ms, ndp.retrans_ms, ip.mtu) == (100, 20_000, 500, 1400)
    assert ip.path_mtu(OUTSIDE) == 1400
    for mtu in (0, 1279, 1501, 0xFFFFFFFF):
        advertise_router(
            peer, chlim=1, reachabletime=0xFFFFFFFF, retranstimer=0xFFFFFFFF, options=[ICMPv6NDOptMTU(mtu=mtu)]
        )
    advertise_router(peer, reachabletime=1, retranstimer=1)
    assert (ip.hop_limit, ndp.reachable_ms, ndp.retrans_ms, ip.mtu) == (100, 20_000, 500, 1400)
    assert ip.counters["RouterIgnored"] == 4 * 4 + 2


def test_name_servers_for_their_lifetime(world, peer):
    changes = []
    peer.host.ipv6.routers.on_change = lambda: changes.append(peer.host.ipv6.routers.resolvers())
    advertise_router(peer, options=[ICMPv6NDOptRDNSS(dns=["fd00::53", "fd00::54"], lifetime=60)])
    assert changes == [["fd00::53", "fd00::54"]]
    advertise_router(peer, options=[ICMPv6NDOptRDNSS(dns=["fd00::54"], lifetime=0)])
    assert peer.host.ipv6.routers.resolvers() == ["fd00::53"]
    world.run(for_ms=61_000)
    assert peer.host.ipv6.routers.resolvers() == []


def test_flood_of_router_advertisements_is_bounded(world, peer):
    for number in range(200):
        advertise_router(
            peer, router=f"fe80::{number + 1:x}", prefix=f"2001:db8:{number:x}::", lifetime=60, valid=60, preferred=60,
            options=[ICMPv6NDOptRDNSS(dns=[f"fd00::{number:x}"], lifetime=60)], settle=number % 20 == 19,
        )  # fmt: skip
    routers, prefixes = peer.host.ipv6.routers.known()
    assert len(routers) == net_routers.MAX_ROUTERS
    assert len(prefixes) == net_routers.MAX_PREFIXES
    assert len(peer.host.ipv6.addresses.all()) <= 16
    assert len(peer.host.ipv6.routers.resolvers()) == net_routers.MAX_RESOLVERS
    assert len(peer.host.ndp.entries()) <= neighbours.MAX_ENTRIES
    assert peer.host.ipv6.counters["RouterIgnored"] > 180
    world.run(for_ms=2_000_000)
    assert peer.host.ipv6.routers.known() == ([], [])
    assert len(peer.host.ipv6.addresses.all()) == 2
    assert peer.host.ndp.entries() == []
    assert not peer.host.device.in_use


def test_advertisements_are_not_accepted_when_they_are_switched_off(world):
    host = world.host("fd00::2/64")
    peer = Peer6(world, host)
    world.run(for_ms=20_000)
    assert peer.take(ICMPv6ND_RS) == []
    advertise_router(peer, prefix="2001:db8:1::")
    assert host.ipv6.routers.known() == ([], [])
    assert host.ipv6.counters["RouterIgnored"] == 1
    assert len(host.ipv6.addresses.all()) == 2
