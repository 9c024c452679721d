# SPDX-License-Identifier: MIT
"""Batches of segments, taken together by header prediction and one by one without it: the outcome is the same."""

import random

import pytest

from libos.wire.tcp import ACK, FIN, PSH
from tests.net.peer import IP, Peer, build, tcp_segment
from tests.net.test_offloads import the_plain_way
from tests.net.world import World, pattern

STATE = (
    *("state", "snd_una", "snd_nxt", "snd_wnd", "max_wnd", "tx_end", "rcv_nxt", "rcv_adv", "rx_octets", "rcv_acked"),
    *("ack_now", "ts_recent", "dup_acks", "dup_octets", "sacked", "recovery", "recover", "lost_below", "rtt_seq"),
    *("is_write_short", "is_queued", "ooo", "fin_seq", "is_eof"),
)
MSS = 1460


def established(seed):
    """A host with a connection that has 40 segments in the network, and two more that are quiet."""
    world = World(seed=seed)
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peers = [Peer(world, host, port=5000 + number, resolve=number == 0) for number in range(3)]
    for peer in peers:
        peer.connect()
    conn = host.accepted[0].conn
    conn.cc.cwnd = conn.cc.initial = 40 * MSS
    conn.write(pattern(100 * MSS))
    world.settle()
    return world, host, peers


def outcome(seed, batches):
    """The connections' state after each batch with what the application got, what each sent, and the counters."""
    world, host, peers = established(seed)
    states = []
    host.device.tx_log.clear()
    for batch in batches:
        for number, fields in batch:
            peers[number].send(settle=False, **fields)
        world.settle()
        for flow in host.accepted:
            flow.step()
            states.append({name: getattr(flow.conn, name) for name in STATE})
            states[-1]["received"] = bytes(flow.received)
        world.run(for_ms=3)
    counters = dict(host.tcp.counters)
    counters.pop("TCPHPHits")
    # In which order connections get their turn is left open: what each of them sent is compared.
    sent = {
        peer.port: [packet for packet in host.device.tx_log if packet[36:38] == port_octets(peer)] for peer in peers
    }
    return states, sent, counters


def port_octets(peer):
    return peer.port.to_bytes(2, "big")


def scripted(rng):
    """Batches as a peer sends them: mostly in order, with repetitions, holes, old and foolish numbers in between."""
    batches = []
    sent = [1, 1, 1]
    acked = [1, 1, 1]
    for _ in range(12):
        batch = []
        for _ in range(rng.randrange(1, 20)):
            number = rng.choice((0, 0, 0, 0, 1, 2))
            size = rng.choice((0, 0, 1, 100, MSS))
            kind = rng.random()
            seq = sent[number]
            if kind < 0.75:
                sent[number] += size
                if number == 0:
                    acked[0] = min(acked[0] + rng.choice((0, MSS, 2 * MSS)), 40 * MSS)
            elif kind < 0.85:
                seq += rng.choice((-MSS, -1, 1, MSS))
            ack = acked[number] + (rng.choice((-MSS, 100 * MSS)) if kind > 0.97 else 0)
            window = rng.choice((0xFFFF, 0xFFFF, 0xFFFF, 0x8000))
            fields = {"flags": ACK | (PSH if size else 0), "seq": seq, "ack": ack, "window": window}
            batch.append((number, {**fields, "data": pattern(size)}))
        batches.append(batch)
    batches.append([(1, {"flags": ACK | FIN, "seq": sent[1], "ack": 1})])
    return batches


@pytest.mark.parametrize("seed", range(40))
def test_batches_of_any_kind_end_as_without_prediction(seed, monkeypatch):
    batches = scripted(random.Random(seed))
    fast = outcome(seed, batches)
    monkeypatch.setattr("libos.net.stack.input_batch", the_plain_way)
    plain = outcome(seed, batches)
    assert fast == plain


def test_a_run_of_segments_is_one_acknowledgement_and_one_wake_up():
    world, host, peers = established(1)
    conn = host.accepted[0].conn
    calls = []
    conn.on_readable = lambda: calls.append(conn.rx_octets)
    peers[0].take()
    for number in range(8):
        peers[0].send(ACK, data=pattern(1000), ack=1 + (number + 1) * MSS, settle=False)
    conn.cc.cwnd = 0  # nothing new is sent in between
    before = host.tcp.in_fast
    world.settle()
    assert calls == [8000]
    assert host.tcp.in_fast == before + 8
    assert conn.snd_una == conn.iss + 1 + 8 * MSS
    assert [(segment.ack, segment.data) for segment in peers[0].take()] == [(8001, b"")]


def test_duplicate_acknowledgements_in_a_batch_are_counted():
    world, host, peers = established(1)
    conn = host.accepted[0].conn
    for _ in range(3):
        peers[0].send(ACK, ack=1 + MSS, settle=False)
    world.settle()
    assert conn.snd_una == conn.iss + 1 + MSS
    assert conn.dup_acks == 2


@pytest.mark.parametrize("bit", [0, 3, 32, 63, 64, 80, 104, 108, 112, 127, 130, 145])
def test_acknowledgement_that_was_damaged_acknowledges_nothing(bit):
    """Each bit of a header without data is under its checksum, which header prediction adds up from parsed numbers."""
    world, host, peers = established(1)
    conn = host.accepted[0].conn
    una = conn.snd_una
    body = bytearray(tcp_segment(IP, host.ipv4.ip, peers[0].port, 7, peers[0].iss + 1, conn.iss + 1 + MSS, ACK, 0xFFFF))
    body[bit // 8] ^= 0x80 >> bit % 8
    world.inject(host, build(IP, host.ipv4.ip, host.device.mac, bytes(body)))
    world.settle()
    assert conn.snd_una == una
    body[bit // 8] ^= 0x80 >> bit % 8
    hits = host.tcp.in_fast
    world.inject(host, build(IP, host.ipv4.ip, host.device.mac, bytes(body)))
    world.settle()
    assert conn.snd_una == una + MSS
    assert host.tcp.in_fast == hits + 1
