# SPDX-License-Identifier: MIT
"""Two stacks in one image: an echo over a lossy link. CPython and MicroPython must print the same.

Then connections that say nothing for weeks, and a FIN that fills a window exactly. Both print the same.

Last part, on MicroPython only in effect: many polls run with the heap locked, so that every allocation in them
fails. Nothing may escape from poll(), nothing may be lost or left behind.
"""

import micropython

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

heap_lock = getattr(micropython, "heap_lock", lambda: None)
heap_unlock = getattr(micropython, "heap_unlock", lambda: None)

SIZE = 200000
FRAMES = 64


class World:
    def __init__(self, seed, loss, locked):
        self.seed = seed
        self.loss = loss
        self.limit = 65536  # octets of a frame; what is larger vanishes
        self.locked = locked  # polls in a hundred that find no memory
        self.is_locked = False
        self.now_ms = 1000

    def random(self):
        self.seed = (self.seed * 1103515245 + 12345) & 0x7FFFFFFF
        return self.seed >> 8

    def bytes(self, count):
        return bytes([self.random() & 255 for _ in range(count)])

    def u32(self):
        return self.random()

    def below(self, limit):
        return self.random() % limit

    def poll(self, host):
        """What the device does needs memory of its own, which a real one does not: see Device."""
        if self.random() % 100 >= self.locked:
            return host.stack.poll(self.now_ms)
        self.is_locked = True
        heap_lock()
        try:
            return host.stack.poll(self.now_ms)
        finally:
            heap_unlock()
            self.is_locked = False


class Memory:
    def alloc(self, len_bytes, align=16):
        return (memoryview(bytearray(len_bytes)), 4096)


class Device:
    def __init__(self, world, mac):
        self.world = world
        self.mac = mac
        self.mtu = 1500
        self.features = 0
        self.max_gso_bytes = 1514
        self.tx_pool = dma.FramePool(Memory(), 2048, FRAMES, 16)
        self.rx_pool = dma.FramePool(Memory(), 2048, FRAMES, 16)
        self.inbox = []
        self.other = None
        self.counters = {}

    def join(self, mac):
        pass

    def leave(self, mac):
        pass

    def alloc(self, length):
        # A list that becomes smaller needs no memory, but asks for it: with the heap locked, its last item is lost.
        if self.world.is_locked:
            heap_unlock()
        frame = self.tx_pool.alloc()
        if self.world.is_locked:
            heap_lock()
        return frame

    def tx_batch(self, frames, count):
        if self.world.is_locked:
            heap_unlock()
        for index in range(count):
            frame = frames[index]
            if self.world.random() % 100 >= self.world.loss and frame.length <= self.world.limit:
                self.other.inbox.append(bytes(frame.buf[frame.start : frame.start + frame.length]))
            frame.release()
        if self.world.is_locked:
            heap_lock()
        return count

    def rx_batch(self, frames, limit):
        if self.world.is_locked:
            heap_unlock()
        count = 0
        while self.inbox and count < limit:
            data = self.inbox.pop(0)
            frame = self.rx_pool.alloc()
            if frame is not None:
                frame.length = len(data)
                frame.buf[frame.start : frame.start + len(data)] = data
                frames[count] = frame
                count += 1
        if self.world.is_locked:
            heap_lock()
        return count


class Host:
    """address: of IPv4, or of IPv6, which then comes beside it, with all it says when it begins."""

    def __init__(self, world, mac, address):
        self.device = Device(world, mac)
        ethernet = Ethernet(self.device)
        arp = Arp(ethernet, world)
        if ":" in address:
            ipv4 = Ipv4(ethernet, arp, world, None)
            ipv6 = Ipv6(ethernet, Ndp(ethernet, world), world, address, stable_secret="secret")
            Icmp6(ipv6)
        else:
            ipv4 = Ipv4(ethernet, arp, world, address)
            ipv6 = None
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.tcp = Tcp(world, Cubic(), ipv4, ipv6)
        self.udp = Udp(ipv4, ipv6)
        self.icmp = Icmp(ipv4)
        self.stack = NetStack(ethernet, self.tcp, self.udp, self.icmp)

    def left(self):
        """What should all be nothing."""
        tcp = self.tcp
        return (
            len(tcp.by_key),
            len(tcp.half_open),
            len([owner for owner in tcp.timers.owners() if isinstance(owner, (Connection, HalfOpen))]),
            len(tcp.pending),
            len(tcp.time_waits.by_key),
            2 * FRAMES - self.device.tx_pool.free - self.device.rx_pool.free,
        )

    def left_of_datagrams(self):
        """The same after datagrams in fragments, some of which nobody could keep."""
        return (
            len(self.ipv4._reassembly),
            len(self.ipv4._fragmenter),
            self.ipv4._reassembly._cost,
            len(self.icmp._pings),
            2 * FRAMES - self.device.tx_pool.free - self.device.rx_pool.free,
        )


class Echo:
    def __init__(self, conn):
        self.conn = conn
        self.waiting = b""

    def step(self):
        conn = self.conn
        while conn.error is None:
            if self.waiting:
                self.waiting = self.waiting[conn.write(self.waiting) :]
                if self.waiting:
                    return
            self.waiting = conn.read(65536)
            if not self.waiting:
                break
        if conn.is_eof:
            conn.close()


def advance(world, hosts):
    due = [due_ms for due_ms in [host.stack.next_deadline_ms() for host in hosts] if due_ms is not None]
    if not due:
        return False
    world.now_ms = max(world.now_ms + 1, min(due))
    return True


def has_mail(hosts):
    return bool(hosts[0].device.inbox or hosts[1].device.inbox)


def begin(world, hosts):
    """Until the addresses of IPv6 are nobody else's."""
    for host in hosts:
        while host.ipv6 is not None and len([1 for address in host.ipv6.addresses.all() if address.state != 2]):
            for other in hosts:
                other.stack.poll(world.now_ms)
            if not has_mail(hosts):
                advance(world, hosts)


def pair(world, network="10.0.0.", prefix_len=24):
    macs = (b"\x52\x54\0\0\0\1", b"\x52\x54\0\0\0\2")
    hosts = [Host(world, macs[index], network + str(index + 1) + "/" + str(prefix_len)) for index in range(2)]
    hosts[0].device.other = hosts[1].device
    hosts[1].device.other = hosts[0].device
    begin(world, hosts)
    return hosts


def transfer(seed, loss, locked, network="10.0.0.", prefix_len=24, limit=65536):
    world = World(seed, 0, 0)
    hosts = pair(world, network, prefix_len)
    world.loss = loss
    world.limit = limit
    echoes = []
    hosts[1].tcp.listen(7, lambda conn: echoes.append(Echo(conn)))
    conn = hosts[0].tcp.connect(network + "2", 7, world.now_ms)
    data = bytes([(index * 7 + index // 251) & 255 for index in range(SIZE)])
    sent = 0
    received = []
    while conn.state_name != "CLOSED":
        worked = False
        for host in hosts:
            if world.poll(host):
                worked = True
        for echo in echoes:
            echo.step()
        while True:
            piece = conn.read(65536)
            if not piece:
                break
            received.append(piece)
        if conn.state_name == "ESTABLISHED":
            world.locked = locked  # not before: seven SYNs that find no memory are a failure by right
            if sent < SIZE:
                sent += conn.write(data, sent)
            else:
                conn.close()
        if not worked and not has_mail(hosts) and not advance(world, hosts):
            break
    world.locked = 0
    print("seed", seed, "intact", b"".join(received) == data, "error", conn.error)
    if not locked:
        counters = hosts[0].stack.counters["tcp"]
        print("at", world.now_ms, [(name, counters[name]) for name in sorted(counters) if counters[name]])
    for _ in range(100000):
        for host in hosts:
            host.stack.poll(world.now_ms)
        if not has_mail(hosts) and not advance(world, hosts):
            break
    print("left", [host.left() for host in hosts])


def settle(world, hosts):
    """Until nothing happens any more, or nothing for a minute."""
    while True:
        worked = False
        for host in hosts:
            if host.stack.poll(world.now_ms):
                worked = True
        if worked or has_mail(hosts):
            continue
        due = [due_ms for due_ms in [host.stack.next_deadline_ms() for host in hosts] if due_ms is not None]
        if not due or min(due) > world.now_ms + 60000:
            return
        world.now_ms = max(world.now_ms + 1, min(due))


def connected(world, hosts, network):
    """A connection, both ends: who called, who accepted."""
    ends = []
    hosts[1].tcp.listen(7, ends.append)
    ends.append(hosts[0].tcp.connect(network + "2", 7, world.now_ms))
    settle(world, hosts)
    return ends


def weeks(days, network, prefix_len):
    """Every so many days somebody says something, and is heard at once, with its timestamps."""
    world = World(1, 0, 0)
    hosts = pair(world, network, prefix_len)
    ends = connected(world, hosts, network)
    heard = []
    for sender, receiver in ((0, 1), (1, 0), (1, 0), (0, 1), (0, 1)):
        ends[sender].write(b"x" * 3000)
        settle(world, hosts)
        heard.append(len(receiver_read(ends[receiver])))
        world.now_ms += days * 24 * 3600 * 1000
    counters = [host.stack.counters["tcp"] for host in hosts]
    print("weeks", days, heard, [(count["PAWSEstab"], count["RetransSegs"]) for count in counters])
    print("weeks", days, [(conn.state_name, conn.snd_nxt - conn.snd_una) for conn in ends])


def receiver_read(conn):
    parts = []
    while True:
        data = conn.read(65536)
        if not data:
            return b"".join(parts)
        parts.append(data)


def end_of_window(network, prefix_len):
    """A sender whose data and FIN go one octet beyond the window: what is announced then, and arrives."""
    world = World(1, 0, 0)
    hosts = pair(world, network, prefix_len)
    client, server = connected(world, hosts, network)
    if client.state_name != "ESTABLISHED" or client.remote_port != 7:
        client, server = server, client
    sent = 0
    while server.rcv_adv - server.rcv_nxt > 2000:
        sent += client.write(bytes(min(20000, server.rcv_adv - server.rcv_nxt - 1000)))
        settle(world, hosts)
    room = server.rcv_adv - server.rcv_nxt
    sent += client.write(bytes(room))
    client.close()
    client.snd_wnd = room + 1
    settle(world, hosts)
    print("end", server.state_name, client.state_name, sent == server.rx_octets, server.rcv_adv - server.rcv_nxt)
    print("end", client.snd_wnd, hosts[0].tcp.counters["InCsumErrors"], hosts[0].tcp.counters["RetransSegs"])
    print("end", len(receiver_read(server)) == sent, server.is_eof)


def datagrams(seed, locked):
    """Large datagrams and echo requests, there and back."""
    world = World(seed, 0, 0)
    hosts = pair(world)
    data = bytes([(index * 5 + index // 253) & 255 for index in range(20000)])
    back = []
    pings = []
    hosts[1].udp.listen(9, lambda octets, ip, port: hosts[1].udp.write(octets, ip, port, 9))
    hosts[0].udp.listen(8, lambda octets, ip, port: back.append(octets == data))
    hosts[1].udp.join("239.1.2.3")
    for _ in range(60):
        hosts[0].udp.write(data, "10.0.0.2", 9, 8, world.now_ms)
        if len(hosts[0].icmp._pings) < 4:
            hosts[0].icmp.ping("10.0.0.2", pings.append, world.now_ms, 3000)
        if back and pings:
            world.locked = locked  # not before: a neighbour that cannot be asked for is a failure by right
        for _ in range(20):
            for host in hosts:
                world.poll(host)
        world.locked = 0
        world.now_ms += 50
    world.now_ms += 40000
    for _ in range(100000):
        for host in hosts:
            host.stack.poll(world.now_ms)
        if not has_mail(hosts) and not advance(world, hosts):
            break
    answered = [rtt_ms for rtt_ms in pings if rtt_ms is not None]
    if not locked:
        counters = hosts[1].stack.counters["ipv4"]
        print("datagrams at", [(name, counters[name]) for name in sorted(counters) if counters[name]])
        print("datagrams at", len(back), len(pings), len(answered))
    print("datagrams", seed, "intact", bool(back) and all(back), "pings", bool(answered))
    print("datagrams left", [host.left_of_datagrams() for host in hosts])


for number in range(1, 4):
    transfer(number, 2 * number, 0)
for number in range(1, 11):
    transfer(number, 2, 2 * number)
for number in range(1, 4):
    transfer(number, 2 * number, 0, "fd00::", 64)
for number in range(1, 11):
    transfer(number, 2, 2 * number, "fd00::", 64)
transfer(1, 1, 0, limit=1350)
transfer(1, 1, 0, "fd00::", 64, 1420)
transfer(1, 1, 10, limit=1350)
for days in (1, 20, 23, 24, 25, 30, 40, 49, 50, 51, 74, 75, 90, 120):
    weeks(days, "10.0.0.", 24)
    weeks(days, "fd00::", 64)
end_of_window("10.0.0.", 24)
end_of_window("fd00::", 64)
datagrams(1, 0)
for number in range(2, 8):
    datagrams(number, 5 * number)
