# SPDX-License-Identifier: MIT
"""What TCP must survive, over IPv4 and IPv6. survival.Siege asserts what is common to all; the last part takes defences
away. What is below TCP and beside it: test_survival_ip.py, test_survival_neighbours.py.
"""

import pytest

from libos.hal import dma
from libos.net.tcp import input as tcp_input
from libos.net.tcp import scoreboard
from libos.net.tcp.timewait import TimeWaits
from libos.wire import ipv6, tcp
from libos.wire.tcp import ACK, FIN, PSH, RST, SYN, URG
from tests.net.peer import build, tcp_segment
from tests.net.survival import FAMILIES, Siege, assert_it_shows, poke
from tests.net.world import World, pattern

OFFSET, URGENT = 12, 18  # in a segment


# --- headers ---


@FAMILIES
def test_truncated_headers(family):
    with Siege("InErrs", family) as siege:
        whole = siege.segment(ACK, options=tcp.timestamps_option(1, 2))
        for length in range(32):
            siege.inject(siege.cut(whole, length))
        forged = siege.forge(ACK | PSH, data=b"x" * 40)
        for length in range(20):
            siege.inject(siege.cut(forged, length))


@FAMILIES
@pytest.mark.parametrize("offset", [0, 1, 4, 6, 15])
def test_header_lengths_that_contradict_the_packet(family, offset):
    with Siege("InErrs", family) as siege:
        for packet in (siege.segment(SYN), siege.segment(ACK), siege.forge(ACK)):
            siege.inject(poke(packet, siege.at + OFFSET, offset << 4))
        siege.talk()


@FAMILIES
def test_packet_longer_than_its_frame(family):
    with Siege("ip.InHdrErrors" if family == 4 else "ip.InTruncatedPkts", family) as siege:
        for length in (47, 80, 1480, 65_515):
            siege.inject(siege.claim(siege.segment(ACK), length), siege.claim(siege.forge(ACK), length))


@FAMILIES
def test_frame_longer_than_its_packet(family):
    """Padding is nobody's data."""
    with Siege("InSegs", family) as siege:
        siege.inject(siege.forge(ACK) + b"padding that is not ours" * 3)
        siege.talk()


@FAMILIES
@pytest.mark.parametrize("flags", [0, FIN, SYN | FIN, SYN | RST, SYN | FIN | RST | ACK, FIN | PSH | URG, 0xFF])
def test_flags_that_contradict_each_other(family, flags):
    with Siege("InSegs", family) as siege:
        for dst_port in (7, 99):
            siege.inject(*[siege.segment(flags, seq, dst_port=dst_port, src_port=6000 + seq) for seq in range(50)])
        if not flags & RST:  # with the right number that is a reset
            siege.inject(siege.forge(flags & ~FIN | (0 if flags & SYN else URG), data=b"")[: siege.at + 20])


@FAMILIES
@pytest.mark.parametrize(
    "options",
    [b"\x02\x00\x05\xb4", b"\x02\x01\x05\xb4", b"\x02\x28\x05\xb4", b"\x01\x01\x01\x02", b"\x08\x0b" + bytes(10)]
    + [b"\x05\x03\x00\x00", b"\x05\x09" + bytes(10), b"\x03\x04\x07\x00", b"\xfe\x00\x00\x00", b"\xfe\xff\x00\x00"],
    ids=bytes.hex,
)
def test_options_of_length_0_and_1_and_past_the_end(family, options):
    with Siege("InErrs", family) as siege:
        siege.inject(*[siege.segment(SYN, number, src_port=6000 + number, options=options) for number in range(20)])
        if options[0] != 3:  # a window scale has no meaning there, and no timestamps are nothing to drop it for
            siege.inject(siege.forge(ACK | PSH, data=b"not to be delivered", options=options))
        assert not siege.host.tcp.half_open or options[0] in (5, 8)


@FAMILIES
def test_options_without_end_or_of_nonsense_are_skipped(family):
    with Siege("InSegs", family) as siege:
        for kind in (6, 9, 28, 30, 253):
            siege.inject(siege.segment(SYN, options=bytes([kind, 4, 0, 0]) * 10, src_port=7000 + kind))
        siege.inject(siege.segment(SYN, options=b"\x01" * 40), siege.segment(SYN, options=b"\x00" * 40))
        assert len(siege.host.tcp.half_open) == 6


@FAMILIES
def test_bad_checksums(family):
    with Siege("InCsumErrors", family) as siege:
        for bit in range(16):
            packet = bytearray(siege.forge(ACK | PSH, data=b"evil"))
            packet[siege.at + 16 + bit // 8] ^= 1 << bit % 8
            siege.inject(packet)
        for at in range(24):
            packet = bytearray(siege.forge(RST | ACK, data=b"evil"))
            packet[siege.at + at] ^= 0x10
            siege.inject(packet)


@FAMILIES
def test_ports_of_zero_and_segments_to_everybody(family):
    with Siege("InErrs", family) as siege:
        siege.inject(siege.segment(SYN, src_port=0), siege.segment(SYN, dst_port=0), siege.segment(ACK, src_port=0))
        everybody = ipv6.ALL_NODES if family == 6 else 0x0A0000FF
        body = tcp_segment(siege.ip, everybody, 5000, 7, 0, 0, SYN, 1000)
        siege.inject(build(siege.ip, everybody, b"\xff" * 6, body), siege.packet(body, 6, dst_ip=everybody))
        assert not siege.host.tcp.half_open


@FAMILIES
def test_segments_from_ourselves_to_ourselves(family):
    with Siege("ip.InMartians", family) as siege:
        for flags in (SYN, ACK, SYN | ACK, RST):
            siege.inject(*[siege.segment(flags, number, 0, siege.host_ip, 7, 7) for number in range(50)])


# --- floods ---


@FAMILIES
@pytest.mark.parametrize(
    ("flags", "counter"),
    [(SYN, "SyncookiesSent"), (ACK, "OutRsts"), (RST, "InSegs"), (FIN | ACK, "OutRsts"), (SYN | ACK, "OutRsts")],
)
def test_floods(family, flags, counter):
    with Siege(counter, family, heap_slack=64 << 10) as siege:
        for turn in range(10):
            packets = []
            for number in range(100):
                src_ip = siege.stranger(siege.rng.randrange(100))
                port = siege.rng.choice([7, 9, 99])
                packets.append(
                    siege.segment(flags, siege.rng.getrandbits(32), number, src_ip, 1024 + 100 * turn + number, port)
                )
            siege.inject(*packets)
            siege.world.run(for_ms=5)
            if turn % 5 == 0:
                siege.talk()
        assert len(siege.host.tcp.half_open) <= 2 * 128


@FAMILIES
def test_flood_of_syns_with_data_and_options(family):
    with Siege("SyncookiesSent", family) as siege:
        options = tcp.syn_options(1460, 7, True, 1)
        for number in range(300):
            siege.inject(siege.segment(SYN, number, src_port=2000 + number, data=b"x" * 200, options=options))


@FAMILIES
def test_flood_of_syns_that_guess_cookies(family):
    with Siege("SyncookiesFailed", family) as siege:
        siege.inject(*[siege.segment(SYN, number, src_port=2000 + number) for number in range(200)])
        for _ in range(10):
            numbers = [siege.rng.getrandbits(32) for _ in range(100)]
            siege.inject(*[siege.segment(ACK, 5, number, src_port=3000 + number % 9000) for number in numbers])
        assert len(siege.host.accepted) == 1


@FAMILIES
def test_table_of_connections_full(family):
    with Siege("ListenDrops", family, tcp={"max_connections": 20}) as siege:
        peers = [siege.peer(port=5000 + number, resolve=not number) for number in range(25)]
        for peer in peers[:19]:
            peer.log.clear()
            peer.connect()
        for peer in peers[19:]:
            peer.send(SYN)
        siege.talk()
        assert len(siege.host.tcp.by_key) == 20
        for flow in siege.host.accepted[1:]:
            flow.conn.set_keepalive(10_000)
        siege.world.run(for_ms=200_000)  # nobody is there
        assert len(siege.host.tcp.by_key) == 1


@FAMILIES
def test_table_of_time_waits_full(family):
    with Siege("TCPTimeWaitOverflow", family, tcp={"max_time_waits": 10}) as siege:
        for number in range(30):
            peer = siege.peer(port=5000 + number, resolve=not number)
            peer.log.clear()
            peer.connect()
            siege.host.accepted[-1].conn.close()
            siege.world.settle()
            peer.take()
            peer.rcv_nxt = 2
            peer.send(ACK | FIN)
        assert len(siege.host.tcp.time_waits.by_key) == 10


# --- blind attacks on the healthy connection ---


@FAMILIES
@pytest.mark.parametrize(
    ("flags", "counter"),
    [(RST, "TCPInUnacceptable"), (RST, "TCPChallengeACK"), (SYN, "TCPChallengeACK"), (SYN | ACK, "TCPChallengeACK")],
)
def test_blind_resets_and_syns(family, flags, counter):
    inside = counter == "TCPChallengeACK"
    with Siege(counter, family) as siege:
        for turn in range(100):
            seq = siege.rng.randrange(1, 60_000) if inside else siege.rng.randrange(1 << 20, 1 << 32)
            siege.inject(siege.forge(flags, seq, siege.rng.getrandbits(32)))
            if turn % 20 == 0:
                siege.talk()


@FAMILIES
def test_blind_data(family):
    with Siege("TCPAckOutOfWindow", family) as siege:
        for turn in range(200):
            ack = siege.rng.randrange(1, (1 << 32) - (1 << 21))
            siege.inject(siege.forge(ACK | PSH, siege.rng.randrange(60_000), ack, b"evil" * 100))
            if turn % 40 == 0:
                siege.talk()


@FAMILIES
@pytest.mark.parametrize(("timestamps", "counter"), [(True, "PAWSEstab"), (False, "TCPInUnacceptable")])
def test_old_duplicates_after_reuse(family, timestamps, counter):
    """Everything that a connection said is said again to its successor with the same addresses and ports."""
    with Siege(counter, family, tcp={"timestamps": timestamps}) as siege:
        old = []
        siege.world.filter = lambda device, packet: old.append(packet) if device is siege.friend.device else None
        siege.talk()
        port = siege.victim.remote_port
        siege.healthy.send(b"", close=True)
        siege.world.run(until=lambda: siege.healthy.is_closed)
        siege.world.run(for_ms=61_000)
        siege.world.filter = None
        del siege.host.accepted[:]
        choose = siege.friend.tcp._choose_port
        siege.friend.tcp._choose_port = lambda way, to: (way.ip.key(way.remote_ip, way.local_ip, to, port), port)
        siege.healthy = siege.friend.connect(siege.host, 7)
        siege.friend.tcp._choose_port = choose
        siege.world.run(until=lambda: siege.host.accepted)
        siege.victim = siege.host.accepted[0].conn
        assert siege.victim.remote_port == port
        for _ in range(3):
            siege.talk()
            siege.inject(*[packet for packet in old if packet[20 if family == 6 else 23] == 6])


# --- peers that do not do their part ---


def impolite(siege, to=7, options=b"", window=None):
    peer = siege.peer(to=to)
    peer.connect(options=options, window=window)
    return peer, siege.host.accepted[-1]


@FAMILIES
def test_zero_window_for_minutes(family):
    with Siege("TCPWinProbe", family) as siege:
        peer, flow = impolite(siege, 9)
        peer.send(ACK, window=0)
        flow.send(pattern(500_000))
        for _ in range(30):
            siege.world.run(for_ms=20_000)
            if peer.take():
                peer.send(ACK, window=0)
        siege.talk()
        assert flow.conn.error is None
        assert flow.conn.tx_end - flow.conn.snd_una <= flow.conn.snd_buf


@FAMILIES
def test_peer_that_never_reads_and_then_goes(family):
    with Siege("TCPAbortOnTimeout", family) as siege:
        _peer, flow = impolite(siege, 9)
        flow.conn.set_user_timeout(30_000)
        flow.send(pattern(500_000))
        siege.world.run(for_ms=29_000)
        assert flow.error is None
        siege.world.run(for_ms=40_000)
        assert flow.error is not None


@FAMILIES
def test_peer_that_never_writes(family):
    with Siege("TCPAbortOnTimeout", family) as siege:
        _peer, flow = impolite(siege)
        flow.conn.set_keepalive(5000)
        siege.world.run(for_ms=60_000)
        assert flow.error is not None


@FAMILIES
def test_peer_that_never_closes(family):
    """It acknowledges our FIN and says no more: an application that has gone does not wait for ever."""
    with Siege("PassiveOpens", family) as siege:
        peer, flow = impolite(siege)
        flow.conn.detach()
        siege.world.settle()
        peer.take()
        peer.send(ACK, ack=2)
        assert flow.conn.state_name == "FIN-WAIT-2"
        siege.world.run(for_ms=61_000)
        assert flow.conn.state_name == "CLOSED"


@FAMILIES
def test_window_of_one(family):
    with Siege("TCPWinProbe", family) as siege:
        peer, flow = impolite(siege, 9)
        peer.send(ACK, window=1)
        flow.send(pattern(200_000))
        sent = 0
        for _ in range(200):
            siege.world.run(for_ms=500)
            segments = peer.take()
            sent += len(segments)
            peer.ack_data(segments, window=1)
        assert 0 < sent <= 400  # not a segment for each octet as fast as it can
        siege.talk()


@FAMILIES
def test_window_that_shrinks(family):
    with Siege("TCPWinProbe", family) as siege:
        peer, flow = impolite(siege, 9)
        flow.send(pattern(200_000))
        for window in (30_000, 10_000, 100, 0, 5000, 1, 0) * 10:
            siege.world.run(for_ms=700)
            segments = peer.take()
            peer.ack_data(segments[: len(segments) // 2], window=window)
        siege.talk()


@FAMILIES
def test_acknowledges_what_was_not_sent(family):
    with Siege("TCPAckOutOfWindow", family) as siege:
        peer, flow = impolite(siege, 9)
        flow.send(pattern(5000))
        siege.world.settle()
        for ack in (5002, 6000, 100_000, 1 << 30, -100_000):
            peer.send(ACK, ack=ack)
        assert flow.conn.snd_una == flow.conn.iss + 1


@FAMILIES
def test_sacks_of_what_was_not_sent_and_of_single_octets(family):
    with Siege("TCPDSACKRecv", family) as siege:
        peer, flow = impolite(siege, 9, options=tcp.syn_options(1000, 4, True))
        flow.send(pattern(100_000))
        siege.world.settle()
        base = peer.irs + 1
        for number in range(800):
            left = siege.rng.choice([base + 3 * number, siege.rng.getrandbits(32)]) & 0xFFFFFFFF
            right = (left + siege.rng.choice([0, 1, 2, -1, 1 << 31])) & 0xFFFFFFFF
            peer.send(ACK, ack=1, options=tcp.sack_option([(left, right)]))
        assert len(flow.conn.sacked) <= 128


@FAMILIES
def test_single_octets_out_of_order(family):
    with Siege("TCPOFODrop", family) as siege:
        peer, flow = impolite(siege, 9, options=tcp.syn_options(1000, 0, True))
        numbers = list(range(2, 900, 2))
        siege.rng.shuffle(numbers)
        for number in numbers:
            peer.send(ACK, seq=number, data=b"x", settle=False)
            if number % 10 == 0:
                siege.world.settle()
        siege.world.settle()
        assert len(flow.conn.ooo) <= 256
        siege.talk()


@FAMILIES
def test_single_octets_in_order_that_nobody_reads(family):
    with Siege("InSegs", family) as siege:
        peer, flow = impolite(siege, 9)
        for _ in range(1500):
            peer.send(ACK, data=b"x")
        assert len(flow.conn.rx_chunks) < 130


@FAMILIES
def test_data_beyond_the_window(family):
    with Siege("TCPInUnacceptable", family) as siege:
        peer, flow = impolite(siege, 9)
        edge = flow.conn.rcv_adv - flow.conn.irs
        for seq in range(edge - 5000, edge + 200_000, 1400):
            peer.send(ACK, seq=seq, data=bytes(1400))
        assert sum(len(data) for _, _, data in flow.conn.ooo) <= flow.conn.rcv_buf


@FAMILIES
def test_urgent_data_and_pointers_of_nonsense(family):
    with Siege("InSegs", family) as siege:
        peer, flow = impolite(siege)
        for pointer in (0, 1, 4, 5, 65535):
            packet = siege.segment(ACK | PSH | URG, peer.iss + peer.seq, peer.acked(), src_port=peer.port, data=b"data")
            peer.seq += 4
            siege.inject(poke(packet, siege.at + URGENT, pointer, 2))
        assert flow.received_octets == 20


# --- memory ---


@FAMILIES
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_memory_exhausted(family, monkeypatch, share):
    """New work is refused, running work goes on."""
    with Siege("stack.MemoryDrops", family) as siege:
        take = dma._take

        def sometimes(*args):
            if siege.rng.random() < share:
                raise MemoryError
            return take(*args)

        with monkeypatch.context() as patch:
            patch.setattr(dma, "_take", sometimes)
            for number in range(10):
                siege.talk()
                siege.inject(siege.segment(SYN, number, src_port=7000 + number))


@FAMILIES
def test_memory_exhausted_while_a_connection_is_made(family, monkeypatch):
    with Siege("stack.MemoryDrops", family) as siege:
        made = []

        def no_memory(*args):
            made.append(args)
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr("libos.net.tcp.listener.Connection", no_memory)
            for number in range(10):
                peer = siege.peer(port=5000 + number, resolve=not number)
                peer.log.clear()
                peer.send(SYN)
                peer.take()
                peer.send(ACK)
        assert made
        siege.talk()


# --- the attacks again, with the defence taken away: what is above can fail ---


WITHOUT = {
    "no limit on what is out of order": (
        lambda: test_single_octets_out_of_order(4),
        lambda patch: patch.setattr(tcp_input, "MAX_OOO", 1 << 30),
    ),
    "no limit on the scoreboard": (
        lambda: test_sacks_of_what_was_not_sent_and_of_single_octets(4),
        lambda patch: patch.setattr(scoreboard, "MAX_SACKED", 1 << 30),
    ),
    "resets are believed": (
        lambda: test_blind_resets_and_syns(6, RST, "TCPChallengeACK"),
        lambda patch: patch.setattr(tcp_input, "_reset_arrives", lambda conn, seq, now_ms: conn.fail(104)),
    ),
    "any acknowledgement will do": (
        lambda: test_blind_data(6),
        lambda patch: patch.setattr(tcp_input, "_may_acknowledge", lambda conn, segment, ack, now_ms: True),
    ),
    "no checksums": (
        lambda: test_bad_checksums(6),
        lambda patch: patch.setattr(dma, "_checksum", lambda *args: 0xFFFF),
    ),
    "TIME_WAIT without a limit": (
        lambda: test_table_of_time_waits_full(6),
        lambda patch: patch.setattr(
            TimeWaits, "_limit", property(lambda self: 1 << 30, lambda self, limit: None), raising=False
        ),
    ),
    "a backlog without an end": (
        lambda: test_floods(6, SYN, "SyncookiesSent"),
        lambda patch: patch.setattr("libos.net.tcp.listener.Listener.__init__", endless),
    ),
}


def endless(self, port, on_accept, backlog):
    self.port, self.on_accept, self.backlog, self.half_open = port, on_accept, 1 << 30, []


@pytest.mark.parametrize("name", WITHOUT)
def test_without_the_defence_it_shows(monkeypatch, name):
    assert_it_shows(monkeypatch, *WITHOUT[name])


def test_frames_that_wait_for_a_mac_leave_frames_for_others():
    """Strangers of both families that answer no question for their MAC: what is held for them is bounded together."""
    world = World(seed=1)
    host = world.host("10.0.0.2/24", ipv6={"address": "fd00::2/64"})
    friend = world.host("10.0.0.3/24")
    host.echo(7)
    flow = friend.connect(host, 7)
    world.run(until=lambda: host.accepted)
    for number in range(60):
        for ip in (f"10.0.0.{20 + number}", f"fd00::{20 + number}"):
            host.connect(ip, 80)
            world.settle()
    assert host.device.in_use <= 32
    assert host.arp.counters["PendingDropped"] + host.ndp.counters["PendingDropped"] > 50
    flow.send(b"meanwhile")
    world.run(until=lambda: bytes(flow.received) == b"meanwhile", limit_ms=500)
