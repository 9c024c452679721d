# SPDX-License-Identifier: MIT
"""Complete stacks against each other in virtual time, over a link that loses, repeats, reorders, delays and damages.

    world = World(seed=1, loss=0.01)
    a, b = world.host("10.0.0.1/24"), world.host("10.0.0.2/24", features=ALL_OFFLOADS)
    b.echo(7)
    flow = a.connect(b, 7)
    flow.send(data)
    world.run(until=lambda: len(flow.received) == len(data))

Everything random comes from one seed; a world that fails prints it. Devices model what
offloads do: they cut large frames into segments, finish partial checksums, verify received ones, and join segments.
"""

import heapq
import random
import struct

from libos.hal import dma
from libos.net.ip.icmp import Icmp
from libos.net.ip.icmp6 import Icmp6
from libos.net.ip.ipv4 import Ipv4
from libos.net.ip.ipv6 import Ipv6
from libos.net.link.arp import Arp
from libos.net.link.ethernet import Ethernet
from libos.net.link.ndp import Ndp
from libos.net.stack import NetStack
from libos.net.tcp import Tcp
from libos.net.tcp.connection import Connection
from libos.net.tcp.cubic import Cubic
from libos.net.tcp.listener import HalfOpen
from libos.net.udp import Udp
from tests.net.offloads6 import ETHERTYPE as ETHERTYPE6
from tests.net.offloads6 import is_valid6, segment6

TX_CSUM, TX_TSO4, TX_TSO6, RX_CSUM, RX_LRO = 1, 2, 4, 8, 16
ALL_OFFLOADS = TX_CSUM | TX_TSO4 | TX_TSO6 | RX_CSUM | RX_LRO
HEADROOM = 16


def fast_checksum(buf, start, len_bytes, initial):
    """What the C helper returns, fast on CPython: 2**16 is 1 modulo 0xFFFF."""
    if start < 0 or len_bytes < 0 or start + len_bytes > len(buf):
        raise ValueError("out of bounds")
    data = bytes(buf[start : start + len_bytes])
    if len_bytes & 1:
        data += b"\0"
    number = int.from_bytes(data, "big") + initial
    return number % 0xFFFF or (0xFFFF if number else 0)


# The fake C module sums word by word, which is fine as a reference and slow for 100 MB.
dma._checksum = fast_checksum


class Memory:
    """What FramePool asks of hal.dma.Dma."""

    def alloc(self, len_bytes, align=16):
        return (memoryview(bytearray(b"\xa5") * len_bytes), 0x100000)


class Device:
    """A network device on a link. The frames that the stack holds are checked for: `in_use`."""

    def __init__(self, world, mac, mtu, features, tx_frames=64, rx_frames=256, buffer_bytes=2048, tx_limit=None):
        self.world = world
        self.name = "net0"
        self.mac = mac
        self.mtu = mtu
        self.features = features
        self.max_gso_bytes = 65535 + 14 if features & TX_TSO4 else mtu + 14
        self.link_up = True
        self.tx_pool = dma.FramePool(Memory(), 65536 + 128 if features & TX_TSO4 else 2048, tx_frames, HEADROOM)
        self.rx_pool = dma.FramePool(Memory(), buffer_bytes, rx_frames, HEADROOM)
        self.tx_limit = tx_limit  # frames that one tx_batch takes at most: a full ring
        self.inbox = []
        self.groups = set()  # multicast MACs that it lets through
        self.is_armed = False
        self.tx_log = None  # a list to append every frame on the wire to
        self.counters = {
            "rx_packets": 0,
            "rx_bytes": 0,
            "rx_dropped": 0,
            "rx_errors": 0,
            "tx_packets": 0,
            "tx_bytes": 0,
        }

    def alloc(self, length):
        frame = self.tx_pool.alloc()
        if frame is not None and length > frame.size - frame.start:
            raise AssertionError(f"a frame of {length} octets")
        return frame

    def tx_batch(self, frames, count):
        taken = count if self.tx_limit is None else min(count, self.tx_limit)
        for index in range(taken):
            frame = frames[index]
            data = bytes(frame.buf[frame.start : frame.start + frame.length])
            for packet in self._offload(frame, data):
                if len(packet) < 60:
                    packet += bytes(60 - len(packet))
                assert len(packet) <= self.mtu + 14, f"{len(packet)} octets on the wire"
                self.counters["tx_packets"] += 1
                self.counters["tx_bytes"] += len(packet)
                if self.tx_log is not None:
                    self.tx_log.append(packet)
                self.world.carry(self, packet)
            frame.release()
        return taken

    def _offload(self, frame, data):
        if frame.gso_size:
            is_ipv6 = data[12:14] == ETHERTYPE6
            assert self.features & (TX_TSO6 if is_ipv6 else TX_TSO4)
            assert frame.gso_type == (dma.GSO_TCPV6 if is_ipv6 else dma.GSO_TCPV4)
            assert frame.flags & dma.CSUM_PARTIAL
            if is_ipv6:
                return segment6(data, frame.hdr_len, frame.gso_size, fast_checksum)
            return segment(data, frame.hdr_len, frame.gso_size)
        if frame.flags & dma.CSUM_PARTIAL:
            assert self.features & TX_CSUM
            return [finish(data, frame.csum_start, frame.csum_offset)]
        return [data]

    def rx_batch(self, frames, limit):
        count = 0
        inbox = self.inbox
        taken = 0
        while count < limit and taken < len(inbox):
            packet = inbox[taken]
            taken += 1
            flags = 0
            if self.features & RX_CSUM and transport_is_valid(packet):
                flags = dma.CSUM_VALID
                if self.features & RX_LRO:
                    packet, joined = merge(packet, inbox, taken)
                    taken += joined
            frame = self._fill(packet)
            if frame is None:
                self.counters["rx_dropped"] += 1
                continue
            frame.flags = flags
            self.counters["rx_packets"] += 1
            self.counters["rx_bytes"] += len(packet)
            frames[count] = frame
            count += 1
        del inbox[:taken]
        return count

    def _fill(self, packet):
        first = last = None
        at = 0
        while first is None or at < len(packet):
            frame = self.rx_pool.alloc()
            if frame is None:
                if first is not None:
                    first.release()
                return None
            size = min(frame.size - frame.start, len(packet) - at)
            frame.buf[frame.start : frame.start + size] = packet[at : at + size]
            frame.length = size
            at += size
            if first is None:
                first = frame
            else:
                last.next = frame
            last = frame
        return first

    def join(self, mac):
        assert mac not in self.groups
        self.groups.add(mac)

    def leave(self, mac):
        self.groups.remove(mac)

    def accepts(self, mac):
        return mac == self.mac or mac == b"\xff" * 6 or mac in self.groups

    def arm(self):
        self.is_armed = True
        return bool(self.inbox)

    def disarm(self):
        self.is_armed = False

    @property
    def in_use(self):
        """Frames that are neither in the pools nor on the wire."""
        return self.tx_pool.count - self.tx_pool.free + self.rx_pool.count - self.rx_pool.free


def finish(data, csum_start, csum_offset):
    """Fills in a partial checksum, as virtio has it."""
    packet = bytearray(data)
    total = fast_checksum(packet, csum_start, len(packet) - csum_start, 0) ^ 0xFFFF
    struct.pack_into(">H", packet, csum_start + csum_offset, total)
    return bytes(packet)


def segment(data, header_len, gso_size):
    """Cuts a large TCP/IPv4 frame as a device does."""
    packets = []
    header, payload = data[:header_len], data[header_len:]
    seq = struct.unpack_from(">I", header, 38)[0]
    src, dst = struct.unpack_from(">II", header, 26)
    given = struct.unpack_from(">H", header, 50)[0]
    assert given % 0xFFFF == (src + dst + 6 + len(data) - 34) % 0xFFFF, "the partial checksum is the pseudo-header's"
    for number, at in enumerate(range(0, len(payload), gso_size)):
        part = payload[at : at + gso_size]
        packet = bytearray(header + part)
        struct.pack_into(">HH", packet, 16, len(packet) - 14, number)
        packet[24:26] = b"\0\0"
        struct.pack_into(">H", packet, 24, fast_checksum(packet, 14, 20, 0) ^ 0xFFFF)
        struct.pack_into(">I", packet, 38, (seq + at) & 0xFFFFFFFF)
        if at + gso_size < len(payload):
            packet[47] &= ~0x09  # FIN and PSH are for the last
        struct.pack_into(">H", packet, 50, (src + dst + 6 + len(packet) - 34) % 0xFFFF)
        packets.append(finish(packet, 34, 16))
    return packets


def transport_is_valid(packet):
    """What a device with receive checksum offload finds out."""
    if packet[12:14] == ETHERTYPE6:
        return is_valid6(packet, fast_checksum)
    if packet[12:15] != b"\x08\x00\x45" or packet[23] != 6 or len(packet) < 54:
        return False
    total_len = struct.unpack_from(">H", packet, 16)[0]
    if not 40 <= total_len <= len(packet) - 14:
        return False
    src, dst = struct.unpack_from(">II", packet, 26)
    pseudo = src + dst + 6 + total_len - 20
    return fast_checksum(packet, 14, 20, 0) == 0xFFFF and fast_checksum(packet, 34, total_len - 20, pseudo) == 0xFFFF


def merge(packet, inbox, at):
    """Joins following segments of the same flow to `packet`; returns it and how many were joined."""
    if packet[12:14] == ETHERTYPE6:
        return packet, 0
    header_len = 34 + (packet[46] >> 4) * 4
    if packet[47] & 0xF7 != 0x10:
        return packet, 0
    total_len = struct.unpack_from(">H", packet, 16)[0]
    if total_len + 14 == header_len:
        return packet, 0
    seq = struct.unpack_from(">I", packet, 38)[0]
    parts = [packet[: 14 + total_len]]
    length = total_len + 14 - header_len
    size = len(parts[0])
    joined = 0
    while at + joined < len(inbox):
        other = inbox[at + joined]
        if (
            other[26:38] != packet[26:38]
            or other[42:47] != packet[42:47]
            or other[48:50] != packet[48:50]
            or other[54:header_len] != packet[54:header_len]
            or other[47] & 0xF7 != 0x10
            or not transport_is_valid(other)
            or struct.unpack_from(">I", other, 38)[0] != (seq + length) & 0xFFFFFFFF
        ):
            break
        end = 14 + struct.unpack_from(">H", other, 16)[0]
        if end == header_len or size + end - header_len > 65535:
            break
        parts.append(other[header_len:end])
        length += end - header_len
        size += end - header_len
        joined += 1
    if not joined:
        return packet, 0
    whole = bytearray(b"".join(parts))
    struct.pack_into(">H", whole, 16, size - 14)
    whole[24:26] = b"\0\0"
    struct.pack_into(">H", whole, 24, fast_checksum(whole, 14, 20, 0) ^ 0xFFFF)
    return bytes(whole), joined


class Flow:
    """An application over a connection: sends a queue, collects what comes."""

    def __init__(self, host, conn, reads=True):
        self.host = host
        self.conn = conn
        self.received = bytearray()
        self.keeps = True
        self.received_octets = 0
        self.is_eof = False
        self.is_closed = False
        self.reads = reads
        self.echoes = False
        self.closes_at_eof = False
        self._queue = []
        self._close = False
        conn.on_readable = self.on_readable
        conn.on_writable = self.on_writable
        conn.on_closed = self.on_closed

    def send(self, data, close=False):
        if data:
            self._queue.append([data, 0])
        self._close = self._close or close
        self.on_writable()

    def on_readable(self):
        self.host.ready.append(self)

    def step(self):
        """Runs between polls, as an application's task does."""
        if not self.reads or (self.echoes and self._queue):
            return
        while True:
            data = self.conn.read(65536)
            if not data:
                break
            self.received_octets += len(data)
            if self.echoes:
                self.send(data)
                if self._queue:
                    return
            elif self.keeps:
                self.received += data
        if self.conn.is_eof and not self.is_eof:
            self.is_eof = True
            if self.echoes or self.closes_at_eof:
                self.send(b"", close=True)

    def on_writable(self):
        if self.conn.error is not None or self.conn.state_name in ("CLOSED", "SYN-SENT", "SYN-RECEIVED"):
            return
        while self._queue and not self.conn.fin_queued:
            entry = self._queue[0]
            entry[1] += self.conn.write(entry[0], entry[1])
            if entry[1] < len(entry[0]):
                return
            del self._queue[0]
        if self._close:
            self._close = False
            self.conn.close()
        elif self.echoes:
            self.host.ready.append(self)

    def on_closed(self):
        self.is_closed = True
        self.conn.on_closed = None

    @property
    def error(self):
        return self.conn.error


class Host:
    """A complete stack on its own device.

    address: "10.0.0.1/24", or "fd00::1/64" for a stack over IPv6 alone. ipv6: of a stack over both; options for Ipv6.
    """

    def __init__(
        self, world, address, mac, gateway=None, features=0, mtu=1500, tcp=None, device=None, ipv6=None
    ):  # fmt: skip
        self.world = world
        self.address = address
        self.ip = address.split("/")[0]
        self.device = Device(world, mac, mtu, features, **(device or {}))
        self.random = Entropy(world.random)
        self.ethernet = Ethernet(self.device)
        self.ipv4 = self.ipv6 = None
        if ":" in address:
            ipv6 = {"address": address, "gateway": gateway, **(ipv6 or {})}
        else:
            self.arp = Arp(self.ethernet, self.random)
            self.ipv4 = Ipv4(self.ethernet, self.arp, self.random, address, gateway)
            self.icmp = Icmp(self.ipv4)
        if ipv6 is not None:
            # Without duplicate address detection addresses work at once, as tests of something else want it.
            options = {"dad_transmits": 0, "accept_router_advertisements": False, **ipv6}
            self.ndp = Ndp(self.ethernet, self.random)
            self.ipv6 = Ipv6(self.ethernet, self.ndp, self.random, **options)
            self.icmp6 = Icmp6(self.ipv6)
        self.udp = Udp(self.ipv4, self.ipv6)
        self.tcp = Tcp(self.random, ipv4=self.ipv4, ipv6=self.ipv6, **{"congestion": Cubic(), **(tcp or {})})
        self.stack = NetStack(self.ethernet, self.tcp, self.udp)
        self.ready = []
        self.accepted = []

    def listen(self, port, backlog=128, **options):
        """Every accepted connection becomes a Flow in `accepted`; options are its attributes."""

        def on_accept(conn):
            flow = Flow(self, conn)
            for name, value in options.items():
                setattr(flow, name, value)
            self.accepted.append(flow)

        self.tcp.listen(port, on_accept, backlog)

    def echo(self, port):
        self.listen(port, echoes=True)

    def connect(self, other, port):
        ip = other if isinstance(other, str) else other.ip
        return Flow(self, self.tcp.connect(ip, port, self.world.now_ms))

    def step(self):
        """One turn of its event loop: the stack, then the applications that have something to do."""
        worked = self.stack.poll(self.world.now_ms)
        while self.ready:
            ready, self.ready = self.ready, []
            for flow in ready:
                flow.step()
            worked = True
        return worked

    def is_clean(self):
        """Tables empty, and every frame back in its pool."""
        tcp = self.tcp
        return (
            not tcp.by_key
            and not tcp.half_open
            and not tcp.pending
            and not [owner for owner in tcp.timers.owners() if isinstance(owner, Connection | HalfOpen)]
            and not self.device.in_use
            and not self.ethernet.tx_count
        )


class Entropy:
    """hal.random.Random, from the world's seed."""

    def __init__(self, source):
        self._source = source

    def bytes(self, count):
        return self._source.randbytes(count)

    def u32(self):
        return self._source.getrandbits(32)

    def below(self, limit):
        return self._source.randrange(limit)


class World:
    """Hosts on one Ethernet, and the time.

    loss, duplicate, damage, reorder: probabilities of each for a frame. delay_ms: one way. jitter_ms: what
    reordering adds at most. rate: octets per millisecond, None for no limit; queue_bytes: what waits for the rate,
    the rest is dropped.
    """

    def __init__(
        self, seed=0, loss=0.0, duplicate=0.0, damage=0.0, reorder=0.0, delay_ms=1.0, jitter_ms=10.0, rate=None,
        queue_bytes=1 << 20,
    ):  # fmt: skip
        self.seed = seed
        self.random = random.Random(seed)
        self.loss = loss
        self.duplicate = duplicate
        self.damage = damage
        self.reorder = reorder
        self.delay_ms = delay_ms
        self.jitter_ms = jitter_ms
        self.rate = rate
        self.queue_bytes = queue_bytes
        self.now_ms = 1000
        self.hosts = []
        self.is_silent = False  # everything is lost
        self.filter = None  # called with (device, packet); False loses it
        self.lost = 0
        self._events = []
        self._serial = 0
        self._busy_until = {}

    def __repr__(self):
        return (
            f"World(seed={self.seed}, loss={self.loss}, duplicate={self.duplicate}, damage={self.damage}, "
            f"reorder={self.reorder}) at {self.now_ms} ms"
        )

    def host(self, address, **options):
        mac = bytes([0x52, 0x54, 0, 0, 0, len(self.hosts) + 1])
        host = Host(self, address, mac, **options)
        self.hosts.append(host)
        return host

    def carry(self, sender, packet):
        """A frame is on the wire."""
        chance = self.random.random
        if self.is_silent or (self.filter is not None and self.filter(sender, packet) is False):
            self.lost += 1
            return
        if self.loss and chance() < self.loss:
            self.lost += 1
            return
        at = float(self.now_ms)
        if self.rate is not None:
            start = max(self._busy_until.get(sender, 0.0), at)
            if (start - at) * self.rate > self.queue_bytes:
                self.lost += 1
                return
            at = start + len(packet) / self.rate
            self._busy_until[sender] = at
        at += self.delay_ms
        if self.reorder and chance() < self.reorder:
            at += chance() * self.jitter_ms
        copies = 2 if self.duplicate and chance() < self.duplicate else 1
        for _ in range(copies):
            body = packet
            if self.damage and chance() < self.damage:
                body = bytearray(packet)
                body[self.random.randrange(len(body))] ^= 1 << self.random.randrange(8)
                body = bytes(body)
            self._serial += 1
            heapq.heappush(self._events, (at, self._serial, sender, body))

    def inject(self, host, packet):
        """Puts a frame straight into a host's device."""
        host.device.inbox.append(bytes(packet) + bytes(max(60 - len(packet), 0)))

    def _deliver(self):
        while self._events and self._events[0][0] <= self.now_ms:
            _, _, sender, packet = heapq.heappop(self._events)
            for host in self.hosts:
                # As a NIC filters; what it lets through all the same comes in by `inject`.
                if host.device is not sender and host.device.accepts(packet[:6]):
                    host.device.inbox.append(packet)

    def settle(self, turns=1_000_000):
        """Runs everything that can happen at this moment."""
        self._deliver()
        for _ in range(turns):
            if sum(host.step() for host in self.hosts) == 0:  # every one of them takes its turn
                return
            self._deliver()
        raise AssertionError(f"busy for ever: {self!r}")

    def next_event_ms(self):
        times = [host.stack.next_deadline_ms() for host in self.hosts]
        times = [time for time in times if time is not None]
        if self._events:
            times.append(int(-(-self._events[0][0] // 1)))
        return min(times) if times else None

    def run(self, until=None, for_ms=None, limit_ms=3_600_000):
        """Lets time pass until a condition holds, or for a while, or until nothing is left to happen.

        Raises AssertionError, with the seed, when the condition does not come true within limit_ms.
        """
        end = self.now_ms + (limit_ms if for_ms is None else for_ms)
        while True:
            self.settle()
            if until is not None and until():
                return
            next_ms = self.next_event_ms()
            if next_ms is None or next_ms > end:
                break
            self.now_ms = max(self.now_ms + (1 if next_ms <= self.now_ms else 0), next_ms)
        if for_ms is not None:
            self.now_ms = end
            self.settle()
        if until is not None:
            raise AssertionError(f"did not come true: {self!r}")


def pattern(count, seed=1):
    """`count` octets that tell whether something moved."""
    return random.Random(seed).randbytes(count)
