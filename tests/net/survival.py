# SPDX-License-Identifier: MIT
"""What every attack must leave as it was: `Siege` asserts it.

    with Siege("InErrs", family=6) as siege:
        siege.inject(frame)

A host has a healthy connection of a friend, over IPv4 or IPv6. Whatever is done to the host inside of the block: no
exception comes out of it; the healthy connection goes on meanwhile and afterwards; its tables, its frames and its heap
are back to where they were when everybody has gone; and the counter has risen.
"""

import gc
import random
import struct
import tracemalloc

import pytest

from libos.wire import ipv6, tcp
from tests.fuzz.test_stack import repair
from tests.net.peer import IP, IP6, Peer, build, checksummed, is_ipv6, payload_at, tcp_segment
from tests.net.world import World, pattern

HEAP_SLACK = 24 << 10
# What runs over both: a test takes `family`.
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


def assert_it_shows(monkeypatch, attack, remove):
    """That an attack fails once a defence is taken away. remove: called with `monkeypatch`.

    A table without its limit may also take for ever, or end in another error: all of it is a failure.
    """
    remove(monkeypatch)
    with pytest.raises((AssertionError, LookupError)):
        attack()


class Siege:
    """counter: "InErrs" of TCP, "ndp.InErrors" of another part; "ip", "icmp" and "neighbours" are the family's.

    linger_ms: how long until what was attacked is over. heap_slack: octets that may stay: dictionaries keep the size
    that they had once. options: of Ipv6.
    """

    def __init__(
        self, counter, family=4, seed=1, tcp=None, linger_ms=700_000, heap_slack=HEAP_SLACK, options=None, **link
    ):
        # What the tests before have left is none of our business, and would be looked through each time.
        gc.freeze()
        self.world = World(seed=seed, **link)
        self.rng = random.Random(seed)
        if family == 6:
            self.host = self.world.host("fd00::2/64", tcp=tcp, ipv6=options)
            self.friend = self.world.host("fd00::3/64", ipv6=options)
            self.layer = self.host.ipv6
            self.ip = IP6
            self.icmp_protocol = 58
        else:
            self.host = self.world.host("10.0.0.2/24", tcp=tcp)
            self.friend = self.world.host("10.0.0.3/24")
            self.layer = self.host.ipv4
            self.ip = IP
            self.icmp_protocol = 1
        self.family = family
        self.host_ip = self.layer.parse_address(self.host.ip)
        self.friend_ip = self.layer.parse_address(self.friend.ip)
        self.at = payload_at(self.ip)  # of a segment in its frame
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
        return Peer(self.world, self.host, port=port, to=to, ip=self.ip, **options)

    def stranger(self, number):
        """One more address on the link; number 0 is the peer's."""
        if is_ipv6(self.ip):
            return (int.from_bytes(self.ip, "big") + number).to_bytes(16, "big")
        return self.ip + number

    def inject(self, *packets):
        for packet in packets:
            self.world.inject(self.host, packet)
        self.world.settle()

    def packet(self, body, protocol, src_ip=None, dst_ip=None, **fields):
        """A frame with an IP packet from the peer to the host."""
        dst_ip = dst_ip or self.host_ip
        mac = self.host.device.mac
        if is_ipv6(dst_ip) and ipv6.is_multicast(dst_ip):
            mac = ipv6.multicast_mac(dst_ip)
        return build(src_ip or self.ip, dst_ip, mac, body, protocol, **fields)

    def control(self, body, src_ip=None, dst_ip=None, **fields):
        """A frame with a message of ICMP or ICMPv6, its checksum right."""
        body = checksummed(body, self.icmp_protocol, src_ip or self.ip, dst_ip or self.host_ip)
        return self.packet(body, self.icmp_protocol, src_ip, dst_ip, **fields)

    def segment(self, flags, seq=0, ack=0, src_ip=None, src_port=5000, dst_port=7, window=1000, data=b"", options=b""):
        """A frame with a TCP segment; numbers as on the wire."""
        src_ip = src_ip or self.ip
        return self.packet(
            tcp_segment(src_ip, self.host_ip, src_port, dst_port, seq, ack, flags, window, data, options), 6, src_ip
        )

    def claim(self, packet, length):
        """The packet with another length in its IP header: `length` octets of payload. Checksums are right for that."""
        return poke(packet, 18, length, 2) if self.family == 6 else poke(packet, 16, 20 + length, 2)

    def cut(self, packet, length):
        """The packet with `length` octets of payload."""
        return self.claim(packet[: self.at + length], length)

    def forge(self, flags, seq=0, ack=0, data=b"", window=1000, options=b""):
        """The same in the name of the friend, on the healthy connection; numbers relative to what is due.

        Without options its timestamp is right: what an attacker cannot guess should not be all that stops him.
        """
        conn = self.victim
        if not options and conn.ts_on:
            options = tcp.timestamps_option(conn.ts_recent, 0)
        return self.segment(
            flags, conn.rcv_nxt + seq, conn.snd_nxt + ack, self.friend_ip, conn.remote_port, 7, window, data, options
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
        if part == "ip":
            part = f"ipv{self.family}"
        elif part == "neighbours":
            part = "arp" if self.family == 4 else "ndp"
        elif part == "icmp" and self.family == 6:
            part = "icmp6"
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
            "neighbours": len(self.layer.neighbours.entries()),
            "held": self.host.ethernet.held,
            **(self.tables6() if self.family == 6 else self.tables4()),
        }

    def tables4(self):
        ipv4 = self.host.ipv4
        return {"reassembling": len(ipv4._reassembly), "paths": len(ipv4._paths)}

    def tables6(self):
        ipv6 = self.host.ipv6
        routers, prefixes = ipv6.routers.known()
        return {
            "reassembling": len(ipv6.reassembly),
            "paths": len(ipv6.path_mtus),
            "addresses": len(ipv6.addresses.all()),
            "routers": len(routers),
            "prefixes": len(prefixes),
            "name servers": len(ipv6.routers.resolvers()),
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
            gc.unfreeze()


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
