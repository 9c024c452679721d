# SPDX-License-Identifier: MIT
"""UDP (RFC 768; RFC 1122 section 4.1). No I/O, no clock."""

from libos.wire import ipv4 as wire_ipv4
from libos.wire import udp as wire

MAX_PORTS = 1024
CSUM_VALID = 1  # of Frame.flags

_START = 34  # of our header in a frame to send


class Udp:
    """UDP over one Ipv4. on_no_port: called with (frame, packet, now_ms) when nobody listens: ICMP answers.

    now_ms: the time of the last poll with something in it, for `write`.
    """

    def __init__(self, ipv4):
        self.ipv4 = ipv4
        self.on_no_port = None
        self.counters = {
            "InDatagrams": 0,  # RFC 4113
            "NoPorts": 0,
            "InErrors": 0,
            "InCsumErrors": 0,  # Linux
            "OutDatagrams": 0,
            "OutErrors": 0,
        }
        self._ports = {}
        self.now_ms = 0
        ipv4.register(wire_ipv4.PROTOCOL_UDP, self)

    def listen(self, port, callback):
        """Gives datagrams to `port` to callback(data, src_ip, src_port), the address as text.

        Raises ValueError when the port is not one, is taken, or the table is full.
        """
        if not 1 <= port <= 65535:
            raise ValueError("not a UDP port: %d" % port)
        if port in self._ports:
            raise ValueError("UDP port %d is taken" % port)
        if len(self._ports) >= MAX_PORTS:
            raise ValueError("more than %d UDP ports" % MAX_PORTS)
        self._ports[port] = callback

    def unlisten(self, port):
        """Stops listening. KeyError when nobody does."""
        del self._ports[port]

    def input(self, frame, packet, now_ms):
        """A received datagram."""
        self.now_ms = now_ms
        start = packet.start
        header = wire.parse(frame.buf, frame.start + start, packet.length)
        if header is None or start + wire.HEADER_BYTES > frame.length:
            self.counters["InErrors"] += 1
            return
        src_port, dst_port, datagram_len, checksum = header
        if checksum and not frame.flags & CSUM_VALID:
            pseudo = packet.src_ip + packet.dst_ip + wire_ipv4.PROTOCOL_UDP + datagram_len
            if frame.checksum(start, datagram_len, pseudo % 0xFFFF) != 0xFFFF:
                self.counters["InErrors"] += 1
                self.counters["InCsumErrors"] += 1
                return
        callback = self._ports.get(dst_port)
        if callback is None:
            self.counters["NoPorts"] += 1
            if self.on_no_port is not None:
                self.on_no_port(frame, packet, now_ms)
            return
        self.counters["InDatagrams"] += 1
        data = frame.take(start + wire.HEADER_BYTES, datagram_len - wire.HEADER_BYTES)
        callback(data, wire_ipv4.format_address(packet.src_ip), src_port)

    def write(self, data, dst_ip, dst_port, src_port, now_ms=None):
        """Sends a datagram. dst_ip: text. now_ms: the time where the caller knows it, else that of the last poll.

        Returns False when it could not even be queued: no buffer, no route. ValueError when it is larger than the MTU
        allows, or a port or the address is not one.
        """
        ip = wire_ipv4.parse_address(dst_ip)
        if not (1 <= dst_port <= 65535 and 1 <= src_port <= 65535):
            raise ValueError("not a UDP port")
        datagram_len = wire.HEADER_BYTES + len(data)
        if datagram_len > self.ipv4.mtu - wire_ipv4.HEADER_BYTES:
            raise ValueError("a datagram of %d octets does not fit the MTU" % len(data))
        frame = self.ipv4.alloc(datagram_len)
        if frame is None:
            self.counters["OutErrors"] += 1
            return False
        frame.put(_START + wire.HEADER_BYTES, data, 0, len(data))
        initial = self.ipv4.pseudo_sum(ip, wire_ipv4.PROTOCOL_UDP, datagram_len)
        initial = (initial + src_port + dst_port + datagram_len) % 0xFFFF
        total = frame.checksum(_START + wire.HEADER_BYTES, len(data), initial)
        wire.emit(frame.buf, frame.start + _START, src_port, dst_port, datagram_len, total ^ 0xFFFF or 0xFFFF)
        if not self.ipv4.send(frame, ip, wire_ipv4.PROTOCOL_UDP, self.now_ms if now_ms is None else now_ms):
            self.counters["OutErrors"] += 1
            return False
        self.counters["OutDatagrams"] += 1
        return True
