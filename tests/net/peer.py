# SPDX-License-Identifier: MIT
"""A scripted TCP peer: says exactly what a test wants, and shows what the stack answers, segment by segment.

Over IPv4 or IPv6: an address is a number or 16 octets, as in the stack, and what is built here goes by that.
"""

from libos.wire import arp, ethernet, icmp6, ipv4, ipv6, tcp
from libos.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.net.world import fast_checksum

MAC = b"\x52\x54\x00\x00\x00\x99"
IP = 0x0A000009
IP6 = ipv6.parse_address("fd00::9")

NAMES = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "A"))
CHECKSUM_AT = {1: 2, 6: 16, 17: 6, 58: 2}


def is_ipv6(ip):
    return isinstance(ip, bytes)


def payload_at(ip):
    """Where in a frame from or to an address the payload of the IP packet begins."""
    return 54 if is_ipv6(ip) else 34


def build(src_ip, dst_ip, dst_mac, body, protocol=6, ttl=64, src_mac=MAC, fragment=ipv4.DONT_FRAGMENT, ident=0):
    """An Ethernet frame with an IP packet in it. fragment, ident: of IPv4."""
    at = payload_at(src_ip)
    packet = bytearray(at + len(body))
    if is_ipv6(src_ip):
        ethernet.emit(packet, 0, dst_mac, src_mac, ethernet.ETHERTYPE_IPV6)
        ipv6.emit(packet, 14, len(body), protocol, ttl, src_ip, dst_ip)
    else:
        ethernet.emit(packet, 0, dst_mac, src_mac, ethernet.ETHERTYPE_IPV4)
        ipv4.emit(packet, 14, 20 + len(body), ident, fragment, ttl, protocol, src_ip, dst_ip)
    packet[at:] = body
    return bytes(packet)


def checksummed(body, protocol, src_ip, dst_ip):
    """The payload of an IP packet with its checksum filled in."""
    body = bytearray(body)
    at = CHECKSUM_AT[protocol]
    body[at : at + 2] = b"\0\0"
    pseudo = 0
    if is_ipv6(src_ip):
        pseudo = ipv6.pseudo_sum(src_ip, dst_ip, protocol, len(body))
    elif protocol != 1:
        pseudo = src_ip + dst_ip + protocol + len(body)
    body[at : at + 2] = (fast_checksum(body, 0, len(body), pseudo) ^ 0xFFFF).to_bytes(2, "big")
    return bytes(body)


def tcp_segment(src_ip, dst_ip, src_port, dst_port, seq, ack, flags, window, data=b"", options=b""):
    """A TCP header with data, checksummed."""
    body = bytearray(20 + len(options) + len(data))
    tcp.emit(body, 0, src_port, dst_port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, window, options)
    body[20 + len(options) :] = data
    return checksummed(body, 6, src_ip, dst_ip)


def neighbour_message(kind, flags, target_ip, option, mac, src_ip, dst_ip, dst_mac, ttl=255):
    """The frame of a neighbour solicitation or advertisement; without a MAC there is no option."""
    body = bytearray(icmp6.NEIGHBOUR_BYTES + (icmp6.MAC_OPTION_BYTES if mac is not None else 0))
    icmp6.emit_neighbour(body, 0, kind, flags, target_ip, option, mac)
    return build(src_ip, dst_ip, dst_mac, checksummed(body, 58, src_ip, dst_ip), 58, ttl)


class Peer:
    """One end of one connection. Sequence numbers in `send` and in what `take` returns are relative to both ISNs."""

    def __init__(self, world, host, port=5000, to=7, ip=IP, iss=1000, resolve=True):
        self.world = world
        self.host = host
        self.port = port
        self.to = to
        self.ip = ip
        self.host_ip = (host.ipv6 if is_ipv6(ip) else host.ipv4).source_for(ip)
        self.iss = iss
        self.irs = None
        self.seq = 0  # next to send, relative
        self.window = 0xFFFF
        if host.device.tx_log is None:
            host.device.tx_log = []
        self.log = host.device.tx_log
        if resolve:
            world.filter = self.on_frame
            world.inject(host, self._introduce(host.device.mac))
            world.settle()
            self.log.clear()

    def _introduce(self, dst_mac):
        """A question that tells our MAC."""
        if is_ipv6(self.ip):
            kind = icmp6.NEIGHBOUR_SOLICITATION
            return neighbour_message(
                kind, 0, self.host_ip, icmp6.SOURCE_MAC, MAC, self.ip, self.host_ip, dst_mac
            )  # fmt: skip
        return self._arp(arp.REQUEST, bytes(6), dst_mac)

    def _arp(self, operation, target_mac, dst_mac):
        packet = bytearray(60)
        ethernet.emit(packet, 0, dst_mac, MAC, ethernet.ETHERTYPE_ARP)
        arp.emit(packet, 14, operation, MAC, self.ip, target_mac, self.host_ip)
        return packet

    def on_frame(self, device, packet):
        """The peer's own table entry must not run out: it answers questions for its MAC."""
        if is_ipv6(self.ip):
            is_question = packet[20] == 58 and packet[54:55] == bytes([icmp6.NEIGHBOUR_SOLICITATION])
            if packet[12:14] == b"\x86\xdd" and is_question and packet[62:78] == self.ip:
                kind = icmp6.NEIGHBOUR_ADVERTISEMENT
                answer = neighbour_message(
                    kind, icmp6.SOLICITED | icmp6.OVERRIDE, self.ip, icmp6.TARGET_MAC, MAC, self.ip, packet[22:38],
                    device.mac,
                )  # fmt: skip
                self.world.inject(self.host, answer)
            return
        request = arp.parse(packet, 14, len(packet) - 14) if packet[12:14] == b"\x08\x06" else None
        if request is not None and request[0] == arp.REQUEST and request[4] == self.ip:
            self.world.inject(self.host, self._arp(arp.REPLY, device.mac, device.mac))

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
            self.ip, self.host_ip, self.port, self.to, self.iss + seq, ack, flags,
            self.window if window is None else window, data, options,
        )  # fmt: skip
        self.world.inject(self.host, build(self.ip, self.host_ip, self.host.device.mac, body))
        if settle:
            self.world.settle()

    def acked(self):
        return (self.irs or 0) + getattr(self, "rcv_nxt", 0)

    def _to_us(self, packet):
        """Octets of TCP in a frame to our address; None when it is another frame."""
        if is_ipv6(self.ip):
            if packet[12:14] == b"\x86\xdd" and packet[20] == 6 and packet[38:54] == self.ip:
                return ipv6.parse(packet, 14, len(packet) - 14)[0]
        elif packet[12:14] == b"\x08\x00" and packet[23] == 6:
            header = ipv4.parse(packet, 14, len(packet) - 14)
            if header[7] == self.ip:
                return header[1] - 20
        return None

    def take(self):
        """The segments that the host sent to us since the last time: Segment with .data, seq and ack relative."""
        segments = []
        at = payload_at(self.ip)
        for packet in self.log:
            length = self._to_us(packet)
            if length is None:
                continue
            segment = tcp.parse(packet, at, length)
            if segment.dst_port != self.port:
                continue
            segment.data = bytes(packet[at + segment.header_len : at + length])
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
