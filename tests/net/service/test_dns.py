# SPDX-License-Identifier: MIT
"""net.service.dns: whom a resolver asks, what it believes, and how long it remembers."""

import random
import struct

import pytest

from libos.net.service import dns as net_dns
from libos.wire import dns
from tests.net.world import Entropy

WWW = dns.encode_name("www.example.com")
WEB = dns.encode_name("web.example.net")
ADDRESS = b"\xc0\x00\x02\x01"
EVIL = b"\x06\x06\x06\x06"
SERVERS = ["10.0.2.3", "10.0.2.4"]
ZONE = dns.encode_name("example.com")


class Clock:
    """A resolver, the time, and a network that answers what a test says."""

    def __init__(self, seed=1):
        self.now_ms = 1000
        self.resolver = net_dns.Resolver(Entropy(random.Random(seed)))

    def look_up(self, name=WWW, kind=dns.A, servers=SERVERS):
        return self.resolver.look_up(name, kind, servers, self.now_ms)

    def give(self, lookup, data, server=None, port=53):
        return lookup.input(data, server or lookup.server, port, self.now_ms)

    def answer(self, lookup, *records, **changes):
        return self.give(lookup, reply(lookup, *records, **changes))

    def wait(self, lookup):
        assert self.now_ms < lookup.deadline_ms
        self.now_ms = lookup.deadline_ms
        lookup.on_timeout(self.now_ms)


@pytest.fixture
def clock():
    return Clock()


def question(lookup):
    """(ident, name, type, has EDNS0) of what it would send."""
    packet = lookup.packet
    ident, flags, _, _, _, additional = struct.unpack_from(">HHHHHH", packet)
    assert flags == 0x0100
    end = packet.index(b"\0", 12) + 1
    return (ident, packet[12:end], struct.unpack_from(">H", packet, end)[0], additional == 1)


def record(owner, kind, value, ttl=60):
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(value)) + value


def soa(zone=ZONE, ttl=900, minimum=300):
    return record(zone, dns.SOA, b"\0\0" + struct.pack(">IIIII", 1, 2, 3, 4, minimum), ttl)


def reply(lookup, *records, code=0, flags=0x8180, ident=None, name=None, kind=None, authority=()):
    asked_ident, asked_name, asked_kind, _ = question(lookup)
    head = struct.pack(
        ">HHHHHH", asked_ident if ident is None else ident, flags | code, 1, len(records), len(authority), 0
    )
    asked = (name or asked_name) + struct.pack(">HH", kind or asked_kind, 1)
    return head + asked + b"".join(records) + b"".join(authority)


# --- the common case ---


def test_question_is_answered(clock):
    lookup = clock.look_up()
    assert (lookup.server, lookup.is_stream, lookup.deadline_ms) == ("10.0.2.3", False, 2000)
    assert question(lookup)[1:] == (WWW, dns.A, True)
    assert clock.answer(lookup, record(WWW, dns.A, ADDRESS))
    assert (lookup.is_done, lookup.values, lookup.failure) == (True, (ADDRESS,), None)


def test_aaaa_is_asked_for_and_answered(clock):
    lookup = clock.look_up(kind=dns.AAAA)
    clock.answer(lookup, record(WWW, dns.AAAA, bytes(15) + b"\1"), record(WWW, dns.A, ADDRESS))
    assert lookup.values == (bytes(15) + b"\1",)


def test_identifiers_are_drawn_for_every_packet(clock):
    idents = set()
    for _ in range(50):
        lookup = clock.look_up()
        idents.add(question(lookup)[0])
        clock.wait(lookup)
        idents.add(question(lookup)[0])
    assert len(idents) > 95


def test_no_server_fails_at_once(clock):
    lookup = clock.look_up(servers=[])
    assert (lookup.is_done, lookup.failure) == (True, net_dns.NO_SERVER)


# --- silence and refusal ---


def test_silence_asks_each_server_in_turn_and_gives_up(clock):
    lookup = clock.look_up()
    asked = []
    while not lookup.is_done:
        asked.append((lookup.server, lookup.deadline_ms - clock.now_ms))
        clock.wait(lookup)
    assert asked == [(server, wait) for wait in (1000, 2000, 4000) for server in SERVERS]
    assert lookup.failure == net_dns.SILENCE
    assert clock.now_ms <= 1000 + net_dns.LOOKUP_MS


def test_servers_beyond_three_are_not_asked_and_the_whole_is_bounded(clock):
    lookup = clock.look_up(servers=[f"10.0.0.{number}" for number in range(1, 9)])
    asked = set()
    while not lookup.is_done:
        asked.add(lookup.server)
        clock.wait(lookup)
    assert len(asked) == 3
    assert clock.now_ms == 1000 + net_dns.LOOKUP_MS


@pytest.mark.parametrize("code", [2, 4, 5])
def test_refusal_goes_to_the_next_server_at_once(clock, code):
    lookup = clock.look_up()
    assert clock.answer(lookup, code=code)
    assert (lookup.server, clock.now_ms) == ("10.0.2.4", 1000)
    clock.answer(lookup, record(WWW, dns.A, ADDRESS))
    assert lookup.values == (ADDRESS,)


def test_refusal_by_all_is_a_failure_that_is_not_remembered(clock):
    lookup = clock.look_up()
    while not lookup.is_done:
        clock.answer(lookup, code=dns.SERVER_FAILURE)
    assert lookup.failure == net_dns.REFUSED
    assert len(clock.resolver) == 0


def test_server_without_edns_is_asked_again_without(clock):
    lookup = clock.look_up()
    clock.answer(lookup, code=dns.FORMAT_ERROR)
    assert lookup.server == "10.0.2.3"
    assert not question(lookup)[3]
    clock.answer(lookup, code=dns.FORMAT_ERROR)
    assert lookup.server == "10.0.2.4"


# --- TCP ---


def test_truncated_answer_is_asked_for_by_stream(clock):
    lookup = clock.look_up()
    before = question(lookup)[0]
    assert clock.answer(lookup, flags=0x8380)
    assert (lookup.is_stream, lookup.is_done, lookup.server) == (True, False, "10.0.2.3")
    assert question(lookup)[0] != before
    clock.answer(lookup, *[record(WWW, dns.A, bytes((10, 0, 0, number))) for number in range(40)])
    assert len(lookup.values) == net_dns.MAX_VALUES


def test_stream_that_is_truncated_too_or_silent_goes_on_to_the_next_server(clock):
    lookup = clock.look_up()
    clock.answer(lookup, flags=0x8380)
    clock.answer(lookup, flags=0x8380)
    assert (lookup.is_stream, lookup.server) == (False, "10.0.2.4")
    clock.answer(lookup, flags=0x8380)
    assert lookup.is_stream
    clock.wait(lookup)
    assert (lookup.is_stream, lookup.server) == (False, "10.0.2.3")


# --- CNAMEs ---


def test_chain_in_one_answer_is_followed_in_any_order(clock):
    middle = dns.encode_name("middle.example.org")
    lookup = clock.look_up()
    clock.answer(
        lookup,
        record(WEB, dns.A, ADDRESS, ttl=50),
        record(middle, dns.CNAME, WEB, ttl=20),
        record(WWW, dns.CNAME, middle, ttl=30),
    )
    assert lookup.values == (ADDRESS,)
    clock.now_ms += 19_999
    assert clock.look_up().is_done
    clock.now_ms += 1
    assert not clock.look_up().is_done  # the shortest time of the chain counts


def test_chain_that_ends_elsewhere_is_asked_for(clock):
    lookup = clock.look_up()
    assert clock.answer(lookup, record(WWW, dns.CNAME, WEB))
    assert not lookup.is_done
    assert question(lookup)[1] == WEB
    clock.answer(lookup, record(WEB, dns.A, ADDRESS))
    assert lookup.values == (ADDRESS,)
    assert clock.look_up().values == (ADDRESS,)


def test_chain_in_a_circle_ends(clock):
    lookup = clock.look_up()
    clock.answer(lookup, record(WWW, dns.CNAME, WEB), record(WEB, dns.CNAME, WWW))
    assert lookup.failure == net_dns.BAD_CHAIN


def test_chain_over_many_answers_ends(clock):
    lookup = clock.look_up()
    for number in range(100):
        if lookup.is_done:
            break
        clock.answer(lookup, record(question(lookup)[1], dns.CNAME, dns.encode_name(f"n{number}.example")))
    assert number == net_dns.MAX_LINKS + 1
    assert lookup.failure == net_dns.BAD_CHAIN


# --- what must not be believed ---


@pytest.mark.parametrize(
    ("changes", "counter"),
    [
        ({"ident": 1}, "InWrongQuestion"),
        ({"name": WEB}, "InWrongQuestion"),
        ({"kind": dns.AAAA}, "InWrongQuestion"),
        ({"flags": 0x0100}, "InErrors"),
    ],
)
def test_forged_answer_is_dropped_and_counted(clock, changes, counter):
    lookup = clock.look_up()
    assert not clock.answer(lookup, record(WWW, dns.A, EVIL), **changes)
    assert not lookup.is_done
    assert clock.resolver.counters[counter] == 1
    clock.answer(lookup, record(WWW, dns.A, ADDRESS))
    assert lookup.values == (ADDRESS,)


@pytest.mark.parametrize(("server", "port"), [("10.0.2.4", 53), ("6.6.6.6", 53), ("10.0.2.3", 5353)])
def test_answer_from_elsewhere_is_dropped_however_right_it_is(clock, server, port):
    lookup = clock.look_up()
    assert not clock.give(lookup, reply(lookup, record(WWW, dns.A, EVIL)), server, port)
    assert not lookup.is_done
    assert clock.resolver.counters["InWrongSource"] == 1


def test_answer_to_the_question_before_is_dropped(clock):
    lookup = clock.look_up(servers=SERVERS[:1])
    late = reply(lookup, record(WWW, dns.A, EVIL))
    clock.wait(lookup)
    assert not clock.give(lookup, late)
    assert not lookup.is_done


def test_guessing_of_identifiers_is_answered_with_a_stream(clock):
    lookup = clock.look_up()
    for number in range(net_dns.MAX_WRONG):
        assert not lookup.is_stream
        clock.answer(lookup, record(WWW, dns.A, EVIL), ident=question(lookup)[0] ^ (number + 1))
    assert lookup.is_stream
    assert not lookup.is_done


def test_records_that_were_not_asked_for_are_not_kept(clock):
    bank = dns.encode_name("bank.example")
    lookup = clock.look_up()
    clock.answer(
        lookup,
        record(bank, dns.A, EVIL),
        record(WWW, dns.A, ADDRESS),
        record(ZONE, dns.CNAME, bank),
        authority=[record(bank, dns.A, EVIL)],
    )
    assert lookup.values == (ADDRESS,)
    assert len(clock.resolver) == 1
    assert not clock.look_up(bank).is_done


def test_answer_without_what_was_asked_is_no_data(clock):
    lookup = clock.look_up()
    clock.answer(lookup, record(dns.encode_name("bank.example"), dns.A, EVIL))
    assert (lookup.values, lookup.failure) == ((), net_dns.NO_DATA)


# --- the cache ---


def test_answer_is_remembered_for_its_time(clock):
    clock.answer(clock.look_up(), record(WWW, dns.A, ADDRESS, ttl=60))
    clock.now_ms += 59_999
    lookup = clock.look_up()
    assert (lookup.is_done, lookup.values) == (True, (ADDRESS,))
    assert not clock.look_up(kind=dns.AAAA).is_done
    clock.now_ms += 1
    assert not clock.look_up().is_done
    assert clock.resolver.counters["CacheHits"] == 1


def test_time_of_nothing_is_not_remembered_and_a_long_one_not_for_ever(clock):
    clock.answer(clock.look_up(), record(WWW, dns.A, ADDRESS, ttl=0))
    assert len(clock.resolver) == 0
    clock.answer(clock.look_up(), record(WWW, dns.A, ADDRESS, ttl=0x7FFFFFFF))
    clock.now_ms += net_dns.MAX_TTL_S * 1000
    assert not clock.look_up().is_done


@pytest.mark.parametrize(("code", "failure"), [(3, net_dns.NO_SUCH_NAME), (0, net_dns.NO_DATA)])
def test_absence_is_remembered_as_the_zone_says(clock, code, failure):
    lookup = clock.look_up()
    clock.answer(lookup, code=code, authority=[soa(ttl=900, minimum=120)])
    assert (lookup.values, lookup.failure) == ((), failure)
    clock.now_ms += 119_999
    assert (clock.look_up().is_done, clock.look_up().failure) == (True, failure)
    clock.now_ms += 1
    assert not clock.look_up().is_done


def test_absence_is_remembered_for_five_minutes_at_most(clock):
    clock.answer(clock.look_up(), code=3, authority=[soa(ttl=86400, minimum=86400)])
    clock.now_ms += 300_000
    assert not clock.look_up().is_done


@pytest.mark.parametrize("zone", ["example.net", "ample.com", "www.example.com.evil"])
def test_absence_by_another_zone_is_not_remembered(clock, zone):
    clock.answer(clock.look_up(), code=3, authority=[soa(dns.encode_name(zone))])
    assert len(clock.resolver) == 0


@pytest.mark.parametrize("code", [0, 3])
def test_absence_without_a_time_is_remembered_for_a_moment(clock, code):
    clock.answer(clock.look_up(), code=code)
    clock.now_ms += net_dns.BARE_NEGATIVE_TTL_S * 1000 - 1
    assert clock.look_up().is_done
    clock.now_ms += 1
    assert not clock.look_up().is_done


def test_cache_is_bounded_and_keeps_what_lasts_longest(clock):
    for number in range(net_dns.MAX_CACHED * 4):
        name = dns.encode_name(f"n{number}.example")
        clock.answer(clock.look_up(name), record(name, dns.A, ADDRESS, ttl=1000 + number))
    assert len(clock.resolver) == net_dns.MAX_CACHED
    assert clock.look_up(dns.encode_name("n1000.example")).is_done
    clock.now_ms += 5_000_000
    clock.answer(clock.look_up(), record(WWW, dns.A, ADDRESS))
    assert len(clock.resolver) == 1


def test_any_octets_never_raise_nor_finish(clock):
    rng = random.Random(1)
    lookup = clock.look_up()
    for _ in range(5000):
        data = bytearray(reply(lookup, record(WWW, dns.CNAME, WEB), record(b"\xc0\x0c", dns.A, ADDRESS)))
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(2)] = rng.randrange(256)
            data[rng.randrange(2, len(data))] = rng.randrange(256)
        clock.give(lookup, bytes(data[: rng.randrange(len(data))]))
        if lookup.is_done:
            assert lookup.values in ((), (ADDRESS,)) or len(lookup.values[0]) == 4
            clock.resolver.flush()
            lookup = clock.look_up()


# --- a server that is silent ---


def test_server_that_was_silent_is_asked_last_until_it_answers(clock):
    first = clock.look_up()
    clock.wait(first)
    clock.answer(first, record(WWW, dns.A, ADDRESS))
    assert clock.look_up(WEB).server == "10.0.2.4"
    lookup = clock.look_up(WEB, servers=["10.0.2.3"])
    clock.answer(lookup, record(WEB, dns.A, ADDRESS))
    assert clock.look_up(ZONE).server == "10.0.2.3"


def test_all_silent_are_asked_in_the_order_in_which_they_were(clock):
    lookup = clock.look_up()
    for _ in range(3):
        clock.wait(lookup)
    assert clock.look_up(WEB).server == "10.0.2.4"


def test_servers_that_are_known_to_be_silent_are_bounded(clock):
    for number in range(50):
        clock.wait(clock.look_up(servers=[f"10.0.{number}.1"]))
    assert len(clock.resolver._silent) == net_dns.MAX_SILENT
