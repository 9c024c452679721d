# SPDX-License-Identifier: MIT
"""UDP (RFC 768; RFC 1122 section 4.1). No I/O, no clock."""

from struct import unpack_from

from libos.net import errors
from libos.net.transport import Transport
from libos.wire import checksum as wire_checksum
from libos.wire import udp as wire
from libos.wire.ipv4 import PROTOCOL_UDP

MAX_PORTS = 1024
MAX_DATA_BYTES = 65507  # of a datagram: 65535 with both headers
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
            "IcmpErrors": 0,  # told to somebody
        }
        self._ports = {}  # port -> (callback, on_error)
        self.now_ms = 0
        for layer in (ipv4, ipv6):
            if layer is not None:
                layer.register(PROTOCOL_UDP, self)
                layer.ethernet.parts["udp"] = self

    def listen(self, port, callback, on_error=None):
        """Gives datagrams to `port` to callback(data, src_ip, src_port), the address as text.

        on_error(error, dst_ip, dst_port): the network says that what we sent from this port did not arrive there;
        error: of net.errors. Anybody can forge that: it is a hint.
        Raises ValueError when the port is not one, is taken, or the table is full.
        """
        if not 1 <= port <= 65535:
            raise ValueError("not a UDP port: %d" % port)
        if port in self._ports:
            raise ValueError("UDP port %d is taken" % port)
        if len(self._ports) >= MAX_PORTS:
            raise ValueError("more than %d UDP ports" % MAX_PORTS)
        self._ports[port] = (callback, on_error)

    def unlisten(self, port):
        """Stops listening. KeyError when nobody does."""
        del self._ports[port]

    def join(self, group):
        """Receives what is sent to a multicast group ("239.1.2.3") on any port listened to. ValueError for no group."""
        layer = self._layer(group)
        layer.join(layer.parse_address(group))

    def leave(self, group):
        """Takes back one `join`. KeyError when there was none."""
        layer = self._layer(group)
        layer.leave(layer.parse_address(group))

    def _layer(self, ip):
        layer = self.ipv6 if ":" in ip else self.ipv4
        if layer is None:
            raise ValueError("no IP layer for " + ip)
        return layer

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
        listener = self._ports.get(dst_port)
        if listener is None:
            self.counters["NoPorts"] += 1
            if packet.ip.icmp is not None:
                packet.ip.icmp.port_unreachable(frame, packet, now_ms)
            return
        self.counters["InDatagrams"] += 1
        data = frame.take(start + wire.HEADER_BYTES, datagram_len - wire.HEADER_BYTES)
        listener[0](data, packet.ip.format_address(packet.src_ip), src_port)

    def input_error(self, ip, _src_ip, dst_ip, quoted, error, mtu, now_ms):
        """Believed only of a port that we have open: there is nothing else in a datagram that strangers cannot know."""
        src_port, dst_port = unpack_from(">HH", quoted, 0)
        listener = self._ports.get(src_port)
        if listener is None:
            return
        self.now_ms = now_ms
        if error == errors.TOO_BIG:
            ip.lower_path_mtu(dst_ip, mtu, now_ms)
        if listener[1] is not None:
            self.counters["IcmpErrors"] += 1
            listener[1](error, ip.format_address(dst_ip), dst_port)

    def write(self, data, dst_ip, dst_port, src_port, now_ms=None):
        """Sends a datagram. dst_ip: text, of either family. now_ms: the last poll's unless the caller knows better.

        Larger ones go in fragments. Returns False when it could not even be queued: no buffer, no route, or to port 0,
        where a datagram that wants no answer comes from (RFC 768): whoever answers all of them need not look.
        ValueError when it is larger than a datagram can be, or a port or the address is not one.
        """
        layer = self.ipv6 if ":" in dst_ip else self.ipv4
        if layer is None or dst_port == 0:
            self.counters["OutErrors"] += 1
            return False
        ip = layer.parse_address(dst_ip)
        if not (1 <= dst_port <= 65535 and 1 <= src_port <= 65535):
            raise ValueError("not a UDP port")
        if len(data) > MAX_DATA_BYTES:
            raise ValueError("%d octets are more than a datagram holds" % len(data))
        src_ip = layer.source_for(ip)
        if now_ms is None:
            now_ms = self.now_ms
        if src_ip is None or not self._send(layer, src_ip, ip, src_port, dst_port, data, now_ms):
            self.counters["OutErrors"] += 1
            return False
        self.counters["OutDatagrams"] += 1
        return True

    def _send(self, layer, src_ip, dst_ip, src_port, dst_port, data, now_ms):
        length = wire.HEADER_BYTES + len(data)
        initial = layer.pseudo_sum(src_ip, dst_ip, PROTOCOL_UDP, length)
        initial = (initial + src_port + dst_port + length) % 0xFFFF
        if layer.header_bytes + length > layer.path_mtu(dst_ip):
            data = bytes(data)  # it is kept, and must not change
            total = wire_checksum.fold(initial + wire_checksum.total(data, 0, len(data)))
            header = bytearray(wire.HEADER_BYTES)
            wire.emit(header, 0, src_port, dst_port, length, total ^ 0xFFFF or 0xFFFF)
            return layer.send_large(header, data, src_ip, dst_ip, PROTOCOL_UDP, now_ms)
        frame = layer.alloc(length)
        if frame is None:
            return False
        start = layer.start
        frame.put(start + wire.HEADER_BYTES, data, 0, len(data))
        total = frame.checksum(start + wire.HEADER_BYTES, len(data), initial)
        wire.emit(frame.buf, frame.start + start, src_port, dst_port, length, total ^ 0xFFFF or 0xFFFF)
        return layer.send(frame, src_ip, dst_ip, PROTOCOL_UDP, now_ms)
