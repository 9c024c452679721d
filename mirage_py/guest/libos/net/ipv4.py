# SPDX-License-Identifier: MIT
"""IPv4 (RFC 791; RFC 1122 section 3; RFC 1812 for what a source must not be). No I/O, no clock.

Received packets go to the protocol of their number as (frame, packet, now_ms); packets to send get their header and
their next hop here. Fragments are counted and dropped. What an IP layer offers: docs/architecture.md.
"""

from struct import pack

from libos.wire import checksum as wire_checksum
from libos.wire import ethernet as wire_ethernet
from libos.wire import ipv4 as wire

TTL = 64
HEADER_START = 14  # octets of Ethernet header before ours
MAX_ROUTES = 64


class Packet:
    """What a transport protocol gets to know of a received packet.

    ip: the layer that it came by. start: offset of the payload in the frame; length: octets of payload. header_len: of
    all headers before it. is_broadcast: addressed to more than us, by IP or Ethernet.
    """

    def __init__(self, ip, src_ip, dst_ip, protocol, ttl, header_len, length, is_broadcast):
        self.ip = ip
        self.src_ip = src_ip
        self.dst_ip = dst_ip
        self.protocol = protocol
        self.ttl = ttl
        self.header_len = header_len
        self.start = HEADER_START + header_len
        self.length = length
        self.is_broadcast = is_broadcast


class Ipv4:
    """One IPv4 address on an Ethernet interface.

    address: "10.0.0.2/24", or None for none yet; gateway: "10.0.0.1" or None. ValueError when one is not such a text,
    is no host's address, or the gateway is not on the network. ip: the address as a number, 0 for none.
    """

    version = 4
    ethertype = wire_ethernet.ETHERTYPE_IPV4
    header_bytes = wire.HEADER_BYTES
    start = HEADER_START + wire.HEADER_BYTES
    parse_address = staticmethod(wire.parse_address)
    format_address = staticmethod(wire.format_address)

    def __init__(self, ethernet, arp, address=None, gateway=None):
        self.ethernet = ethernet
        self.neighbours = arp
        self.mtu = ethernet.mtu
        self.counters = {
            "InReceives": 0,  # RFC 4293 from here, but for the prefix
            "InHdrErrors": 0,
            "InAddrErrors": 0,
            "InUnknownProtos": 0,
            "InTruncatedPkts": 0,
            "InCsumErrors": 0,  # Linux
            "InMartians": 0,
            "ReasmReqds": 0,
            "ReasmFails": 0,
            "InDelivers": 0,
            "OutRequests": 0,
            "OutNoRoutes": 0,
            "OutDiscards": 0,
        }
        self.icmp = None  # who reports errors to senders
        self._protocols = {}
        self._routes = []
        self._ident = 0
        arp.on_failure = self._neighbour_lost
        self.ip = 0
        self.set_address(address, gateway)
        ethernet.parts["ipv4"] = self
        ethernet.register(wire_ethernet.ETHERTYPE_IPV4, self)

    def set_address(self, address, gateway=None):
        """Our address from now on. ValueError as for the constructor; then nothing has changed.

        Connections of the address that was ours end.
        """
        if address is None:
            self._change(0, 0, wire.LIMITED_BROADCAST, [])
            return
        ip, prefix_len = wire.parse_cidr(address)
        netmask = wire.netmask(prefix_len)
        if not wire.is_unicast(ip):
            raise ValueError("not the address of a host: " + address)
        directed_broadcast = ip | netmask ^ 0xFFFFFFFF if prefix_len < 31 else wire.LIMITED_BROADCAST
        if prefix_len < 31 and (ip == directed_broadcast or ip == ip & netmask):
            raise ValueError("not the address of a host: " + address)
        routes = [(ip & netmask, netmask, None)]
        if gateway is not None:
            gateway_ip = wire.parse_address(gateway)
            if gateway_ip & netmask != ip & netmask or gateway_ip == ip:
                raise ValueError("the gateway %s is not a neighbour of %s" % (gateway, address))
            routes.append((0, 0, gateway_ip))
        self._change(ip, netmask, directed_broadcast, routes)
        self.neighbours.announce()

    def _change(self, ip, netmask, directed_broadcast, routes):
        old_ip = self.ip
        self.ip = ip
        self.netmask = netmask
        self.directed_broadcast = directed_broadcast
        self._routes = routes
        self.neighbours.set_address(ip, netmask)
        if old_ip and old_ip != ip:
            for protocol in self._protocols.values():
                protocol.address_lost(self, old_ip)

    def add_route(self, network, gateway):
        """Sends what goes to `network` ("192.168.0.0/16") through a neighbour. The longest prefix wins."""
        ip, prefix_len = wire.parse_cidr(network)
        netmask = wire.netmask(prefix_len)
        gateway_ip = wire.parse_address(gateway)
        if gateway_ip & self.netmask != self.ip & self.netmask or gateway_ip == self.ip:
            raise ValueError("the gateway %s is not a neighbour" % gateway)
        if len(self._routes) >= MAX_ROUTES:
            raise ValueError("more than %d routes" % MAX_ROUTES)
        at = 0
        while at < len(self._routes) and self._routes[at][1] > netmask:
            at += 1
        self._routes.insert(at, (ip & netmask, netmask, gateway_ip))
        self.neighbours.generation += 1

    def register(self, number, protocol):
        """Sends packets of a protocol number to `protocol`, a net.transport.Transport."""
        self._protocols[number] = protocol

    def protocol(self, number):
        """Who is registered for a protocol number, or None."""
        return self._protocols.get(number)

    def _neighbour_lost(self, hop, now_ms):
        for protocol in self._protocols.values():
            protocol.neighbour_lost(self, hop, now_ms)

    def is_ours(self, ip):
        """True for our address."""
        return ip == self.ip and ip != 0

    def is_host(self, ip):
        """True for what may be one other host."""
        return wire.is_unicast(ip) and not self.is_broadcast(ip) and ip != self.ip

    def source_for(self, dst_ip):
        """Our address for a packet to `dst_ip`; None, counted, when there is no route, or no address."""
        if not self.ip or (self.next_hop(dst_ip) is None and not self.is_group(dst_ip)):
            self.counters["OutNoRoutes"] += 1
            return None
        return self.ip

    def path_mtu(self, _dst_ip):
        """Octets of an IP packet that the way to a host takes."""
        return self.mtu

    def key(self, src_ip, dst_ip, src_port, dst_port):
        """What a transport's table has a flow under: addresses and ports as they stand in a received header."""
        return pack(">IIHH", src_ip, dst_ip, src_port, dst_port)

    def low_word(self, ip):
        """The last 32 bits of an address, as a number."""
        return ip

    def next_hop(self, dst_ip):
        """The neighbour that a packet to `dst_ip` goes to; None when there is no route."""
        for network, netmask, gateway_ip in self._routes:
            if dst_ip & netmask == network:
                return dst_ip if gateway_ip is None else gateway_ip
        return None

    def is_group(self, ip):
        """True for what is more than one host's: broadcast and multicast addresses."""
        return wire.is_multicast(ip) or self.is_broadcast(ip)

    def is_broadcast(self, ip):
        """True for the limited and our directed broadcast address."""
        return ip == wire.LIMITED_BROADCAST or ip == self.directed_broadcast

    def input(self, frame, now_ms, _src_mac, is_group):
        """A received frame of ethertype IPv4."""
        counters = self.counters
        counters["InReceives"] += 1
        total = frame.total() - HEADER_START
        header = wire.parse(frame.buf, frame.start + HEADER_START, total)
        if header is None or HEADER_START + header[0] > frame.length:
            counters["InHdrErrors"] += 1
            return
        header_len, total_len, _ident, fragment, ttl, protocol, src_ip, dst_ip = header
        if frame.checksum(HEADER_START, header_len, 0) != 0xFFFF:
            counters["InHdrErrors"] += 1
            counters["InCsumErrors"] += 1
            return
        is_broadcast = dst_ip != self.ip or not dst_ip
        if is_broadcast and not self._is_for_us(dst_ip, is_group):
            counters["InAddrErrors"] += 1
            return
        if not wire.is_unicast(src_ip) or self.is_ours(src_ip) or self.is_broadcast(src_ip):
            counters["InMartians"] += 1
            return
        if fragment & (wire.MORE_FRAGMENTS | wire.OFFSET_MASK):
            counters["ReasmReqds"] += 1
            counters["ReasmFails"] += 1
            return
        packet = Packet(
            self, src_ip, dst_ip, protocol, ttl, header_len, total_len - header_len, is_broadcast or is_group
        )
        handler = self._protocols.get(protocol)
        if handler is None:
            counters["InUnknownProtos"] += 1
            if self.icmp is not None:
                self.icmp.protocol_unreachable(frame, packet, now_ms)
            return
        counters["InDelivers"] += 1
        handler.input(frame, packet, now_ms)

    def _is_for_us(self, dst_ip, is_group):
        """A packet not to our address: broadcasts are ours when they came as an Ethernet group frame too."""
        return is_group and (self.is_broadcast(dst_ip) or dst_ip == 0xE0000001)

    def alloc(self, length):
        """A frame for a packet of `length` octets of payload, or None when there is no buffer.

        The payload starts at offset 34 of the frame.
        """
        return self.ethernet.alloc(HEADER_START + wire.HEADER_BYTES + length)

    def send(self, frame, src_ip, dst_ip, protocol, now_ms):
        """Writes the header and sends the frame to its next hop. Takes the frame over. False when there is no route."""
        total_len = frame.length - HEADER_START
        ident = 0
        fragment = wire.DONT_FRAGMENT
        if total_len > self.mtu and not frame.gso_size:
            self.counters["OutDiscards"] += 1
            frame.release()
            return False
        if dst_ip == wire.LIMITED_BROADCAST or dst_ip == self.directed_broadcast:
            dst_mac = wire_ethernet.BROADCAST
        elif wire.is_multicast(dst_ip):
            dst_mac = b"\x01\x00\x5e" + bytes([dst_ip >> 16 & 0x7F, dst_ip >> 8 & 0xFF, dst_ip & 0xFF])
        else:
            dst_mac = None
            hop = self.next_hop(dst_ip)
            if hop is None:
                self.counters["OutNoRoutes"] += 1
                frame.release()
                return False
        self.counters["OutRequests"] += 1
        wire.emit(frame.buf, frame.start + HEADER_START, total_len, ident, fragment, TTL, protocol, src_ip, dst_ip)
        if dst_mac is not None:
            self.ethernet.send(frame, dst_mac, wire_ethernet.ETHERTYPE_IPV4)
        else:
            self.neighbours.send(frame, hop, wire_ethernet.ETHERTYPE_IPV4, now_ms)
        return True

    def pseudo_sum(self, src_ip, dst_ip, protocol, length):
        """The sum over the pseudo-header (RFC 9293 section 3.1)."""
        return wire_checksum.pseudo_sum(src_ip, dst_ip, protocol, length)
