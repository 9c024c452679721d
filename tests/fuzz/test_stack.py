# SPDX-License-Identifier: MIT
"""Whole-stack fuzzing: random and mutated frames into a stack that has connections of every kind.

Invariants, checked as it goes: no exception; tables bounded; no frame kept; a healthy second connection goes on; and in
the end, when everybody has gone, everything is back where it was.
MIRAGE_PY_FUZZ_SECONDS sets how long; make nightly has MIRAGE_PY_FUZZ_STACK_SECONDS for each of many seeds. A failure
prints its seed.
"""

import os
import random
import struct
import time
from functools import partial

import pytest

from libos.wire import tcp
from tests.fuzz.ipv6_frames import Ipv6Frames, repair6
from tests.net.peer import Peer, build, tcp_segment
from tests.net.world import ALL_OFFLOADS, RX_CSUM, World, fast_checksum, pattern

SECONDS = float(os.environ.get("MIRAGE_PY_FUZZ_SECONDS", "5"))
NIGHTLY_SECONDS = float(os.environ.get("MIRAGE_PY_FUZZ_STACK_SECONDS", "60"))
FRIEND = b"\x0a\x00\x00\x03"
EDGES = [0, 1, 2, 19, 20, 21, 40, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF]


class Fuzzer:
    def __init__(self, seed, features=0):
        self.rng = random.Random(seed)
        self.world = World(seed=seed)
        self.host = self.world.host(
            "10.0.0.2/24", features=features, device={"rx_frames": 64},
            ipv6={"address": "fd00::2/64", "accept_router_advertisements": True, "dad_transmits": 1},
        )  # fmt: skip
        self.friend = self.world.host("10.0.0.3/24", ipv6={"address": "fd00::3/64"})
        self.ipv6_frames = Ipv6Frames(self.rng, self.host)
        self.host.echo(7)
        self.host.listen(8, reads=False)
        self.host.listen(9, closes_at_eof=True, backlog=1)  # so small that there are SYN cookies
        self.host.udp.join("239.1.1.1")
        self.host.udp.listen(53, lambda data, ip, port: self.host.udp.write(data, ip, port, 53))
        self.healthy = self.friend.connect(self.host, 7)
        self.world.run(until=lambda: self.host.accepted)
        self.sent = 0
        self.expected = 0
        self.corpus = []
        self.world.filter = lambda device, packet: self.corpus.append(packet) if len(self.corpus) < 300 else None
        self.answers = []  # the latest SYN and ACKs, to be answered
        self.send_segment = self.host.tcp.send_segment
        self.host.tcp.send_segment = self.note

    def note(self, way, src_port, dst_port, seq, ack, flags, window, options, now_ms):
        if flags == tcp.SYN | tcp.ACK and way.remote_ip == 0x0A000009:
            at = options.find(b"\x08\x0a")
            ts_val = struct.unpack_from(">I", options, at + 2)[0] if at >= 0 else None
            self.answers = [*self.answers[-9:], (dst_port, src_port, ack, seq + 1, ts_val)]
        return self.send_segment(way, src_port, dst_port, seq, ack, flags, window, options, now_ms)

    def frame(self):
        kind = self.rng.randrange(9)
        if kind >= 7:
            packet = self.ipv6_frames.frame()
            return packet if self.rng.random() < 0.7 else self.mutate(bytearray(packet))
        if kind == 0:
            return self.rng.randbytes(self.rng.randrange(14, 200))
        if kind == 1 and self.corpus:
            return self.mutate(bytearray(self.rng.choice(self.corpus)))
        if kind == 2:
            return build(
                self.rng.choice([0x0A000009, self.rng.getrandbits(32)]), self.host.ipv4.ip, self.host.device.mac,
                self.rng.randbytes(self.rng.randrange(100)), self.rng.choice([1, 2, 6, 17, self.rng.randrange(256)]),
                fragment=self.rng.choice([0, 0x4000, self.rng.getrandbits(16)]),
            )  # fmt: skip
        if kind == 3:
            # One of few datagrams, so that fragments meet.
            return build(
                0x0A000009, self.host.ipv4.ip, self.host.device.mac, self.rng.randbytes(8 * self.rng.randrange(1, 100)),
                self.rng.choice([1, 6, 17]), fragment=self.rng.choice([0, 0x2000]) | self.rng.randrange(200),
            )  # fmt: skip
        return self.tcp_frame()

    def tcp_frame(self):
        """A well-formed segment with numbers that mean something to a connection, or nearly."""
        rng = self.rng
        conns = list(self.host.tcp.by_key.values()) + list(self.host.tcp.half_open.values())
        src_ip, src_port, dst_port = 0x0A000009, rng.randrange(5000, 5010), rng.choice([7, 8, 9, 10])
        seq, ack = rng.getrandbits(32), rng.getrandbits(32)
        options = rng.choice(
            [b"", b"", tcp.syn_options(rng.choice([0, 1, 500, 1460, 65535]), rng.randrange(16), True, 5)]
        )
        conns = [conn for conn in conns if conn.remote_ip == src_ip]
        if self.answers and rng.random() < 0.1:
            src_port, dst_port, seq, ack, ts_val = rng.choice(self.answers)
            options = b"" if ts_val is None else tcp.timestamps_option(6, ts_val)
        elif conns and rng.random() < 0.8:
            conn = rng.choice(conns)
            if hasattr(conn, "rcv_nxt"):
                src_port, dst_port = conn.remote_port, conn.local_port
                seq = conn.rcv_nxt + rng.choice([0, 0, 0, 1, -1, 10, 1000, 70000, -1000, rng.randrange(1 << 31)])
                ack = rng.choice(
                    [conn.snd_una, conn.snd_nxt, conn.snd_nxt, conn.snd_nxt + 1, conn.iss, rng.getrandbits(32)]
                )
                if conn.ts_on:
                    options = tcp.timestamps_option(
                        (conn.ts_recent or 0) + rng.choice([0, 0, 1, -1, 1000]), rng.getrandbits(32)
                    )
                if rng.random() < 0.2:
                    left = conn.snd_una + rng.randrange(-10, 5000)
                    options += tcp.sack_option([(left, left + rng.randrange(-5, 3000))])
            else:
                src_port, dst_port = conn.syn.src_port, conn.listener.port
                seq, ack = conn.syn.seq + 1, conn.iss + 1
        flags = rng.choice(
            [tcp.SYN, tcp.ACK, tcp.ACK, tcp.ACK, tcp.ACK | tcp.PSH, tcp.ACK | tcp.FIN, tcp.RST, rng.randrange(256)]
        )
        data = pattern(rng.choice([0, 0, 1, 5, 100, 1400]))
        window = rng.choice([0, 1, 100, 65535, rng.randrange(65536)])
        body = tcp_segment(src_ip, self.host.ipv4.ip, src_port, dst_port, seq, ack, flags, window, data, options[:40])
        packet = build(src_ip, self.host.ipv4.ip, self.host.device.mac, body)
        return packet if rng.random() < 0.8 else self.mutate(bytearray(packet))

    def mutate(self, packet):
        rng = self.rng
        for _ in range(rng.randrange(1, 4)):
            how = rng.randrange(4)
            at = rng.randrange(len(packet))
            if how == 0:
                packet[at] ^= 1 << rng.randrange(8)
            elif how == 1:
                packet[at] = rng.randrange(256)
            elif how == 2 and at + 2 <= len(packet):
                struct.pack_into(">H", packet, at, rng.choice(EDGES))
            else:
                packet = packet[: max(at, 14)]
        # With right checksums, what is mutated could be a perfect forgery of the healthy connection's next segment.
        if rng.random() < 0.8 and FRIEND not in packet:
            repair(packet)
        return bytes(packet)

    def check(self):
        host = self.host
        tcp_ = host.tcp
        assert len(tcp_.half_open) <= 3 * 128
        assert len(tcp_.by_key) < 500
        assert len(tcp_.time_waits.by_key) <= 1024
        # Of ARP, TIME_WAIT, and frames to ourselves; of addresses, routers and groups; of reassembly, path MTUs and
        # fragments to send, twice; and of each neighbour.
        others = len(host.ndp.entries()) + 14
        assert len(tcp_.timers) <= len(tcp_.by_key) + len(tcp_.half_open) + others
        assert len(host.ipv4._reassembly) <= 64
        assert host.ipv4._reassembly._cost <= 262144
        assert len(host.ipv4._paths) <= 256
        assert len(host.arp.entries()) <= 256
        assert len(host.ndp.entries()) <= 256
        assert len(host.ipv6.addresses.all()) <= 16
        assert len(host.ipv6.mld.groups()) <= 64
        assert len(host.ipv6.path_mtus) <= 256
        assert len(host.ipv6.reassembly) <= 64
        assert len(host.ipv6.fragmenter) <= 8
        assert [len(table) <= 16 for table in host.ipv6.routers.known()] == [True, True]
        assert host.device.in_use <= 32 + 32 + 1
        for conn in tcp_.by_key.values():
            assert conn.rx_octets <= conn.rcv_buf
            assert conn.rx_octets == sum(map(len, conn.rx_chunks)) - conn.rx_head
            assert conn.tx_end - conn.snd_una <= conn.snd_buf + 1
            assert conn.snd_una <= conn.snd_nxt
            assert len(conn.ooo) <= 256
            assert sum(len(data) for _, _, data in conn.ooo) <= conn.rcv_buf
            assert conn.ooo == sorted(conn.ooo)
            assert len(conn.sacked) <= 128
            assert conn.rcv_adv >= conn.rcv_nxt - 1

    def talk(self):
        """The healthy connection."""
        assert self.healthy.error is None, self.healthy.error
        if len(self.healthy.received) == self.sent:
            self.healthy.send(pattern(500, self.sent))
            self.sent += 500
            self.expected += 1

    def run(self, seconds, least=0):
        """For so long, and so many frames at least. Returns how many there were."""
        end = time.monotonic() + seconds
        frames = 0
        while time.monotonic() < end or frames < least:
            for _ in range(self.rng.randrange(1, 30)):
                self.world.inject(self.host, self.frame())
                frames += 1
            self.talk()
            self.world.run(for_ms=self.rng.choice([0, 1, 5, 50, 500]))
            for flow in self.host.accepted[1:]:
                if self.rng.random() < 0.02:
                    self.rng.choice([flow.conn.close, flow.conn.abort, flow.conn.detach, partial(flow.conn.read, 10)])()
            if len(self.host.accepted) > 50:
                del self.host.accepted[1:-20]
            self.check()
        return frames

    def finish(self):
        """Everybody goes: what is left must end by itself, and nothing may stay."""
        self.world.run(for_ms=2000)
        assert len(self.healthy.received) == self.sent
        for number in range(self.expected):
            assert bytes(self.healthy.received[500 * number : 500 * number + 500]) == pattern(500, 500 * number)
        for conn in list(self.host.tcp.by_key.values()):
            conn.abort()
        self.world.run(limit_ms=80_000_000)  # a default router is one for at most 65,535 s
        assert not self.host.device.in_use
        assert not self.host.tcp.half_open
        assert not self.host.tcp.time_waits.by_key
        # What a router promised may be good for more than a hundred years; it is bounded otherwise.
        promised = (self.host.ipv6.routers, self.host.ipv6.addresses)
        assert not [owner for owner in self.host.tcp.timers.owners() if owner not in promised]
        assert not self.host.arp.entries()
        assert not self.host.ndp.entries()
        assert not len(self.host.ipv6.reassembly)


def repair(packet):
    """Right checksums, so that a mutation gets past them."""
    if packet[12:14] == b"\x86\xdd":
        repair6(packet)
    if len(packet) < 34 or packet[12:14] != b"\x08\x00":
        return
    header_len = (packet[14] & 15) * 4
    end = min(14 + struct.unpack_from(">H", packet, 16)[0], len(packet))
    if header_len < 20 or 14 + header_len > len(packet):
        return
    packet[24:26] = b"\0\0"
    struct.pack_into(">H", packet, 24, fast_checksum(packet, 14, header_len, 0) ^ 0xFFFF)
    start = 14 + header_len
    at = start + {6: 16, 17: 6, 1: 2}.get(packet[23], 1 << 20)
    if at + 2 > end:
        return
    packet[at : at + 2] = b"\0\0"
    pseudo = 0 if packet[23] == 1 else sum(struct.unpack_from(">II", packet, 26)) + packet[23] + end - start
    struct.pack_into(">H", packet, at, fast_checksum(packet, start, end - start, pseudo) ^ 0xFFFF)


FEATURES = pytest.mark.parametrize("features", [0, RX_CSUM, ALL_OFFLOADS], ids=["plain", "rx checksum", "all offloads"])


@FEATURES
def test_stack_takes_any_frames(features):
    assert fuzz(features, SECONDS) > 100


@pytest.mark.nightly
@FEATURES
@pytest.mark.parametrize("turn", range(5))
def test_stack_takes_any_frames_for_long(features, turn):
    print(f"{fuzz(features, NIGHTLY_SECONDS)} frames")


def fuzz(features, seconds):
    """Frames until then; how many there were."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, features {features}")  # shown with any failure, one of pytest's timeout too
    fuzzer = Fuzzer(seed, features)
    try:
        frames = fuzzer.run(seconds)
        fuzzer.finish()
    except Exception as error:
        raise AssertionError(f"seed {seed}, features {features}: {error!r}") from error
    return frames


def test_handshake_by_the_fuzzer_gets_through():
    """The fuzzer must not only ever talk to closed doors."""
    fuzzer = Fuzzer(1)
    fuzzer.run(0, least=12_000)
    counters = fuzzer.host.tcp.counters
    assert counters["PassiveOpens"] > 5
    assert counters["TCPOFOQueue"] > 5
    assert counters["TCPChallengeACK"] > 5
    assert counters["SyncookiesSent"] > 5
    assert counters["SyncookiesRecv"] > 0
    assert counters["InErrs"] > 5


def test_memory_exhausted_refuses_new_work_and_running_work_continues():
    """take() fails now and then, as the heap of a small machine does."""
    world = World(seed=3)
    host = world.host("10.0.0.2/24")
    host.echo(7)
    peer = Peer(world, host)
    peer.connect()
    flow = host.accepted[0]
    rng = random.Random(3)
    data = pattern(60_000)
    with pytest.MonkeyPatch.context() as patch:
        from libos.hal import dma

        real = dma._take

        def take(*args):
            if rng.random() < 0.3:
                raise MemoryError
            return real(*args)

        patch.setattr(dma, "_take", take)
        at = 0
        while at < len(data):
            peer.send(tcp.ACK, seq=1 + at, data=data[at : at + 1000])
            peer.ack_data(peer.take())
            at = flow.conn.rcv_nxt - flow.conn.irs - 1
    assert flow.received_octets == len(data)
    assert host.stack.memory_drops > 5
    assert not host.device.in_use or host.device.in_use <= 64
