# SPDX-License-Identifier: MIT
"""SYN cookies (RFC 4987 section 3.6): a full backlog, and connections all the same."""

import pytest

from libos.net.tcp import syncookies
from libos.wire import tcp
from libos.wire.tcp import ACK, FIN, PSH, SYN
from tests.net.peer import Peer
from tests.net.world import Entropy, World, pattern


@pytest.fixture
def host(world):
    """A listener whose backlog of one is full."""
    host = world.host("10.0.0.2/24")
    host.listen(7, backlog=1)
    filler = Peer(world, host, port=4000)
    filler.send(SYN)
    filler.expect("SA")
    return host


def counted(host):
    counters = host.tcp.counters
    return tuple(counters["Syncookies" + name] for name in ("Sent", "Recv", "Failed"))


@pytest.mark.parametrize("scale", [None, 0, 2, 14])
@pytest.mark.parametrize("sack", [True, False])
def test_cookie_carries_what_the_syn_offered(world, host, scale, sack):
    peer = Peer(world, host)
    world.now_ms += 17  # so that the lowest bits of the clock are something
    answer = peer.connect(options=tcp.syn_options(1400, scale, sack, 99))
    assert (answer.window_scale is None, answer.sack_permitted) == (scale is None, sack)
    conn = host.accepted[0].conn
    assert (conn.snd_wscale, conn.sack_on, conn.ts_on) == (scale or 0, sack, True)
    assert conn.mss == 1400 - 12
    assert counted(host) == (1, 1, 0)
    assert len(host.tcp.half_open) == 1  # the one under way is still there


def test_cookie_without_timestamps_offers_nothing_but_the_mss(world, host):
    peer = Peer(world, host)
    answer = peer.connect(options=tcp.syn_options(1460, 5, True))
    assert (answer.window_scale, answer.sack_permitted, answer.ts_val, answer.mss) == (None, False, None, 1460)
    conn = host.accepted[0].conn
    assert (conn.snd_wscale, conn.rcv_wscale, conn.sack_on, conn.ts_on, conn.mss) == (0, 0, False, False, 1460)


@pytest.mark.parametrize(
    ("offered", "got"), [(0, 536), (100, 216), (536, 536), (1300, 1220), (1459, 1440), (1460, 1460), (9000, 1460)]
)
def test_cookie_rounds_the_mss_down(world, host, offered, got):
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(offered))
    assert host.accepted[0].conn.mss == got


def test_cookie_comes_back_with_data_and_the_end(world, host):
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA")
    peer.send(PSH | ACK | FIN, data=b"all at once")
    assert bytes(host.accepted[0].received) == b"all at once"
    assert host.accepted[0].conn.state_name == "CLOSE-WAIT"


def test_cookie_leaves_nothing_and_timestamps_go_on_rising(world, host):
    before = len(host.tcp.half_open), len(host.tcp.timers)
    peer = Peer(world, host)
    peer.send(SYN, options=tcp.syn_options(1460, 2, True, 5))
    answer = peer.expect("SA")
    assert (len(host.tcp.half_open), len(host.tcp.timers)) == before
    peer.send(ACK, options=peer.ts_options(answer))
    host.accepted[0].conn.write(b"x")
    world.settle()
    assert (peer.expect("PA").ts_val - answer.ts_val) & 0xFFFFFFFF < 1000


@pytest.mark.parametrize(("seq", "ack"), [(1, 2), (2, 1), (1, 1 + (1 << 24)), (1, 1 + (1 << 27)), (1, 1 << 31)])
def test_forged_ack_is_reset_and_counted(world, host, seq, ack):
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA")
    peer.send(ACK, seq=seq, ack=ack)
    peer.expect("R")
    assert not host.accepted
    assert counted(host) == (1, 0, 1)


def test_ack_from_another_address_or_port_is_reset(world, host):
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA")
    other = Peer(world, host, port=5001, resolve=False)
    other.irs, other.rcv_nxt = peer.irs, 1
    other.send(ACK, seq=1)
    assert [s.names for s in other.take()] == ["R"]
    assert not host.accepted


def test_cookie_is_good_for_a_minute_and_not_for_three(world, host):
    early, late = Peer(world, host), Peer(world, host, port=5001)
    for peer in (early, late):
        peer.send(SYN)
        peer.expect("SA")
    world.run(for_ms=64_000)
    host.tcp.cookies.until_ms += 1_000_000  # cookies go on being sent
    early.take()
    early.send(ACK, seq=1)
    assert len(host.accepted) == 1
    world.run(for_ms=128_000)
    late.take()
    late.send(ACK, seq=1)
    late.expect("R")
    assert counted(host) == (2, 1, 1)


def test_without_a_recent_overflow_no_ack_is_looked_into(world):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.send(ACK, seq=1, ack=1)
    peer.expect("R")
    assert counted(host) == (0, 0, 0)


def test_cookies_of_a_full_connection_table_are_refused(world):
    host = world.host("10.0.0.2/24", tcp={"max_connections": 1})
    host.listen(7, backlog=1)
    first, second = Peer(world, host, port=5001), Peer(world, host, port=5002)
    Peer(world, host, port=4000).send(SYN)
    for peer in (first, second):
        peer.send(SYN)
    for peer in (first, second):
        peer.irs = None
    answers = [packet for packet in host.device.tx_log if packet[36:38] in (b"\x13\x89", b"\x13\x8a")]
    for peer, packet in zip((first, second), answers, strict=True):
        peer.irs, peer.rcv_nxt = tcp.parse(packet, 34, len(packet) - 34).seq, 1
        peer.send(ACK, seq=1)
    assert len(host.tcp.by_key) == 1
    assert host.tcp.counters["ListenDrops"] == 1


def test_cookies_are_unpredictable_and_differ_by_key_number_and_time():
    cookies = [syncookies.Cookies(Entropy(World(seed=seed).random)) for seed in range(20)]
    assert len({cookie.make(b"the same key", 5, 1460, 1000) for cookie in cookies}) == 20
    cookie = cookies[0]
    made = {cookie.make(bytes([number]), 5, 1460, 1000) & 0xFFFFFF for number in range(50)}
    made |= {cookie.make(b"k", 5, 1460, 64_000 * number) & 0xFFFFFF for number in range(50)}
    assert len(made) == 100
    for mss in range(1, 10_000, 77):
        found = cookie.check(b"k", 9, cookie.make(b"k", 9, mss, 5000), 5000)
        assert found == max([known for known in syncookies.MSS if known <= mss] or [216])
    hits = sum(cookie.check(b"k", 9, number * 40503, 5000) != 0 for number in range(20_000))
    assert hits == 0


def test_stamp_is_the_last_time_with_these_bits():
    for now in (0, 5, 31, 32, 1000, 0xFFFFFFFF, 1 << 32):
        for scale in (None, 0, 7, 14):
            for sack in (True, False):
                value = syncookies.stamp(now, scale, sack)
                assert value & 31 == (15 if scale is None else scale) | (16 if sack else 0)
                assert (now - value) & 0xFFFFFFFF < 32


def test_many_clients_through_a_backlog_of_one():
    world = World(seed=2, loss=0.01)
    server = world.host("10.0.0.2/24")
    server.listen(7, backlog=1, echoes=True)
    client = world.host("10.0.0.1/24")
    flows = [client.connect(server, 7) for _ in range(100)]
    for number, flow in enumerate(flows):
        flow.send(pattern(5000, number), close=True)
    world.run(until=lambda: all(flow.is_closed for flow in flows))
    for number, flow in enumerate(flows):
        assert bytes(flow.received) == pattern(5000, number)
    assert server.tcp.counters["SyncookiesRecv"] > 50
    world.run()
    assert server.is_clean()
