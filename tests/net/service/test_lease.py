# SPDX-License-Identifier: MIT
"""net.service.lease: what of a server's answer is refused by name, and what costs only itself (RFC 2132, RFC 3442)."""

import pytest

from libos.net.service import dhcp as net_dhcp
from libos.net.service import lease as net_lease
from libos.wire import dhcp, ipv4
from tests.net.service.dhcp_fakes import ADDRESS, SERVER, Client, reply


@pytest.fixture
def client():
    return Client()


def ip(number):
    return number.to_bytes(4, "big")


NONSENSE = {
    "10.0.2.1: 0.0.0.0/24 is no host's address": {"address": 0},
    "10.0.2.1: 127.0.0.1/24 is no host's address": {"address": 0x7F000001},
    "10.0.2.1: 224.0.0.1/24 is no host's address": {"address": 0xE0000001},
    "10.0.2.1: 240.0.0.1/24 is no host's address": {"address": 0xF0000001},
    "10.0.2.1: 10.0.2.0/24 is no host's address": {"address": 0x0A000200},
    "10.0.2.1: 10.0.2.255/24 is no host's address": {"address": 0x0A0002FF},
    "10.0.2.1: the netmask 255.255.0.255": {"mask": 0xFFFF00FF},
    "10.0.2.1: the netmask 0.255.255.255": {"mask": 0x00FFFFFF},
    "10.0.2.1: an empty netmask": {"mask": 0},
    "10.0.2.1: no lease time": {"lease": None},
    "10.0.2.1: a lease of 0 s": {"lease": 0},
    "10.0.2.1: a lease of 9 s": {"lease": 9},
    "no server identifier": {"server": None},
    "255.255.255.255: the server identifier 255.255.255.255": {"server": 0xFFFFFFFF},
    "10.0.2.1: the server identifier 10.0.2.1": {"address": SERVER},
}


@pytest.mark.parametrize("what", NONSENSE)
def test_offer_that_makes_no_sense_is_refused_and_a_good_one_still_taken(client, what):
    question = client.last()
    client.answer(dhcp.OFFER, question, **NONSENSE[what])
    assert client.sent() == []
    assert client.dhcp.counters["InRefused"] == 1
    assert client.refusals == [what] == [client.dhcp.refusal]
    client.answer(dhcp.OFFER, question)
    client.answer(dhcp.ACK, client.last())
    assert client.dhcp.lease.ip == ADDRESS
    assert client.dhcp.refusal is None


@pytest.mark.parametrize("what", NONSENSE)
def test_ack_that_makes_no_sense_is_refused_too(client, what):
    client.answer(dhcp.OFFER, client.last())
    client.answer(dhcp.ACK, client.last(), **NONSENSE[what])
    assert client.dhcp.lease is None
    assert client.events == []
    assert client.dhcp.refusal is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"xid": 1}, "the number of another question"),
        ({"extra": [(dhcp.OPTION_OVERLOAD, b"\x07")]}, "a damaged message"),
        ({"kind": None}, "no message type"),
    ],
)
def test_answer_that_is_dropped_is_the_reason_for_the_silence(client, change, why):
    question = client.last()
    data = reply(change.pop("kind", dhcp.OFFER) or 99, question, **change)
    client.deliver(data.replace(b"\x35\x01\x63", b"\0\0\0"))
    assert client.dhcp.refusal == why
    assert client.refusals == []  # anybody may send such
    client.run(60_000)
    assert client.events == [("silence", 5000 + net_dhcp.SILENCE_MS)]
    assert client.dhcp.refusal == why


def test_nak_says_why(client):
    client.answer(dhcp.OFFER, client.last())
    client.answer(dhcp.NAK, client.last(), extra=[(dhcp.OPTION_MESSAGE, b"wrong\nnetwork\x1b[2J\xff" + b"x" * 100)])
    assert client.refusals == ["10.0.2.1: took its offer back: wrongnetwork[2J" + "x" * 46]


def test_renewing_nak_says_why(client):
    client.bind(lease=100)
    client.run(60_000)
    client.answer(dhcp.NAK, client.last(), extra=[(dhcp.OPTION_MESSAGE, b"no more")])
    assert client.events[-1][2] == "the server took it back: no more"


def test_missing_mask_is_the_class_of_the_address(client):
    client.bind(mask=None)
    assert client.dhcp.lease.prefix_len == 8


@pytest.mark.parametrize(("mask", "prefix_len"), [(0xFFFFFFFF, 32), (0xFFFFFFFE, 31), (0xFFFFFFFC, 30), (255 << 24, 8)])
def test_any_contiguous_mask_is_taken(mask, prefix_len):
    client = Client()
    client.bind(mask=mask, router=None, address=0x0A00020E)
    assert client.dhcp.lease.prefix_len == prefix_len


def test_no_router_is_no_router(client):
    client.bind(router=None)
    assert client.dhcp.lease.router is None


@pytest.mark.parametrize("router", [0, ADDRESS, 0x0A000200, 0x0A0002FF, 0xE0000001, 0x7F000001])
def test_router_that_cannot_be_one_costs_the_gateway_and_not_the_lease(client, router):
    client.bind(router=router)
    lease = client.dhcp.lease
    assert (lease.ip, lease.router, lease.routes) == (ADDRESS, None, [])
    assert lease.ignored == ["the router " + ipv4.format_address(router)]


@pytest.mark.parametrize("value", [b"", b"\x0a", b"\x0a\0\2\1\0"])
def test_router_that_is_no_list_of_addresses_costs_the_gateway(client, value):
    client.bind(router=None, extra=[(dhcp.OPTION_ROUTER, value)])
    assert (client.dhcp.lease.router, client.dhcp.lease.ignored) == (None, ["a damaged router"])


def test_router_off_the_link_is_taken(client):
    client.bind(mask=0xFFFFFFFF, router=0x0A800001)
    assert client.dhcp.lease.routes == [(0, 0, 0x0A800001)]
    assert client.dhcp.lease.ignored == []


def test_router_on_the_link_is_the_one_even_after_others(client):
    client.bind(router=None, extra=[(dhcp.OPTION_ROUTER, ip(0) + ip(0x0B000001) + ip(ADDRESS) + ip(SERVER))])
    assert client.dhcp.lease.routes == [(0, 0, SERVER)]


def routes(*entries):
    """The octets of a classless routes option (RFC 3442)."""
    value = b""
    for prefix_len, network, router in entries:
        value += bytes((prefix_len,)) + ip(network)[: (prefix_len + 7) // 8] + ip(router)
    return value


def test_classless_routes_are_asked_for_before_the_router(client):
    wanted = list(client.last().options[dhcp.OPTION_PARAMETERS])
    assert wanted.index(121) < wanted.index(3)


def test_classless_routes_take_the_place_of_the_router(client):
    value = routes((32, 0x0A800001, 0), (0, 0, 0x0A800001), (9, 0xACFF1234, 0x0A800001))
    client.bind(mask=0xFFFFFFFF, router=SERVER, extra=[(121, value)])
    lease = client.dhcp.lease
    assert lease.router == 0x0A800001
    assert lease.routes == [
        (0, 0, 0x0A800001),
        (0x0A800001, 0xFFFFFFFF, None),
        (0xAC800000, 0xFF800000, 0x0A800001),  # without the bits beyond the prefix
    ]


def test_classless_routes_without_a_default_leave_none(client):
    client.bind(router=SERVER, extra=[(121, routes((8, 0x0B000000, SERVER)))])
    assert client.dhcp.lease.router is None


def test_microsofts_number_is_second_choice(client):
    client.bind(extra=[(249, routes((8, 0x0B000000, SERVER)))])
    assert client.dhcp.lease.routes == [(0x0B000000, 0xFF000000, SERVER)]
    other = Client()
    other.bind(extra=[(249, routes((8, 0x0B000000, SERVER))), (121, routes((8, 0x0C000000, SERVER)))])
    assert other.dhcp.lease.routes == [(0x0C000000, 0xFF000000, SERVER)]


@pytest.mark.parametrize("value", [b"\x21\1\2\3\4\5\6\7\x08", b"\x18\x0a\0\0", routes((0, 0, SERVER)) + b"\x08"])
def test_damaged_classless_routes_leave_the_router(client, value):
    client.bind(router=SERVER, extra=[(121, value)])
    assert client.dhcp.lease.routes == [(0, 0, SERVER)]
    assert client.dhcp.lease.ignored == ["damaged routes"]


def test_classless_routes_by_what_is_no_router_are_left_out(client):
    value = routes((8, 0x0B000000, ADDRESS), (8, 0x0C000000, 0xE0000001), (8, 0x0D000000, SERVER))
    client.bind(extra=[(121, value)])
    assert client.dhcp.lease.routes == [(0x0D000000, 0xFF000000, SERVER)]
    assert client.dhcp.lease.ignored == ["the router 10.0.2.15", "the router 224.0.0.1"]


def test_classless_routes_are_bounded_and_the_default_is_not_lost(client):
    # More than 255 octets: an option that is split (RFC 3396).
    value = routes(*[(24, 0x0B000000 + (number << 8), SERVER) for number in range(100)], (0, 0, SERVER))
    client.bind(extra=[(121, value)])
    lease = client.dhcp.lease
    assert len(lease.routes) == net_lease.MAX_ROUTES
    assert lease.router == SERVER
    assert lease.ignored == ["more than 32 routes"]


def test_router_is_the_first_one_on_the_link(client):
    client.bind(router=None, extra=[(dhcp.OPTION_ROUTER, ip(0x0B000001) + ip(0x0A0002FE) + ip(0x0A000201))])
    assert client.dhcp.lease.router == 0x0A0002FE


@pytest.mark.parametrize(("renew", "rebind"), [(0, 10), (2000, 1000), (1000, 3600), (4000, 5000)])
def test_times_that_are_out_of_order_are_replaced(client, renew, rebind):
    client.bind(extra=[(dhcp.OPTION_T1, ip(renew)), (dhcp.OPTION_T2, ip(rebind))])
    assert (client.dhcp.lease.renew_s, client.dhcp.lease.rebind_s) == (1800, 3150)
