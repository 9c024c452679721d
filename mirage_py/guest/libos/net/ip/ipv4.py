# SPDX-License-Identifier: MIT
"""IPv4 (RFC 791; RFC 1122 section 3; RFC 1812 for what a source must not be). No I/O, no clock.

Received packets go to the protocol of their number as (frame, packet, now_ms); packets to send get their header and
their next hop here. What an IP layer offers: docs/architecture.md.
"""

from struct import pack, unpack_from

from libos.net.errors import AddressError
from libos.net.ip.awaited import Awaited
from libos.net.ip.fragmenter import Fragmenter, Outgoing
from libos.net.ip.igmp import Igmp
from libos.net.ip.ip import IpLayer
from libos.net.ip.pmtu import PathMtus
from libos.net.ip.reassembly import Reassembly
from libos.wire import checksum as wire_checksum
from libos.wire import ethernet as wire_ethernet
from libos.wire import ipv4 as wire

TTL = 64
MULTICAST_TTL = 1  # RFC 1112 section 6.1: not beyond this network unless somebody wants that
HEADER_START = 14  # octets of Ethernet header before ours
MAX_ROUTES = 64
MAX_ADDRESSES = 16
MAX_PACKET_BYTES = 65535
REASSEMBLY_MS = 30000
# Below it no router makes us send (every host can take so much in one piece, RFC 791): only a forger would want that.
# A link with a smaller MTU still, down to the 68 of RFC 791, has what is sent with "don't fragment" dropped on it.
MIN_PATH_MTU = 576


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


class Ipv4(IpLayer):
    """IPv4 on an Ethernet interface.

    random: below(n), u32(). address: "10.0.0.2/24", or None for none yet; gateway: "10.0.0.1" or None. AddressError
    when one is not such a text, is no host's address, or the gateway is not on the network. ipv6_only: no address,
    whatever `address` says.

    ip: the (first) address as a number, 0 for none. accept_directed_broadcast: whether 10.0.0.255 is delivered; off,
    because what comes through a router so is an attack more often than not (RFC 2644). multicast_ttl: of what we send
    to groups.
    """

    version = 4
    ethertype = wire_ethernet.ETHERTYPE_IPV4
    header_bytes = wire.HEADER_BYTES
    start = HEADER_START + wire.HEADER_BYTES
    parse_address = staticmethod(wire.parse_address)
    format_address = staticmethod(wire.format_address)

    def __init__(self, ethernet, arp, random, address=None, gateway=None, ipv6_only=False):
        counters = {
            "InReceives": 0,  # RFC 4293 from here, but for the prefix
            "InHdrErrors": 0,
            "InAddrErrors": 0,
            "InUnknownProtos": 0,
            "InCsumErrors": 0,  # Linux
            "InMartians": 0,
            "InSourceRouted": 0,
            "InDirectedBcasts": 0,
            "InDiscards": 0,
            "InDelivers": 0,
            "OutRequests": 0,
            "OutNoRoutes": 0,
            "OutDiscards": 0,
        }
        super().__init__(ethernet, arp, random, counters)
        self.accept_directed_broadcast = False
        self.multicast_ttl = MULTICAST_TTL
        self.ip = 0
        self._addresses = []  # (ip, netmask, directed broadcast address); the first is set_address's, or None
        self._ours = {}
        self._broadcasts = {wire.LIMITED_BROADCAST: True}
        self._routes = []  # (network, netmask, router, or None on this link), longest prefix first
        self._given = []  # those of set_address
        self._added = []  # those of add_route
        self._on_link = []  # (network, netmask) of neighbours that none of our addresses' networks has
        self._answer_ports = 0
        self._awaited = Awaited(self.counters)
        self._paths = PathMtus(ethernet.timers, self.mtu, min(MIN_PATH_MTU, self.mtu))
        self._fragmenter = Fragmenter(ethernet.timers, self.counters, self._send_fragment)
        self._reassembly = Reassembly(
            ethernet.timers, self.counters, self.start, HEADER_START + MAX_PACKET_BYTES, REASSEMBLY_MS
        )
        self._reassembly.on_timeout = self._reassembly_timeout
        self.igmp = Igmp(self, ethernet.timers, random)
        try:
            self.set_address(None if ipv6_only else address, None if ipv6_only else gateway)
        except ValueError as error:
            raise AddressError("--ipv4: %s" % error)
        ethernet.parts["ipv4"] = self
        ethernet.register(wire_ethernet.ETHERTYPE_IPV4, self)

    # --- our addresses and routes ---

    def set_address(self, address, gateway=None, routes=()):
        """Our (first) address from now on, None for none, and the router to everywhere. Other addresses stay.

        routes: more of them, as numbers: (network, netmask, router), router None for a network on this link. Those
        routers may be outside of our networks; so may the gateway of a /32, which has no network: they are neighbours.
        ValueError as for the constructor; then nothing has changed. Connections of the address that was ours end.
        """
        entry = None if address is None else _entry(address)
        rest = [other for other in self._addresses[1:] if entry is None or other[0] != entry[0]]
        addresses = [entry] + rest
        gateway_ip = None
        if gateway is not None:
            gateway_ip = wire.parse_address(gateway)
            is_off_link = entry is None or ((gateway_ip ^ entry[0]) & entry[1] and entry[1] != 0xFFFFFFFF)
            if is_off_link or gateway_ip == entry[0] or not wire.is_unicast(gateway_ip):
                raise ValueError("the gateway %s is not a neighbour of %s" % (gateway, address))
        self._given = list(routes)
        if gateway_ip is not None:
            self._given.append((0, 0, gateway_ip))
        self._added = [route for route in self._added if route[1]]
        self._change(addresses)

    def add_address(self, address):
        """One more address of ours, "10.0.0.3/24". ValueError when it is none, is ours, or there are too many."""
        entry = _entry(address)
        if entry[0] in self._ours:
            raise ValueError(address + " is our address already")
        if len(self._addresses) >= MAX_ADDRESSES:
            raise ValueError("more than %d addresses" % MAX_ADDRESSES)
        self._change(self._addresses + [entry])

    def remove_address(self, address):
        """The opposite of add_address; "10.0.0.3" is enough. ValueError when it was not added. Its connections end."""
        ip = wire.parse_address(address.split("/")[0])
        rest = [entry for entry in self._addresses[1:] if entry[0] != ip]
        if len(rest) == len(self._addresses) - 1:
            raise ValueError("%s was not added" % address)
        self._change(self._addresses[:1] + rest)

    def _change(self, addresses):
        """New addresses; of the routes that were added those stay that lead to a neighbour."""
        lost = [ip for ip in self._ours]
        self._addresses = addresses
        self._ours = {}
        self._broadcasts = {wire.LIMITED_BROADCAST: True}
        self._routes = []
        known = []
        for entry in addresses:
            if entry is not None:
                ip, netmask, broadcast = entry
                self._ours[ip] = netmask
                self._broadcasts[broadcast] = True
                self._insert_route(ip & netmask, netmask, None)
                known.append((ip, netmask))
        self.ip = known[0][0] if known else 0
        self._on_link = []
        for network, netmask, gateway_ip in self._given:
            if gateway_ip is None:
                self._on_link.append((network, netmask))
        for network, netmask, gateway_ip in self._given:
            if gateway_ip in self._ours:
                continue
            if gateway_ip is not None and not self._is_neighbour(gateway_ip):
                self._on_link.append((gateway_ip, 0xFFFFFFFF))
                self._insert_route(gateway_ip, 0xFFFFFFFF, None)
            self._insert_route(network, netmask, gateway_ip)
        self._added = [route for route in self._added if self._is_neighbour(route[2])]
        for network, netmask, gateway_ip in self._added:
            self._insert_route(network, netmask, gateway_ip)
        self.neighbours.set_addresses(known, self._on_link)
        for ip in lost:
            if ip not in self._ours:
                self._lose_address(ip)

    def _is_neighbour(self, ip):
        for networks in (self._ours.items(), self._on_link):
            for network, netmask in networks:
                if (ip ^ network) & netmask == 0:
                    return ip not in self._ours
        return False

    def _insert_route(self, network, netmask, gateway_ip):
        if len(self._routes) >= MAX_ROUTES:
            return
        at = 0
        while at < len(self._routes) and self._routes[at][1] >= netmask:
            at += 1
        self._routes.insert(at, (network, netmask, gateway_ip))

    def add_route(self, network, gateway):
        """Sends what goes to `network` ("192.168.0.0/16") through a neighbour. The longest prefix wins."""
        ip, prefix_len = wire.parse_cidr(network)
        netmask = wire.netmask(prefix_len)
        gateway_ip = wire.parse_address(gateway)
        if not self._is_neighbour(gateway_ip):
            raise ValueError("the gateway %s is not a neighbour" % gateway)
        if len(self._routes) >= MAX_ROUTES:
            raise ValueError("more than %d routes" % MAX_ROUTES)
        self._added.append((ip & netmask, netmask, gateway_ip))
        self._insert_route(ip & netmask, netmask, gateway_ip)
        self.neighbours.generation += 1

    def claim(self, address, gateway=None, on_result=None):
        """set_address, but only when nobody else uses the address, which takes 4 to 7 seconds (RFC 5227 section 2.1).

        on_result(ip, mac, now_ms): mac is None when it is ours now, else who has it. ValueError as for set_address.
        """
        ip = _entry(address)[0]

        def on_probed(_ip, mac, now_ms):
            if mac is None:
                self.set_address(address, gateway)
            if on_result is not None:
                on_result(ip, mac, now_ms)

        self.neighbours.probe(ip, on_probed)

    def expect_address(self, is_expected):
        """An address is being looked for: what comes to us meanwhile is kept for `receive_expected`. False: no more."""
        self._awaited.open(is_expected)

    def expect_datagrams(self, ports):
        """Until the next call, UDP datagrams between these ports are received, whatever host's address they are to.

        ports: source << 16 | destination; 0 for none. For a client that has no address yet: nothing else gets in.
        """
        self._answer_ports = ports

    def receive_expected(self, now_ms):
        """The address has been found: what came to it before is received now."""
        for frame, src_mac in self._awaited.take(now_ms):
            self.input(frame, now_ms, src_mac, False)

    def is_ours(self, ip):
        """True for our addresses."""
        return ip in self._ours

    def is_self(self, ip):
        """True for what leads back to us: our addresses, and those of every host itself (RFC 1122 section 3.2.1.3)."""
        return ip in self._ours or ip >> 24 == wire.LOOPBACK_NET

    def is_host(self, ip):
        """True for what may be one host; that may be ourselves."""
        return (wire.is_unicast(ip) or ip >> 24 == wire.LOOPBACK_NET) and ip not in self._broadcasts

    def source_for(self, dst_ip):
        """Our address for a packet to `dst_ip`; None, counted, when there is no route, or no address.

        That is the address on the network of the next hop (RFC 1122 section 3.3.4.3).
        """
        if dst_ip >> 24 == wire.LOOPBACK_NET:
            return wire.LOOPBACK
        if dst_ip in self._ours:
            return dst_ip
        hop = self.next_hop(dst_ip)
        if hop is not None:
            for entry in self._addresses:
                if entry is not None and (entry[0] ^ hop) & entry[1] == 0:
                    return entry[0]
        if self.ip and (hop is not None or self.is_group(dst_ip)):
            return self.ip
        self.counters["OutNoRoutes"] += 1
        return None

    def set_mtu(self, mtu):
        """The link's MTU from now on, as DHCP says; not above the device's."""
        self.mtu = self._paths.link_mtu = min(mtu, self.ethernet.mtu)

    def path_mtu(self, dst_ip):
        """Octets of an IP packet that the way to a host takes."""
        return min(self._paths.lookup(dst_ip), self.mtu)  # DHCP may have lowered the latter

    def lower_path_mtu(self, dst_ip, mtu, now_ms, is_guess=False):
        """A router says that the way takes no more (RFC 1191), and the packet that it quotes was ours: remembers it.

        The way becomes no narrower than MIN_PATH_MTU, and after ten minutes it is tried with the link's MTU again.
        """
        return self._paths.lower(dst_ip, mtu, now_ms, is_guess)

    def raise_path_mtu(self, dst_ip, mtu, is_guess):
        """TCP saw packets of `mtu` octets get through (RFC 4821); is_guess: larger ones may."""
        self._paths.widen(dst_ip, mtu, is_guess)

    def is_path_guessed(self, dst_ip):
        """Whether path_mtu is less than the link's because of a guess of TCP's."""
        return self._paths.is_guess(dst_ip)

    def key(self, src_ip, dst_ip, src_port, dst_port):
        """What a transport's table has a flow under: addresses and ports as they stand in a received header."""
        return pack(">IIHH", src_ip, dst_ip, src_port, dst_port)

    def low_word(self, ip):
        """The last 32 bits of an address, as a number."""
        return ip

    def next_hop(self, dst_ip):
        """The neighbour that a packet to `dst_ip` goes to; None when there is no route. To ourselves: we."""
        if self.is_self(dst_ip):
            return dst_ip
        for network, netmask, gateway_ip in self._routes:
            if dst_ip & netmask == network:
                return dst_ip if gateway_ip is None else gateway_ip
        return None

    def is_group(self, ip):
        """True for what is more than one host's: broadcast and multicast addresses."""
        return wire.is_multicast(ip) or self.is_broadcast(ip)

    def is_broadcast(self, ip):
        """True for the limited broadcast address, and those of our networks."""
        return ip in self._broadcasts

    def join(self, group_ip):
        """Receives what is sent to a multicast group; joined twice, it is left twice. ValueError for no group."""
        self.igmp.join(group_ip)

    def leave(self, group_ip):
        """Takes back one `join`. KeyError when there was none."""
        self.igmp.leave(group_ip)

    # --- receiving ---

    def input(self, frame, now_ms, src_mac, is_group):
        """A received frame of ethertype IPv4. src_mac: None for what we sent to ourselves."""
        counters = self.counters
        counters["InReceives"] += 1
        total = frame.total() - HEADER_START
        header = wire.parse(frame.buf, frame.start + HEADER_START, total)
        if header is None or HEADER_START + header[0] > frame.length:
            counters["InHdrErrors"] += 1
            return
        header_len, total_len, ident, fragment, ttl, protocol, src_ip, dst_ip = header
        if frame.checksum(HEADER_START, header_len, 0) != 0xFFFF:
            counters["InHdrErrors"] += 1
            counters["InCsumErrors"] += 1
            return
        is_broadcast = dst_ip not in self._ours
        if is_broadcast and not (
            self._answer_ports and src_mac is not None and self._is_answer(frame, header_len, fragment, protocol)
        ):
            if self._awaited.is_open and not is_group and src_mac is not None and wire.is_unicast(dst_ip):
                self._awaited.keep(frame, src_mac, now_ms)
                return
            if not self._is_for_us(dst_ip, src_mac, is_group):
                return
        if src_mac is not None and not self._may_be_source(src_ip, protocol):
            counters["InMartians"] += 1
            return
        if header_len > wire.HEADER_BYTES and not self._options_are_sane(frame, header_len):
            return
        start = HEADER_START + header_len
        length = total_len - header_len
        is_broadcast = is_group or (is_broadcast and src_mac is not None)
        if fragment & (wire.MORE_FRAGMENTS | wire.OFFSET_MASK):
            offset = (fragment & wire.OFFSET_MASK) << 3
            frame = self._reassembly.input(
                pack(">IIHBB", src_ip, dst_ip, ident, protocol, is_broadcast),
                None if offset else frame.take(0, start),
                offset, fragment & wire.MORE_FRAGMENTS != 0, frame, start, length, now_ms,
            )  # fmt: skip
            if frame is None:
                return
            header_len = frame.head_len - HEADER_START
            length = frame.total() - frame.head_len
        packet = Packet(self, src_ip, dst_ip, protocol, ttl, header_len, length, is_broadcast)
        handler = self._protocols.get(protocol)
        if handler is None:
            counters["InUnknownProtos"] += 1
            if self.icmp is not None:
                self.icmp.protocol_unreachable(frame, packet, now_ms)
            return
        counters["InDelivers"] += 1
        handler.input(frame, packet, now_ms)

    def _is_for_us(self, dst_ip, src_mac, is_group):
        """A packet not to an address of ours: groups are ours when they came in an Ethernet frame to a group too.

        The limited broadcast address goes no further than this link in any frame, and Kea answers a DHCP client so.
        """
        if src_mac is None or dst_ip == wire.LIMITED_BROADCAST:
            return True
        if is_group:
            if self.igmp.is_member(dst_ip):
                return True
            if dst_ip in self._broadcasts:
                if self.accept_directed_broadcast:
                    return True
                self.counters["InDirectedBcasts"] += 1
                return False
        self.counters["InAddrErrors"] += 1
        return False

    def _is_answer(self, frame, header_len, fragment, protocol):
        """Whether it is a datagram that expect_datagrams() waits for, in one piece."""
        start = HEADER_START + header_len
        return (
            protocol == wire.PROTOCOL_UDP
            and not fragment & (wire.MORE_FRAGMENTS | wire.OFFSET_MASK)
            and start + 4 <= frame.length
            and unpack_from(">I", frame.buf, frame.start + start)[0] == self._answer_ports
        )

    def _may_be_source(self, src_ip, protocol):
        """RFC 1812 section 5.3.7. A switch that asks for memberships may have no address (RFC 4541 section 2.1.1)."""
        if not src_ip:
            return protocol == wire.PROTOCOL_IGMP
        return wire.is_unicast(src_ip) and src_ip not in self._ours and src_ip not in self._broadcasts

    def _options_are_sane(self, frame, header_len):
        """Options are skipped; what they must not be is malformed, or a source route (RFC 6274 section 3.13.2)."""
        start = frame.start + self.start
        found = wire.check_options(frame.buf, start, header_len - wire.HEADER_BYTES)
        if found == wire.OPTIONS_MALFORMED:
            self.counters["InHdrErrors"] += 1
        elif found == wire.OPTIONS_SOURCE_ROUTE:
            self.counters["InSourceRouted"] += 1
        return found == wire.OPTIONS_SANE

    def _reassembly_timeout(self, whole, now_ms):
        """The rest of a datagram did not come: its sender is told, with the first fragment (RFC 792)."""
        if self.icmp is None:
            return
        header_len = whole.head_len - HEADER_START
        header = wire.parse(whole.buf, HEADER_START, MAX_PACKET_BYTES)
        _len, _total, _ident, _fragment, ttl, protocol, src_ip, dst_ip = header
        packet = Packet(
            self, src_ip, dst_ip, protocol, ttl, header_len, whole.total() - whole.head_len, dst_ip not in self._ours
        )
        self.icmp.reassembly_time_exceeded(whole, packet, now_ms)

    # --- sending ---

    def alloc(self, length):
        """A frame for a packet of `length` octets of payload, or None when there is no buffer.

        The payload starts at offset 34 of the frame.
        """
        return self.ethernet.alloc(HEADER_START + wire.HEADER_BYTES + length)

    def send(self, frame, src_ip, dst_ip, protocol, now_ms):
        """Writes the header and sends the frame to its next hop. Takes the frame over. False when there is no route.

        TCP's packets are not to be fragmented on the way (RFC 1191); others may: nobody would send them again smaller.
        """
        total_len = frame.length - HEADER_START
        if total_len > self.mtu and not frame.gso_size:
            self.counters["OutDiscards"] += 1
            frame.release()
            return False
        ident = 0
        fragment = wire.DONT_FRAGMENT
        if protocol != wire.PROTOCOL_TCP:
            ident = self._idents.next(dst_ip) & 0xFFFF
            fragment = 0
        if not self._transmit(frame, ident, fragment, src_ip, dst_ip, protocol, now_ms):
            return False
        self.counters["OutRequests"] += 1
        return True

    def send_large(self, header, data, src_ip, dst_ip, protocol, now_ms):
        """Sends what is larger than the way takes, in fragments. False when there is no route, or too much waits.

        header: the transport's, checksum included; data: a bytes object, kept until all has left.
        """
        if self.next_hop(dst_ip) is None and not self.is_group(dst_ip):
            self.counters["OutNoRoutes"] += 1
            return False
        datagram = Outgoing(header, data, src_ip, dst_ip, protocol, self._idents.next(dst_ip) & 0xFFFF)
        if not self._fragmenter.send(datagram, now_ms):
            return False
        self.counters["OutRequests"] += 1
        return True

    def _send_fragment(self, datagram, now_ms):
        """Sends the next piece of a net.fragmenter.Outgoing. False when it has to wait."""
        dst_ip = datagram.dst_ip
        at = datagram.at
        if at and not self.is_group(dst_ip):
            # The first piece made Arp ask; the others would only fill the place for what waits there.
            hop = self.next_hop(dst_ip)
            if not self.is_self(dst_ip) and (hop is None or self.neighbours.lookup(hop, now_ms) is None):
                return False
        fragment = at >> 3
        count = datagram.length - at
        room = (self.path_mtu(dst_ip) - wire.HEADER_BYTES) & ~7
        if count > room:
            count = room
            fragment |= wire.MORE_FRAGMENTS
        frame = self.alloc(count)
        if frame is None:
            return False
        datagram.put(frame, self.start, count)
        datagram.at = at + count
        return self._transmit(frame, datagram.ident, fragment, datagram.src_ip, dst_ip, datagram.protocol, now_ms)

    def _transmit(self, frame, ident, fragment, src_ip, dst_ip, protocol, now_ms):
        """Writes the header and hands the frame to the link, or releases it. False when there is no route."""
        ttl = TTL
        hop = self.next_hop(dst_ip)
        if self.is_group(dst_ip):
            if dst_ip not in self._broadcasts:
                ttl = self.multicast_ttl
        elif hop is None:
            self.counters["OutNoRoutes"] += 1
            frame.release()
            return False
        total_len = frame.length - HEADER_START
        try:
            dst_mac = self._group_mac(dst_ip)
            wire.emit(frame.buf, frame.start + HEADER_START, total_len, ident, fragment, ttl, protocol, src_ip, dst_ip)
        except MemoryError:
            frame.release()
            raise
        if dst_mac is not None:
            self.ethernet.send(frame, dst_mac, wire_ethernet.ETHERTYPE_IPV4)
        else:
            self.neighbours.send(frame, hop, wire_ethernet.ETHERTYPE_IPV4, now_ms)
        return True

    def _group_mac(self, ip):
        """The Ethernet address that goes with a group or broadcast address; None for a host's."""
        if ip in self._broadcasts:
            return wire_ethernet.BROADCAST
        return wire.multicast_mac(ip) if wire.is_multicast(ip) else None

    def pseudo_sum(self, src_ip, dst_ip, protocol, length):
        """The sum over the pseudo-header (RFC 9293 section 3.1)."""
        return wire_checksum.pseudo_sum(src_ip, dst_ip, protocol, length)


def _entry(address):
    """(address, netmask, directed broadcast address) of "10.0.0.2/24". ValueError when it is not a host's."""
    ip, prefix_len = wire.parse_cidr(address)
    netmask = wire.netmask(prefix_len)
    if not wire.is_unicast(ip):
        raise ValueError("not the address of a host: " + address)
    if prefix_len >= 31:
        return (ip, netmask, wire.LIMITED_BROADCAST)
    broadcast = ip | netmask ^ 0xFFFFFFFF
    if ip == broadcast or ip == ip & netmask:
        raise ValueError("not the address of a host: " + address)
    return (ip, netmask, broadcast)
