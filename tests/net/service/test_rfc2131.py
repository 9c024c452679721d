# SPDX-License-Identifier: MIT
"""net.service.dhcp: the client's states (RFC 2131 figure 5), its times, and what it must not believe."""

import itertools
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libos.net.service import dhcp as net_dhcp
from libos.wire import dhcp, ipv4
from tests.net.service.dhcp_fakes import ADDRESS, BROADCAST, SERVER, Client, reply
from tests.net.world import World

HOUR_MS = 3_600_000


@pytest.fixture
def client():
    return Client()


def ip(number):
    return number.to_bytes(4, "big")


# --- INIT, SELECTING ---


def test_start_sends_discover_at_once_from_no_address(client):
    assert client.now_ms == 5000
    [(src_ip, dst_ip, message, flags, secs)] = client.sent()
    assert (src_ip, dst_ip, flags, secs) == (0, BROADCAST, dhcp.BROADCAST, 0)
    assert message.number(dhcp.OPTION_TYPE, 1) == dhcp.DISCOVER
    assert (message.ciaddr, message.chaddr) == (0, client.ipv4.ethernet.mac)
    assert message.options[dhcp.OPTION_CLIENT_ID] == b"\x01" + client.ipv4.ethernet.mac
    assert set(message.options[dhcp.OPTION_PARAMETERS]) >= {1, 3, 6, 26, 51}
    assert message.number(dhcp.OPTION_MAX_SIZE, 2) == 1500
    assert dhcp.OPTION_HOST_NAME not in message.options


def test_hostname_is_sent_with_discover_and_request():
    client = Client(hostname="echo")
    question = client.last()
    assert question.options[dhcp.OPTION_HOST_NAME] == b"echo"
    client.answer(dhcp.OFFER, question)
    assert client.last().options[dhcp.OPTION_HOST_NAME] == b"echo"


def test_silence_discover_is_repeated_with_randomised_doubling_up_to_64_s():
    gaps = []
    for seed in range(8):
        times = [5000, *Client(seed).run(HOUR_MS)]
        gaps.append([after - before for before, after in itertools.pairwise(times)])
    for number in range(20):
        wanted = min(1000 << number, 64000)
        seen = [series[number] for series in gaps]
        assert all(wanted * 3 // 4 <= gap <= wanted * 5 // 4 for gap in seen), (number, seen)
        assert len(set(seen)) > 1
    client = Client()
    client.run(HOUR_MS)
    messages = client.sent()
    assert {message.xid for _, _, message, _, _ in messages} == {messages[0][2].xid}
    assert messages[-1][4] > 3000  # seconds
    assert len(client.timers) == 1


def test_silence_is_told_once_and_the_search_goes_on(client):
    client.run(HOUR_MS)
    assert client.events == [("silence", 5000 + net_dhcp.SILENCE_MS)]
    client.bind()
    assert [event[0] for event in client.events] == ["silence", "bound"]


def test_transaction_ids_of_two_clients_differ():
    assert Client(1).last().xid != Client(2).last().xid


def test_no_buffer_is_counted_and_tried_again():
    client = Client(start=False)
    client.ipv4.has_frames = False
    client.dhcp.start()
    client.run(0)
    assert client.dhcp.counters["OutErrors"] == 1
    client.ipv4.has_frames = True
    client.run(2000)
    client.bind()


# --- REQUESTING ---


def test_offer_is_requested_by_server_and_address(client):
    question = client.last()
    client.run(2500)
    discover_secs = client.sent()[-1][4]
    client.run(900)
    client.answer(dhcp.OFFER, question)
    [(src_ip, dst_ip, message, flags, secs)] = client.sent()
    assert (src_ip, dst_ip, flags) == (0, BROADCAST, dhcp.BROADCAST)
    assert secs == discover_secs > 0
    assert message.xid == question.xid
    assert message.number(dhcp.OPTION_TYPE, 1) == dhcp.REQUEST_LEASE
    assert message.options[dhcp.OPTION_SERVER] == ip(SERVER)
    assert message.options[dhcp.OPTION_REQUESTED_ADDRESS] == ip(ADDRESS)
    assert message.ciaddr == 0


def test_first_offer_is_taken_and_later_ones_are_not(client):
    question = client.last()
    client.answer(dhcp.OFFER, question)
    client.answer(dhcp.OFFER, question, server=SERVER + 1)
    assert len(client.sent()) == 1
    assert client.dhcp.counters["InUnexpected"] == 1


def test_requesting_silence_is_repeated_four_times_then_all_begins_anew(client):
    first = client.last()
    client.answer(dhcp.OFFER, first)
    client.run(60_000)
    kinds = [message.number(53, 1) for _, _, message, _, _ in client.sent()]
    assert kinds[:5] == [dhcp.REQUEST_LEASE] * 4 + [dhcp.DISCOVER]
    client.run(120_000)
    question = client.last()
    assert question.xid != first.xid
    client.answer(dhcp.OFFER, question)
    client.answer(dhcp.ACK, client.last())
    assert client.dhcp.state == net_dhcp.BOUND


def test_server_that_offers_and_refuses_is_asked_ever_less_often(client):
    asked = []
    question = client.last()
    for _ in range(12):
        client.answer(dhcp.OFFER, question)
        client.answer(dhcp.NAK, client.last())
        while not client.ipv4.sent:
            client.run(100)
        asked.append(client.now_ms)
        question = client.last()
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert gaps[0] < 6000
    assert gaps[-1] > 40_000
    assert client.dhcp.counters["InNaks"] == 12


def test_ack_binds_with_all_that_was_given(client):
    extra = [
        (dhcp.OPTION_DNS, ip(0x0A000203) + ip(0) + ip(0x08080808)),
        (dhcp.OPTION_MTU, struct.pack(">H", 1400)),
    ]
    client.bind(extra=extra)
    [(what, now_ms, lease)] = client.events
    assert (what, now_ms, client.dhcp.state) == ("bound", 5000, net_dhcp.BOUND)
    assert (lease.ip, lease.prefix_len, lease.router, lease.server_ip) == (ADDRESS, 24, SERVER, SERVER)
    assert (lease.resolvers, lease.mtu, lease.duration_s) == ([0x0A000203, 0x08080808], 1400, 3600)
    assert (lease.renew_s, lease.rebind_s) == (1800, 3150)


@pytest.mark.parametrize(("mtu", "kept"), [(575, None), (576, 576), (0, None), (9000, 9000)])
def test_mtu_below_576_is_not_believed(client, mtu, kept):
    client.bind(extra=[(dhcp.OPTION_MTU, struct.pack(">H", mtu))])
    assert client.dhcp.lease.mtu == kept


# --- forged answers ---


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"xid": 1}, "InUnexpected"),
        ({"chaddr": b"\x52\x54\x00\x00\x00\x02"}, "InUnexpected"),
        ({"op": dhcp.REQUEST}, "InUnexpected"),
    ],
)
def test_selecting_forged_offer_is_dropped_and_counted(client, change, counter):
    client.answer(dhcp.OFFER, client.last(), **change)
    assert client.sent() == []
    assert client.dhcp.counters[counter] == 1
    assert client.dhcp.state == net_dhcp.SELECTING


@pytest.mark.parametrize("kind", [dhcp.ACK, dhcp.NAK])
@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"xid": 1}, "InUnexpected"),
        ({"chaddr": b"\x52\x54\x00\x00\x00\x02"}, "InUnexpected"),
        ({"server": SERVER + 7}, "InOtherServer"),
        ({"server": None}, "InOtherServer"),
    ],
)
def test_requesting_forged_answer_is_dropped_and_the_right_one_binds(client, kind, change, counter):
    client.answer(dhcp.OFFER, client.last())
    question = client.last()
    client.answer(kind, question, **change)
    assert client.dhcp.lease is None
    assert client.dhcp.state == net_dhcp.REQUESTING
    assert client.dhcp.counters[counter] == 1
    client.answer(dhcp.ACK, question)
    assert client.dhcp.lease.ip == ADDRESS


def test_ack_of_another_address_than_was_offered_is_refused(client):
    client.answer(dhcp.OFFER, client.last())
    client.answer(dhcp.ACK, client.last(), address=ADDRESS + 1)
    assert client.dhcp.lease is None
    assert client.dhcp.counters["InRefused"] == 1


def test_answer_from_another_port_is_dropped(client):
    client.deliver(reply(dhcp.OFFER, client.last()), src_port=6767)
    assert client.sent() == []
    assert client.dhcp.counters["InErrors"] == 1


def test_every_truncation_of_an_offer_is_dropped_or_refused(client):
    question = client.last()
    data = reply(dhcp.OFFER, question).rstrip(b"\0")
    for length in range(len(data) - 1 - 6):  # without the lease time, which comes last
        client.deliver(data[:length])
    assert client.dhcp.state == net_dhcp.SELECTING
    assert client.sent() == []


@pytest.mark.parametrize("kind", [dhcp.OFFER, dhcp.ACK, dhcp.NAK])
def test_bound_unasked_answers_change_nothing(client, kind):
    question = client.last()
    client.answer(dhcp.OFFER, question)
    client.answer(dhcp.ACK, client.last())
    lease = client.dhcp.lease
    for _ in range(1000):
        client.answer(kind, question)
    assert client.dhcp.lease is lease
    assert client.dhcp.state == net_dhcp.BOUND
    assert client.dhcp.counters["InUnexpected"] == 1000
    assert len(client.timers) == 1


# --- BOUND, RENEWING, REBINDING, the end ---


def test_bound_renews_at_half_time_by_unicast(client):
    client.bind(lease=3600)
    [sent_ms] = client.run(1_800_000)[:1]
    assert 5000 + 1_800_000 * 15 // 16 <= sent_ms <= 5000 + 1_800_000
    src_ip, dst_ip, message, flags, _ = client.sent()[0]
    assert (src_ip, dst_ip, flags) == (ADDRESS, SERVER, 0)
    assert message.ciaddr == ADDRESS
    assert message.number(53, 1) == dhcp.REQUEST_LEASE
    assert dhcp.OPTION_SERVER not in message.options
    assert dhcp.OPTION_REQUESTED_ADDRESS not in message.options
    client.answer(dhcp.ACK, message)
    assert client.dhcp.state == net_dhcp.BOUND
    assert [event[0] for event in client.events] == ["bound", "bound"]
    assert client.run(1_600_000) == []


def test_lease_counts_from_the_request_not_from_the_answer(client):
    client.answer(dhcp.OFFER, client.last())
    question = client.last()
    client.run(900)
    client.answer(dhcp.ACK, question, lease=20)
    client.run(60_000)
    assert client.events[1][:2] == ("lost", 5000 + 20_000)


def test_silence_renews_then_rebinds_then_the_address_goes(client):
    client.bind(lease=3600)
    times = client.run(HOUR_MS - 1)
    assert [event[0] for event in client.events] == ["bound"]
    rebinding = [src for src in client.sent() if src[1] == BROADCAST]
    assert rebinding
    assert all(message.ciaddr == ADDRESS for _, _, message, _, _ in rebinding)
    assert 8 <= len(times) <= 40
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert sum(gap < 59_000 for gap in gaps) <= 2  # the last before each of the two ends
    client.run(1)
    assert client.events[1] == ("lost", 5000 + HOUR_MS, "its lease ended")
    assert client.dhcp.lease is None
    [(src_ip, _, message, _, secs)] = client.sent()
    assert (src_ip, message.number(53, 1), secs) == (0, dhcp.DISCOVER, 0)
    client.run(10_000)
    assert client.events[-1][0] == "silence"


def test_lease_of_twenty_seconds_is_renewed_again_and_again(client):
    client.bind(lease=20)
    for _ in range(100):
        while not client.ipv4.sent:
            client.run(100)
        client.answer(dhcp.ACK, client.last(), lease=20)
    assert [event[0] for event in client.events] == ["bound"] * 101
    assert client.now_ms > 5000 + 900_000


def test_short_lease_asks_more_than_once(client):
    client.bind(lease=20)
    assert 4 <= len(client.run(19_999)) <= 20
    assert client.dhcp.lease is not None


def test_renewing_nak_takes_the_address_at_once(client):
    client.bind()
    client.run(1_800_000)
    client.answer(dhcp.NAK, client.last())
    assert client.events[-1][0] == "lost"
    assert client.dhcp.lease is None
    client.run(0)
    assert client.last().number(53, 1) == dhcp.DISCOVER


@pytest.mark.parametrize("kind", [dhcp.ACK, dhcp.NAK])
def test_renewing_answer_of_another_server_is_dropped(client, kind):
    client.bind()
    client.run(1_800_000)
    client.answer(kind, client.last(), server=SERVER + 1)
    assert client.dhcp.counters["InOtherServer"] == 1
    assert client.dhcp.state == net_dhcp.RENEWING


def test_rebinding_any_server_may_extend(client):
    client.bind()
    client.run(3_200_000)
    assert client.dhcp.state == net_dhcp.REBINDING
    client.answer(dhcp.ACK, client.last(), server=SERVER + 1)
    assert client.dhcp.state == net_dhcp.BOUND
    assert client.dhcp.lease.server_ip == SERVER + 1


def test_renewing_ack_of_another_address_is_refused(client):
    client.bind()
    client.run(1_800_000)
    client.answer(dhcp.ACK, client.last(), address=ADDRESS + 1)
    assert client.dhcp.lease.ip == ADDRESS
    assert client.dhcp.counters["InRefused"] == 1


def test_infinite_lease_has_no_timer(client):
    client.bind(lease=dhcp.INFINITE_S)
    assert len(client.timers) == 0
    assert client.run(HOUR_MS) == []


# --- giving it back ---


def test_stop_releases_the_lease(client):
    client.bind()
    client.dhcp.stop(client.now_ms)
    [(src_ip, dst_ip, message, _, _)] = client.sent()
    assert (src_ip, dst_ip, message.ciaddr) == (ADDRESS, SERVER, ADDRESS)
    assert message.number(53, 1) == dhcp.RELEASE
    assert message.options[dhcp.OPTION_SERVER] == ip(SERVER)
    assert len(client.timers) == 0
    assert client.udp.ports == {}


def test_stop_before_there_is_a_lease_says_nothing(client):
    client.sent()
    client.dhcp.stop(client.now_ms)
    client.dhcp.stop(client.now_ms)
    assert client.sent() == []
    assert client.run(HOUR_MS) == []


def in_use(client, mac=b"\x02\0\0\0\0\7"):
    """Somebody answers for the address that is probed."""
    [(address, on_result)] = client.ipv4.neighbours.probes.items()
    del client.ipv4.neighbours.probes[address]
    on_result(address, mac, client.now_ms)


def assert_declined(client):
    src_ip, dst_ip, message, _, _ = client.sent()[-1]
    assert (src_ip, dst_ip, message.ciaddr) == (0, BROADCAST, 0)
    assert message.number(53, 1) == dhcp.DECLINE
    assert message.options[dhcp.OPTION_REQUESTED_ADDRESS] == ip(ADDRESS)
    assert message.options[dhcp.OPTION_SERVER] == ip(SERVER)
    assert client.dhcp.lease is None
    assert client.dhcp.counters["Declined"] == 1
    assert client.run(9_999) == []
    client.run(1)
    assert client.last().number(53, 1) == dhcp.DISCOVER


def test_offered_address_is_asked_about_at_once(client):
    client.answer(dhcp.OFFER, client.last())
    assert list(client.ipv4.neighbours.probes) == client.ipv4.neighbours.sent == [ADDRESS]


def test_offered_address_that_is_in_use_is_declined(client):
    client.answer(dhcp.OFFER, client.last())
    question = client.last()
    in_use(client)
    assert client.events == []
    client.answer(dhcp.ACK, question)
    assert client.events == []
    assert_declined(client)


def test_address_that_turns_out_to_be_in_use_is_given_up_and_declined(client):
    client.bind()
    client.run(300)
    in_use(client)
    assert client.events[-1][::2] == ("lost", "another host has it")
    assert_declined(client)


def test_address_that_nobody_uses_is_kept(client):
    client.bind()
    in_use(client, None)
    assert client.dhcp.lease.ip == ADDRESS
    assert client.sent() == []


def test_answer_about_an_address_that_is_not_ours_any_more_changes_nothing(client):
    client.bind()
    client.run(1_800_000)
    client.answer(dhcp.NAK, client.last())
    client.run(0)
    client.sent()
    in_use(client)
    assert client.sent() == []
    assert client.dhcp.counters["Declined"] == 0


def test_no_room_for_a_probe_does_not_keep_the_address_from_being_used(client):
    client.ipv4.neighbours.is_full = True
    client.bind()
    assert client.dhcp.lease.ip == ADDRESS


# --- answers to an address that we have not got ---


def test_answers_to_any_address_are_taken_only_while_they_are_awaited(client):
    assert client.ipv4.ports == 67 << 16 | 68
    client.answer(dhcp.OFFER, client.last())
    assert client.ipv4.ports
    client.answer(dhcp.ACK, client.last())
    assert client.ipv4.ports == 0
    client.run(HOUR_MS // 2 + 1000)  # renewing: by its address
    assert client.ipv4.ports == 0
    client.answer(dhcp.NAK, client.last())
    client.run(0)
    assert client.ipv4.ports
    client.dhcp.stop(client.now_ms)
    assert client.ipv4.ports == 0


# --- packets that come before the address ---


def test_packets_are_waited_for_until_the_address_is_ours(client):
    client.bind()
    assert client.ipv4.expected == [True, "now"]
    client.dhcp.stop(client.now_ms)
    assert client.ipv4.expected[-1] is False


def test_packets_are_not_waited_for_once_nobody_has_answered(client):
    client.run(60_000)
    assert client.ipv4.expected == [True, False]


def test_packets_are_not_waited_for_after_a_decline(client):
    client.answer(dhcp.OFFER, client.last())
    in_use(client)
    assert client.ipv4.expected[-1] is False


ADDRESSES = st.one_of(
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from([0, ADDRESS, SERVER, 0x0A000200, 0x0A0002FF, 0x7F000001, 0xE0000001, 0xFFFFFFFF, 0x0A00020E]),
)
MASKS = st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 32).map(lambda bits: 0xFFFFFFFF << bits & 0xFFFFFFFF))


@given(ADDRESSES, MASKS, ADDRESSES, ADDRESSES)
@settings(max_examples=500)
def test_every_lease_that_is_taken_is_one_that_ipv4_takes(address, mask, router, server):
    client = Client()
    client.answer(dhcp.OFFER, client.last(), address=address, mask=mask, router=router, server=server)
    if client.dhcp.state != net_dhcp.REQUESTING:
        return
    client.answer(dhcp.ACK, client.last(), address=address, mask=mask, router=router, server=server)
    lease = client.dhcp.lease
    host = World(seed=1).host("192.0.2.1/24")
    host.ipv4.set_address(f"{ipv4.format_address(lease.ip)}/{lease.prefix_len}", None, lease.routes)
    assert host.ipv4.ip == address
    if lease.router is not None:
        assert host.ipv4.next_hop(0x08080808) in (lease.router, 0x08080808)


@pytest.mark.parametrize("seed", range(4))
def test_any_octets_never_raise_and_leave_one_timer(seed):
    rng = random.Random(seed)
    client = Client(seed)
    question = client.last()
    for _ in range(3000):
        if client.ipv4.sent:
            question = client.last()
        data = bytearray(reply(rng.choice([dhcp.OFFER, dhcp.ACK, dhcp.NAK]), question, lease=rng.choice([10, 3600])))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        client.deliver(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]))
        client.ipv4.neighbours.probes.clear()
        client.run(rng.choice([0, 0, 500, 20_000]))
        assert len(client.timers) <= 1
        lease = client.dhcp.lease
        assert (lease is not None) == (client.dhcp.state >= net_dhcp.BOUND)
    assert client.dhcp.counters["Bound"] > 0
    assert client.dhcp.counters["InErrors"] > 0


def test_memory_that_ran_out_does_not_stop_the_search(client):
    client.sent()
    emit = net_dhcp.wire.emit
    failing = [True]

    def sometimes(*args):
        if failing[0]:
            raise MemoryError
        return emit(*args)

    net_dhcp.wire.emit = sometimes
    try:
        client.run(0)
        for _ in range(3):
            client.now_ms += 500
            client.timers.poll(client.now_ms, 64)
        assert client.sent() == []
        failing[0] = False
        client.run(3000)
    finally:
        net_dhcp.wire.emit = emit
    client.bind()
