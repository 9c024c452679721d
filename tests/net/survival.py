# SPDX-License-Identifier: MIT
"""What every attack must leave as it was: `Siege` asserts it.

    with Siege("InErrs") as siege:
        siege.inject(frame)

A host has a healthy connection of a friend. Whatever is done to the host inside of the block: no exception comes out of
it; the healthy connection goes on meanwhile and afterwards; its tables, its frames and its heap are back to where they
were when everybody has gone; and the counter has risen.
"""

import gc
import random
import struct
import tracemalloc

from libos.wire import tcp
from tests.fuzz.test_stack import repair
from tests.net.link import World, pattern
from tests.net.peer import IP, Peer, build, tcp_segment

HEAP_SLACK = 24 << 10
FRIEND_IP = 0x0A000003
HOST_IP = 0x0A000002


class Siege:
    """counter: "InErrs" of TCP, or "ipv4.InHdrErrors". linger_ms: how long until what was attacked is over.

    heap_slack: octets that may stay: dictionaries keep the size that they had once.
    """

    def __init__(self, counter, seed=1, tcp=None, linger_ms=600_000, heap_slack=HEAP_SLACK, **link):
        self.world = World(seed=seed, **link)
        self.rng = random.Random(seed)
        self.host = self.world.host("10.0.0.2/24", tcp=tcp)
        self.friend = self.world.host("10.0.0.3/24")
        self.host.echo(7)
        self.host.listen(9, reads=False)
        self.counter = counter
        self.linger_ms = linger_ms
        self.heap_slack = heap_slack
        self.healthy = self.friend.connect(self.host, 7)
        self.world.run(until=lambda: self.host.accepted)
        self.victim = self.host.accepted[0].conn  # the healthy connection's end that is attacked
        self.talked = 0

    def peer(self, port=5000, to=7, **options):
        """A scripted peer, with the friend able to answer ARP as well."""
        return Peer(self.world, self.host, port=port, to=to, **options)

    def inject(self, *packets):
        for packet in packets:
            self.world.inject(self.host, packet)
        self.world.settle()

    def segment(self, flags, seq=0, ack=0, src_ip=IP, src_port=5000, dst_port=7, window=1000, data=b"", options=b""):
        """A frame with a TCP segment; numbers as on the wire."""
        body = tcp_segment(src_ip, HOST_IP, src_port, dst_port, seq, ack, flags, window, data, options)
        return build(src_ip, HOST_IP, self.host.device.mac, body)

    def forge(self, flags, seq=0, ack=0, data=b"", window=1000, options=b""):
        """The same in the name of the friend, on the healthy connection; numbers relative to what is due.

        Without options its timestamp is right: what an attacker cannot guess should not be all that stops him.
        """
        conn = self.victim
        if not options and conn.ts_on:
            options = tcp.timestamps_option(conn.ts_recent, 0)
        return self.segment(
            flags, conn.rcv_nxt + seq, conn.snd_nxt + ack, FRIEND_IP, conn.remote_port, 7, window, data, options
        )

    def talk(self):
        """The healthy connection goes on."""
        octets = pattern(3000, self.talked)
        before = len(self.healthy.received)
        self.healthy.send(octets)
        self.world.run(until=lambda: len(self.healthy.received) >= before + 3000, limit_ms=120_000)
        assert bytes(self.healthy.received[before:]) == octets
        assert self.healthy.error is None
        self.talked += 1

    def count(self):
        part, _, name = self.counter.rpartition(".")
        return self.host.stack.counters[part or "tcp"][name]

    def tables(self):
        tcp = self.host.tcp
        return {
            "connections": len(tcp.by_key),
            "predicted": len(tcp.fast),
            "half-open": len(tcp.half_open),
            "time-wait": len(tcp.time_waits.by_key),
            "pending": len(tcp.pending),
            "frames": self.host.device.in_use + self.host.ethernet.tx_count,
            "reading": sum(conn.rx_octets + len(conn.ooo) for conn in tcp.by_key.values()),
            "writing": sum(conn.tx_end - conn.snd_una for conn in tcp.by_key.values()),
            "sacked": sum(len(conn.sacked) for conn in tcp.by_key.values()),
        }

    def heap(self):
        """Octets that the library OS has allocated since the siege began, and holds."""
        gc.collect()
        traces = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/guest/libos/*")])
        return sum(trace.size for trace in traces.traces)

    def __enter__(self):
        self.talk()
        self.world.run(for_ms=1000)
        self.before = self.tables()
        self.counted = self.count()
        tracemalloc.start()
        self.talk()
        self.world.run(for_ms=1000)
        self.heap_before = self.heap()
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is not None:
                return
            self.talk()
            for flow in self.host.accepted[1:]:
                flow.conn.abort()
            del self.host.accepted[1:]
            self.world.run(for_ms=self.linger_ms)
            self.talk()
            self.world.run(for_ms=1000)
            assert self.tables() == self.before, (self.tables(), self.before, self.world)
            assert self.count() > self.counted, f"{self.counter} did not rise"
            grown = self.heap() - self.heap_before
            assert grown < self.heap_slack, f"{grown} octets stay"
        finally:
            tracemalloc.stop()


def resum(packet):
    """Right checksums for a TCP packet that was changed; lengths are taken as they are."""
    packet = bytearray(packet)
    repair(packet)
    return bytes(packet)


def poke(packet, at, value, size=1):
    """The packet with a field changed and the checksums right."""
    packet = bytearray(packet)
    struct.pack_into(">B" if size == 1 else ">H", packet, at, value)
    return resum(packet)
