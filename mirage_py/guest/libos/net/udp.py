# SPDX-License-Identifier: MIT
"""UDP (RFC 768; RFC 1122 section 4.1). No I/O, no clock."""

from libos.net.transport import Transport
from libos.wire import udp as wire
from libos.wire.ipv4 import PROTOCOL_UDP

MAX_PORTS = 1024
CSUM_VALID = 1  # of Frame.flags


class Udp(Transport):
    """UDP over IPv4, IPv6 (None: without) or both.

    now_ms: the time of the last poll with something in it, for `write`.
    """

    def __init__(self, ipv4, ipv6=None):
        self.ipv4 = ipv4
        self.ipv6 = ipv6
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
        for layer in (ipv4, ipv6):
            if layer is not None:
                layer.register(PROTOCOL_UDP, self)
                layer.ethernet.parts["udp"] = self

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
        if (checksum or packet.ip.version == 6) and not frame.flags & CSUM_VALID:
            # RFC 8200 section 8.1: without a checksum it is no datagram of IPv6's.
            pseudo = packet.ip.pseudo_sum(packet.src_ip, packet.dst_ip, PROTOCOL_UDP, datagram_len)
            if not checksum or frame.checksum(start, datagram_len, pseudo) != 0xFFFF:
                self.counters["InErrors"] += 1
                self.counters["InCsumErrors"] += 1
                return
        callback = self._ports.get(dst_port)
        if callback is None:
            self.counters["NoPorts"] += 1
            if packet.ip.icmp is not None:
                packet.ip.icmp.port_unreachable(frame, packet, now_ms)
            return
        self.counters["InDatagrams"] += 1
        data = frame.take(start + wire.HEADER_BYTES, datagram_len - wire.HEADER_BYTES)
        callback(data, packet.ip.format_address(packet.src_ip), src_port)

    def write(self, data, dst_ip, dst_port, src_port, now_ms=None):
        """Sends a datagram. dst_ip: text, of either family. now_ms: the last poll's unless the caller knows better.

        Returns False when it could not even be queued: no buffer, no route. ValueError when it is larger than the MTU
        allows, or a port or the address is not one.
        """
        layer = self.ipv6 if ":" in dst_ip else self.ipv4
        if layer is None:
            self.counters["OutErrors"] += 1
            return False
        ip = layer.parse_address(dst_ip)
        if not (1 <= dst_port <= 65535 and 1 <= src_port <= 65535):
            raise ValueError("not a UDP port")
        datagram_len = wire.HEADER_BYTES + len(data)
        if datagram_len > layer.mtu - layer.header_bytes:
            raise ValueError("a datagram of %d octets does not fit the MTU" % len(data))
        src_ip = layer.source_for(ip)
        frame = None if src_ip is None else layer.alloc(datagram_len)
        if frame is None:
            self.counters["OutErrors"] += 1
            return False
        start = layer.start
        frame.put(start + wire.HEADER_BYTES, data, 0, len(data))
        initial = layer.pseudo_sum(src_ip, ip, PROTOCOL_UDP, datagram_len)
        initial = (initial + src_port + dst_port + datagram_len) % 0xFFFF
        total = frame.checksum(start + wire.HEADER_BYTES, len(data), initial)
        wire.emit(frame.buf, frame.start + start, src_port, dst_port, datagram_len, total ^ 0xFFFF or 0xFFFF)
        if not layer.send(frame, src_ip, ip, PROTOCOL_UDP, self.now_ms if now_ms is None else now_ms):
            self.counters["OutErrors"] += 1
            return False
        self.counters["OutDatagrams"] += 1
        return True
