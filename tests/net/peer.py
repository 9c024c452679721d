# SPDX-License-Identifier: MIT
"""A scripted TCP peer: says exactly what a test wants, and shows what the stack answers, segment by segment."""

from libos.wire import arp, ethernet, ipv4, tcp
from libos.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.net.link import fast_checksum

MAC = b"\x52\x54\x00\x00\x00\x99"
IP = 0x0A000009

NAMES = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "A"))


def build(src_ip, dst_ip, dst_mac, body, protocol=6, ttl=64, src_mac=MAC, fragment=ipv4.DONT_FRAGMENT):
    """An Ethernet frame with an IPv4 packet in it."""
    packet = bytearray(34 + len(body))
    ethernet.emit(packet, 0, dst_mac, src_mac, 0x0800)
    ipv4.emit(packet, 14, 20 + len(body), 0, fragment, ttl, protocol, src_ip, dst_ip)
    packet[34:] = body
    return bytes(packet)


def tcp_segment(src_ip, dst_ip, src_port, dst_port, seq, ack, flags, window, data=b"", options=b""):
    """A TCP header with data, checksummed."""
    body = bytearray(20 + len(options) + len(data))
    tcp.emit(body, 0, src_port, dst_port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, window, options)
    body[20 + len(options) :] = data
    pseudo = src_ip + dst_ip + 6 + len(body)
    body[16:18] = (fast_checksum(body, 0, len(body), pseudo) ^ 0xFFFF).to_bytes(2, "big")
    return bytes(body)


class Peer:
    """One end of one connection. Sequence numbers in `send` and in what `take` returns are relative to both ISNs."""

    def __init__(self, world, host, port=5000, to=7, ip=IP, iss=1000, resolve=True):
        self.world = world
        self.host = host
        self.port = port
        self.to = to
        self.ip = ip
        self.iss = iss
        self.irs = None
        self.seq = 0  # next to send, relative
        self.window = 0xFFFF
        if host.device.tx_log is None:
            host.device.tx_log = []
        self.log = host.device.tx_log
        if resolve:
            world.filter = self.on_frame
            packet = bytearray(60)
            ethernet.emit(packet, 0, host.device.mac, MAC, 0x0806)
            arp.emit(packet, 14, arp.REQUEST, MAC, ip, bytes(6), host.ipv4.ip)
            world.inject(host, packet)
            world.settle()
            self.log.clear()

    def on_frame(self, device, packet):
        """The peer's own table entry must not run out: it answers requests for its MAC."""
        request = arp.parse(packet, 14, len(packet) - 14) if packet[12:14] == b"\x08\x06" else None
        if request is not None and request[0] == arp.REQUEST and request[4] == self.ip:
            reply = bytearray(60)
            ethernet.emit(reply, 0, device.mac, MAC, 0x0806)
            arp.emit(reply, 14, arp.REPLY, MAC, self.ip, device.mac, self.host.ipv4.ip)
            self.world.inject(self.host, reply)

    def send(self, flags, seq=None, ack=None, data=b"", window=None, options=b"", settle=True):
        """Sends a segment; without seq and ack, the ones that are due."""
        if seq is None:
            seq = self.seq
            self.seq += len(data) + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
        if ack is None:
            ack = self.acked() if flags & ACK else 0
        elif self.irs is not None:
            ack += self.irs
        body = tcp_segment(
            self.ip, self.host.ipv4.ip, self.port, self.to, self.iss + seq, ack, flags,
            self.window if window is None else window, data, options,
        )  # fmt: skip
        self.world.inject(self.host, build(self.ip, self.host.ipv4.ip, self.host.device.mac, body))
        if settle:
            self.world.settle()

    def acked(self):
        return (self.irs or 0) + getattr(self, "rcv_nxt", 0)

    def take(self):
        """The segments that the host sent to us since the last time: Segment with .data, seq and ack relative."""
        segments = []
        for packet in self.log:
            if packet[12:14] != b"\x08\x00" or packet[23] != 6:
                continue
            header = ipv4.parse(packet, 14, len(packet) - 14)
            if header[7] != self.ip:
                continue
            segment = tcp.parse(packet, 34, header[1] - 20)
            if segment.dst_port != self.port:
                continue
            segment.data = bytes(packet[34 + segment.header_len : 14 + header[1]])
            segment.names = "".join([name for bit, name in NAMES if segment.flags & bit])
            if segment.flags & SYN:
                self.irs = segment.seq
                self.rcv_nxt = 1
            if self.irs is not None:
                segment.seq = (segment.seq - self.irs) & 0xFFFFFFFF
            segment.ack = (segment.ack - self.iss) & 0xFFFFFFFF
            segments.append(segment)
        self.log.clear()
        return segments

    def expect(self, names, **values):
        """Exactly one segment came, with these flags ("SA") and values; returns it."""
        segments = self.take()
        assert len(segments) == 1, [(s.names, s.seq, s.ack, len(s.data)) for s in segments]
        segment = segments[0]
        assert segment.names == names, segment.names
        for name, value in values.items():
            assert getattr(segment, name) == value, (name, getattr(segment, name), value)
        return segment

    def quiet(self):
        """Nothing came."""
        assert [(s.names, s.seq, s.ack, len(s.data)) for s in self.take()] == []

    def connect(self, options=b"", window=None):
        """Opens a connection to the host, which listens on `to`; returns its SYN-ACK."""
        self.send(SYN, options=options, window=window)
        answer = self.expect("SA")
        self.send(ACK, window=window, options=self.ts_options(answer))
        assert [s.names for s in self.take()] in ([], ["A"])
        return answer

    def ts_options(self, answer):
        if answer.ts_val is None:
            return b""
        return tcp.timestamps_option(1, answer.ts_val)

    def ack_data(self, segments, **options):
        """Acknowledges what came in order; returns the data."""
        data = b""
        for segment in segments:
            if segment.seq == self.rcv_nxt:
                data += segment.data
                self.rcv_nxt += len(segment.data) + (1 if segment.flags & FIN else 0)
        self.send(ACK, **options)
        return data
