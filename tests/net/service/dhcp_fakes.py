# SPDX-License-Identifier: MIT
"""A network interface and a server for net.service.dhcp: only what the client asks of IPv4 and UDP, in virtual time."""

import random
import struct

from libos.net.service.dhcp import Dhcp
from libos.net.timers import Timers
from libos.wire import dhcp, udp
from tests.net.world import Entropy, fast_checksum

MAC = b"\x52\x54\x00\x00\x00\x01"
SERVER = 0x0A000201
ADDRESS = 0x0A00020F
BROADCAST = 0xFFFFFFFF


class Frame:
    def __init__(self, length):
        self.buf = bytearray(b"\xa5") * (34 + length)
        self.start = 0
        self.length = 34 + length

    def put(self, start, data, data_start, length):
        self.buf[start : start + length] = data[data_start : data_start + length]

    def checksum(self, start, length, initial):
        return fast_checksum(self.buf, start, length, initial)


class FakeEthernet:
    def __init__(self):
        self.mac = MAC
        self.mtu = 1500
        self.timers = Timers()
        self.parts = {}


class FakeArp:
    """Remembers what is being probed; a test says who answers."""

    def __init__(self):
        self.probes = {}  # address -> on_result
        self.sent = []
        self.is_full = False

    def probe(self, ip, on_result):
        if self.is_full:
            raise ValueError("too many")
        assert ip not in self.probes
        self.probes[ip] = on_result

    def cancel_probe(self, ip):
        self.probes.pop(ip, None)

    def send_probe(self, ip):
        self.sent.append(ip)
        return True


class FakeIpv4:
    start = 34

    def __init__(self):
        self.ethernet = FakeEthernet()
        self.neighbours = FakeArp()
        self.sent = []  # (src_ip, dst_ip, datagram)
        self.has_frames = True
        self.expected = []  # what expect_address() was called with; "now" for receive_expected()
        self.ports = 0  # what expect_datagrams() was called with last

    def expect_address(self, is_expected):
        self.expected.append(is_expected)

    def expect_datagrams(self, ports):
        self.ports = ports

    def receive_expected(self, now_ms):
        self.expected.append("now")

    def alloc(self, length):
        return Frame(length) if self.has_frames else None

    def pseudo_sum(self, src_ip, dst_ip, protocol, length):
        return (src_ip + dst_ip + protocol + length) % 0xFFFF

    def send(self, frame, src_ip, dst_ip, protocol, now_ms):
        data = bytes(frame.buf[34:])
        pseudo = (src_ip + dst_ip + protocol + len(data)) % 0xFFFF
        assert fast_checksum(data, 0, len(data), pseudo) == 0xFFFF
        self.sent.append((src_ip, dst_ip, data))
        return True


class FakeUdp:
    def __init__(self):
        self.ports = {}
        self.now_ms = 0

    def listen(self, port, callback):
        assert port not in self.ports
        self.ports[port] = callback

    def unlisten(self, port):
        del self.ports[port]


class Client:
    """The client under test, with what happens to it. events: (what, now_ms, …)."""

    def __init__(self, seed=1, hostname=None, start=True):
        self.ipv4 = FakeIpv4()
        self.udp = FakeUdp()
        self.timers = self.ipv4.ethernet.timers
        self.dhcp = Dhcp(self.ipv4, self.udp, Entropy(random.Random(seed)), hostname)
        self.now_ms = 5000
        self.events = []
        self.dhcp.on_bound = lambda lease, now_ms: self.events.append(("bound", now_ms, lease))
        self.dhcp.on_lost = lambda reason, now_ms: self.events.append(("lost", now_ms, reason))
        self.dhcp.on_silence = lambda now_ms: self.events.append(("silence", now_ms))
        self.refusals = []
        self.dhcp.on_refused = lambda why, now_ms: self.refusals.append(why)
        if start:
            self.dhcp.start()
            self.run(0)

    def run(self, for_ms):
        """Lets time pass; returns when each message left."""
        end = self.now_ms + for_ms
        times = []
        while True:
            before = len(self.ipv4.sent)
            self.timers.poll(self.now_ms, 64)
            times += [self.now_ms] * (len(self.ipv4.sent) - before)
            due_ms = self.timers.next_deadline_ms()
            if due_ms is None or due_ms > end:
                break
            self.now_ms = max(due_ms, self.now_ms)
        self.now_ms = end
        return times

    def sent(self):
        """The messages since last asked: (src_ip, dst_ip, Message, flags, secs)."""
        seen = []
        for src_ip, dst_ip, datagram in self.ipv4.sent:
            src_port, dst_port, length, _ = udp.parse(datagram, 0, len(datagram))
            assert (src_port, dst_port, length) == (68, 67, len(datagram))
            message = dhcp.parse(datagram, 8, length - 8)
            secs, flags = struct.unpack_from(">HH", datagram, 16)
            seen.append((src_ip, dst_ip, message, flags, secs))
        self.ipv4.sent.clear()
        return seen

    def last(self):
        return self.sent()[-1][2]

    def deliver(self, data, src_port=67):
        self.udp.now_ms = self.now_ms
        self.udp.ports[68](data, "10.0.2.1", src_port)

    def answer(self, kind, question, **changes):
        self.deliver(reply(kind, question, **changes))

    def bind(self, **changes):
        """Through the exchange to BOUND."""
        self.answer(dhcp.OFFER, self.last(), **changes)
        self.answer(dhcp.ACK, self.last(), **changes)
        assert self.dhcp.lease is not None, self.dhcp.counters


def reply(
    kind, question, server=SERVER, address=ADDRESS, mask=0xFFFFFF00, router=SERVER, lease=3600, xid=None, chaddr=MAC,
    op=dhcp.REPLY, extra=(),
):  # fmt: skip
    """A server's answer. None leaves an option out."""
    options = [(dhcp.OPTION_TYPE, bytes((kind,)))]
    for code, value in (
        (dhcp.OPTION_SERVER, server), (dhcp.OPTION_MASK, mask), (dhcp.OPTION_ROUTER, router),
        (dhcp.OPTION_LEASE_TIME, lease),
    ):  # fmt: skip
        if value is not None:
            options.append((code, value.to_bytes(4, "big")))
    options += list(extra)
    return dhcp.emit(op, question.xid if xid is None else xid, 0, 0, 0, address, chaddr, options)
