# SPDX-License-Identifier: MIT
"""IPv6 (RFC 8200): packets in and out, extension headers, fragments, routes. No I/O, no clock.

The same face as net.ipv4 for what is above (docs/architecture.md). Addresses are in net.addresses, neighbours in
net.ndp, what routers advertise in net.routers, groups in net.mld; Ipv6 puts them together.
"""

from struct import pack, unpack_from

from libos.net.errors import AddressError
from libos.net.ip.addresses import Addresses
from libos.net.ip.fragmenter import Fragmenter, Outgoing
from libos.net.ip.ip import IpLayer
from libos.net.ip.mld import Mld
from libos.net.ip.pmtu import PathMtus
from libos.net.ip.reassembly import Reassembly
from libos.net.ip.routers import RETRIES, Routers, interface_id
from libos.net.timers import FAR_MS
from libos.wire import ethernet as wire_ethernet
from libos.wire import icmp6 as wire_icmp6
from libos.wire import ipv6 as wire

HOP_LIMIT = 64
HEADER_START = 14  # octets of Ethernet header before ours
MAX_ROUTES = 64
# RFC 8504 section 5.3 lets a host say how much it looks at before the payload. No sender needs more.
MAX_EXTENSIONS = 8
MAX_EXTENSION_BYTES = 512
REASSEMBLY_MS = 60000  # RFC 8200 section 4.5
PAYLOAD_MAX = 65535

_PAYLOAD = HEADER_START + wire.HEADER_BYTES
_HOP_BY_HOP = wire.HOP_BY_HOP
_EXTENSIONS = (wire.HOP_BY_HOP, wire.ROUTING, wire.FRAGMENT, wire.DESTINATION_OPTIONS)


class Packet:
    """What a protocol gets to know of a received packet.

    ip: the layer that it came by. start: offset of the payload in the frame; length: octets of payload. header_len: of
    all headers before it. is_broadcast: addressed to more than us, by IP or Ethernet. next_header_at: where in the
    packet the payload's protocol stands. hop_by_hop: the octets of that header, or None.
    """

    def __init__(self, ip, src_ip, dst_ip, protocol, ttl, length, is_broadcast):
        self.ip = ip
        self.src_ip = src_ip
        self.dst_ip = dst_ip
        self.protocol = protocol
        self.ttl = ttl
        self.header_len = wire.HEADER_BYTES
        self.start = _PAYLOAD
        self.length = length
        self.is_broadcast = is_broadcast
        self.next_header_at = 6
        self.hop_by_hop = None
        self.extensions = 0
        self.is_reassembled = False


class Ipv6(IpLayer):
    """IPv6 on an Ethernet interface: a link-local address, and further ones.

    random: bytes(n) and u32() from the machine's entropy. address: "2001:db8::2/64" or None; gateway: "fe80::1" or
    None. accept_router_advertisements: addresses, routes and name servers may come from routers. stable_secret: text,
    with which the addresses made here are the same at each boot (RFC 7217); None: others each time. dad_transmits: RFC
    4862, how often is asked whether an address is somebody's; 0: never, it is used at once. ipv4_only: no IPv6 at all.
    Raises AddressError when an address is not one, or no host's, or the gateway is no neighbour.
    """

    version = 6
    ethertype = wire_ethernet.ETHERTYPE_IPV6
    header_bytes = wire.HEADER_BYTES
    start = _PAYLOAD
    parse_address = staticmethod(wire.parse_address)
    format_address = staticmethod(wire.format_address)
    pseudo_sum = staticmethod(wire.pseudo_sum)

    def __init__(
        self,
        ethernet,
        ndp,
        random,
        address=None,
        gateway=None,
        accept_router_advertisements=True,
        stable_secret=None,
        dad_transmits=1,
        ipv4_only=False,
    ):
        counters = {
            "InReceives": 0,  # RFC 4293 and Linux from here, but for the prefix
            "InHdrErrors": 0,
            "InTruncatedPkts": 0,
            "InAddrErrors": 0,
            "InUnknownProtos": 0,
            "InDiscards": 0,
            "InDelivers": 0,
            "InMcastPkts": 0,
            "InMartians": 0,
            "OutRequests": 0,
            "OutMcastPkts": 0,
            "OutNoRoutes": 0,
            "DuplicateAddresses": 0,
            "RouterIgnored": 0,
        }
        super().__init__(ethernet, ndp, random, counters)
        self.hop_limit = HOP_LIMIT
        self.on_duplicate = None  # called with the text of an address that is somebody else's
        self.on_address = None  # called with (text, is_ours) when an address has become ours, or is ours no more
        self.is_enabled = not ipv4_only
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._routes = []  # (prefix, length, gateway or None for on the link), longest first
        self._gateway = None
        secret = random.bytes(16) if stable_secret is None else stable_secret.encode()
        self.path_mtus = PathMtus(ethernet.timers, self.mtu, wire.MIN_MTU)
        self.reassembly = Reassembly(ethernet.timers, self.counters, _PAYLOAD, _PAYLOAD + PAYLOAD_MAX, REASSEMBLY_MS)
        self.reassembly.on_timeout = self._reassembly_timeout
        self.fragmenter = Fragmenter(ethernet.timers, self.counters, self._send_fragment)
        ndp.ipv6 = self
        self.mld = Mld(self, random)
        self.addresses = Addresses(self, random, dad_transmits)
        self.addresses.on_usable = self._address_usable
        self.addresses.on_duplicate = self._address_duplicate
        self.addresses.on_lost = self._address_lost
        self.routers = Routers(self, random, secret, accept_router_advertisements)
        ethernet.parts["ipv6"] = self
        if self.is_enabled:
            ethernet.register(wire_ethernet.ETHERTYPE_IPV6, self)
            ethernet.join(wire.multicast_mac(wire.ALL_NODES))
            ethernet.timers.schedule(self, 0)
            ethernet.timers.restorers.append(self._restore)
        self._is_started = not self.is_enabled
        self._add_link_local(0, 0)
        try:
            if address is not None:
                self.add_address(address, 0)
            if gateway is not None:
                self.set_gateway(gateway)
        except ValueError as error:
            raise AddressError("--ipv6: %s" % error)

    def _restore(self, now_ms):
        if not self._is_started:
            self.ethernet.timers.schedule(self, now_ms)

    def on_timer(self, now_ms):
        """The first moment with a time."""
        if not self._is_started:
            self._is_started = True
            self.addresses.start(now_ms)
            if self.addresses.link_local() is not None:
                self.routers.start(now_ms)

    # --- addresses and routes ---

    def _add_link_local(self, retries, now_ms):
        if self.is_enabled:
            prefix = wire.LINK_LOCAL_PREFIX
            ip = prefix + interface_id(prefix, self.ethernet.mac, retries, self.routers.secret)
            self.addresses.add(ip, 64, now_ms, retries=retries)

    def add_address(self, address, now_ms):
        """One more address, with its prefix on the link: "2001:db8::2/64". ValueError when it is none of a host."""
        ip, prefix_len = wire.parse_cidr(address)
        if not wire.is_unicast(ip):
            raise ValueError("not the address of a host: " + address)
        prefix = wire.network(ip, prefix_len)
        if prefix_len < 127 and ip == prefix:
            raise ValueError("not the address of a host, but of all routers of its network: " + address)
        if not self.is_enabled:
            return
        if self.addresses.get(ip) is not None:
            raise ValueError("the address is there already: " + address)
        if self.addresses.add(ip, prefix_len, now_ms) is None:
            raise ValueError("too many IPv6 addresses: " + address)
        self._insert_route(prefix, prefix_len, None)

    def set_gateway(self, gateway):
        """All that is not on the link goes there, whatever routers advertise. ValueError when it is no neighbour."""
        ip = wire.parse_address(gateway)
        self._check_gateway(ip)
        self._gateway = ip
        self.neighbours.generation += 1

    def add_route(self, network, gateway):
        """Sends what goes to `network` ("2001:db8:1::/48") through a neighbour. The longest prefix wins."""
        ip, prefix_len = wire.parse_cidr(network)
        gateway_ip = wire.parse_address(gateway)
        self._check_gateway(gateway_ip)
        self._insert_route(wire.network(ip, prefix_len), prefix_len, gateway_ip)

    def _check_gateway(self, ip):
        if self.is_enabled and not (wire.is_unicast(ip) and self.is_on_link(ip) and self.addresses.get(ip) is None):
            raise ValueError("the gateway %s is not a neighbour" % wire.format_address(ip))

    def _insert_route(self, prefix, prefix_len, gateway_ip):
        if len(self._routes) >= MAX_ROUTES:
            raise ValueError("more than %d routes" % MAX_ROUTES)
        at = 0
        while at < len(self._routes) and self._routes[at][1] > prefix_len:
            at += 1
        self._routes.insert(at, (prefix, prefix_len, gateway_ip))
        self.neighbours.generation += 1

    def has_address(self):
        """True when there is an address of ours that reaches further than the link."""
        return any([address.scope != wire.SCOPE_LINK for address in self.addresses.all() if self.is_ours(address.ip)])

    def _address_usable(self, address, now_ms):
        if address.scope == wire.SCOPE_LINK and self._is_started:
            self.routers.start(now_ms)
        if self.on_address is not None:
            self.on_address(wire.format_address(address.ip), True)

    def _address_duplicate(self, address, now_ms):
        if address.is_autoconf:
            self.routers.again(address, now_ms)
        elif address.scope == wire.SCOPE_LINK and address.prefix_len == 64 and address.retries < RETRIES:
            self.addresses.remove(address, now_ms)
            self._add_link_local(address.retries + 1, now_ms)
        if self.on_duplicate is not None:
            self.on_duplicate(wire.format_address(address.ip))

    def _address_lost(self, address):
        self._lose_address(address.ip)
        if self.on_address is not None:
            self.on_address(wire.format_address(address.ip), False)

    def is_ours(self, ip):
        """True for one of our addresses that may be used."""
        return self.addresses.is_usable(ip)

    def is_group(self, ip):
        """True for what is more than one host's."""
        return ip[0] == 0xFF

    def is_host(self, ip):
        """True for what may be one host; that may be ourselves."""
        return wire.is_unicast(ip) or ip == wire.LOOPBACK

    def is_self(self, ip):
        """True for what never leaves this host."""
        return self.addresses.is_usable(ip) or ip == wire.LOOPBACK

    def is_on_link(self, ip):
        """True when an address is a neighbour's."""
        if wire.is_link_local(ip):
            return True
        for prefix, prefix_len, gateway_ip in self._routes:
            if wire.network(ip, prefix_len) == prefix:
                return gateway_ip is None
        return self.routers.is_on_link(ip)

    def next_hop(self, dst_ip):
        """The neighbour that a packet to `dst_ip` goes to; None without a route. To a group or ourselves: these."""
        if dst_ip[0] == 0xFF or wire.is_link_local(dst_ip) or self.is_self(dst_ip):
            return dst_ip
        for prefix, prefix_len, gateway_ip in self._routes:
            if wire.network(dst_ip, prefix_len) == prefix:
                return gateway_ip or dst_ip
        if self.routers.is_on_link(dst_ip):
            return dst_ip
        return self._gateway or self.routers.default()

    def source_for(self, dst_ip):
        """Our address for a packet to `dst_ip` (RFC 6724); None, counted, when there is no route or no address."""
        if dst_ip == wire.LOOPBACK:
            return dst_ip
        hop = self.next_hop(dst_ip)
        src_ip = None if hop is None else self.addresses.select(dst_ip)
        # A router does not forward what is from a link-local address (RFC 4291 section 2.5.6).
        if src_ip is None or (hop != dst_ip and wire.is_link_local(src_ip)):
            self.counters["OutNoRoutes"] += 1
            return None
        return src_ip

    def path_mtu(self, dst_ip):
        """Octets of an IP packet that the way to a host takes."""
        return min(self.path_mtus.lookup(dst_ip), self.mtu)

    def lower_path_mtu(self, dst_ip, mtu, now_ms, is_guess=False):
        """A router says that the way takes no more (RFC 8201), and the packet that it quotes was ours: remembers it.

        Nothing below 1280 is believed, and after ten minutes it is tried with the link's MTU again.
        """
        if wire.MIN_MTU <= mtu < self.mtu:
            self.path_mtus.lower(dst_ip, mtu, now_ms, is_guess)

    def raise_path_mtu(self, dst_ip, mtu, is_guess):
        """TCP saw packets of `mtu` octets get through (RFC 4821); is_guess: larger ones may."""
        self.path_mtus.widen(dst_ip, mtu, is_guess)

    def is_path_guessed(self, dst_ip):
        """Whether path_mtu is less than the link's because of a guess of TCP's."""
        return self.path_mtus.is_guess(dst_ip)

    def key(self, src_ip, dst_ip, src_port, dst_port):
        """What a transport's table has a flow under: addresses and ports as they stand in a received header."""
        return pack(">16s16sHH", src_ip, dst_ip, src_port, dst_port)

    def low_word(self, ip):
        """The last 32 bits of an address, as a number."""
        return unpack_from(">I", ip, 12)[0]

    def join(self, group):
        """Receives packets to a multicast group. Each join needs its leave. ValueError when that cannot be."""
        if not self.is_enabled:
            raise ValueError("no IPv6: it is switched off")
        self.mld.join(group)

    def leave(self, group):
        """The opposite of join. KeyError when nobody joined."""
        self.mld.leave(group)

    # --- packets in ---

    def input(self, frame, now_ms, src_mac, is_group):
        """A received frame of ethertype IPv6. src_mac: None for what we sent to ourselves."""
        counters = self.counters
        counters["InReceives"] += 1
        total = frame.total() - HEADER_START
        header = wire.parse(frame.buf, frame.start + HEADER_START, total) if frame.length >= _PAYLOAD else None
        if header is None:
            is_short = total >= wire.HEADER_BYTES and frame.buf[frame.start + HEADER_START] >> 4 == 6
            counters["InTruncatedPkts" if is_short else "InHdrErrors"] += 1
            return
        payload_len, next_header, hop_limit, src_ip, dst_ip = header
        is_multicast = dst_ip[0] == 0xFF
        if is_multicast:
            counters["InMcastPkts"] += 1
        if not self._is_for_us(dst_ip, is_multicast, src_mac):
            counters["InAddrErrors"] += 1
            return
        if src_mac is not None and not self._may_be_source(src_ip):
            counters["InMartians"] += 1
            return
        packet = Packet(self, src_ip, dst_ip, next_header, hop_limit, payload_len, is_multicast or is_group)
        self._deliver(frame, packet, now_ms)

    def _is_for_us(self, dst_ip, is_multicast, src_mac):
        if is_multicast:
            return wire.scope(dst_ip) > wire.SCOPE_INTERFACE and self.mld.is_member(dst_ip)
        return self.addresses.is_usable(dst_ip) or (src_mac is None and dst_ip == wire.LOOPBACK)

    def _may_be_source(self, src_ip):
        # "::" asks for addresses and groups, and does nothing else: see _deliver.
        return (wire.is_unicast(src_ip) and not self.addresses.is_usable(src_ip)) or src_ip == wire.UNSPECIFIED

    def _deliver(self, frame, packet, now_ms):
        """Goes through the extension headers, and gives the payload to its protocol."""
        while packet.protocol in _EXTENSIONS:
            is_fragment = packet.protocol == wire.FRAGMENT
            if not self._extension(frame, packet, now_ms):
                return
            if is_fragment:
                whole = self._fragment(frame, packet, now_ms)
                if whole is None:
                    return
                frame = whole
        if packet.protocol == wire.NO_NEXT_HEADER:
            self.counters["InDiscards"] += 1
            return
        if packet.src_ip == wire.UNSPECIFIED and packet.protocol != wire.PROTOCOL_ICMP6:
            self.counters["InMartians"] += 1
            return
        handler = self._protocols.get(packet.protocol)
        if handler is None:
            self.counters["InUnknownProtos"] += 1
            self._parameter_problem(wire_icmp6.UNKNOWN_NEXT_HEADER, packet.next_header_at, frame, packet, now_ms)
            return
        self.counters["InDelivers"] += 1
        handler.input(frame, packet, now_ms)

    def _extension(self, frame, packet, now_ms):
        """Checks one extension header and, but for a fragment header, passes over it. False: the packet is dropped."""
        packet.extensions += 1
        size = 0
        if packet.length >= 8:
            size = 8
            if packet.protocol != wire.FRAGMENT:
                size += 8 * frame.take(packet.start + 1, 1)[0]
        total = packet.header_len + size - wire.HEADER_BYTES
        if not size or size > packet.length or total > MAX_EXTENSION_BYTES or packet.extensions > MAX_EXTENSIONS:
            self.counters["InHdrErrors"] += 1
            return False
        header = frame.take(packet.start, size)
        kind = packet.protocol
        if kind == wire.HOP_BY_HOP and packet.next_header_at != 6:
            self.counters["InHdrErrors"] += 1
            self._parameter_problem(wire_icmp6.UNKNOWN_NEXT_HEADER, packet.next_header_at, frame, packet, now_ms)
            return False
        if kind == wire.ROUTING:
            # Of no type that we know (type 0 is gone: RFC 5095), so it may only be one that is used up.
            if header[3]:
                self.counters["InHdrErrors"] += 1
                self._parameter_problem(wire_icmp6.ERRONEOUS_FIELD, packet.header_len + 2, frame, packet, now_ms)
                return False
        elif kind != wire.FRAGMENT and not self._options(header, frame, packet, now_ms):
            return False
        if kind == wire.HOP_BY_HOP:
            packet.hop_by_hop = header
        if kind != wire.FRAGMENT:
            self._advance(packet, header[0], size)
        return True

    def _advance(self, packet, next_header, size):
        packet.next_header_at = packet.header_len
        packet.protocol = next_header
        packet.header_len += size
        packet.start += size
        packet.length -= size

    def _options(self, header, frame, packet, now_ms):
        checked = wire.check_options(header)
        if checked is not None and checked[0] == wire.ACTION_SKIP:
            return True
        self.counters["InHdrErrors"] += 1
        if checked is not None:
            action, at = checked
            is_group = packet.dst_ip[0] == 0xFF
            if action == wire.ACTION_REPORT or (action == wire.ACTION_REPORT_UNICAST and not is_group):
                self._parameter_problem(wire_icmp6.UNKNOWN_OPTION, packet.header_len + at, frame, packet, now_ms)
        return False

    def _parameter_problem(self, code, pointer, frame, packet, now_ms):
        if self.icmp is not None:
            self.icmp.parameter_problem(code, pointer, frame, packet, now_ms)

    def _fragment(self, frame, packet, now_ms):
        """A fragment header, whole. Returns a frame with the whole datagram, or None; packet becomes the datagram's."""
        next_header, offset, has_more, _ident = wire.parse_fragment(frame.take(packet.start, 8), 0, 8)
        ident = frame.take(packet.start + 4, 4)
        if packet.is_reassembled:
            self.counters["InHdrErrors"] += 1  # fragments of fragments
            return None
        if not offset and not has_more:
            self._advance(packet, next_header, 8)  # RFC 6946: whole by itself, whatever else there is with its number
            return frame
        length = packet.length - 8
        if has_more and length & 7:
            self._refuse_fragment(4, frame, packet, now_ms)
            return None
        if packet.header_len - wire.HEADER_BYTES + offset + length > PAYLOAD_MAX:
            self._refuse_fragment(packet.header_len + 2, frame, packet, now_ms)
            return None
        head = None
        if not offset:
            end = packet.start + 8 + length
            upper = self.upper_layer(frame, next_header, packet.start + 8, end)
            if upper is None or (end - upper[1] < 8 and upper[0] != wire.NO_NEXT_HEADER):
                # RFC 7112: what is meant to hide its headers in the second fragment is not for us.
                self.counters["InHdrErrors"] += 1
                self._parameter_problem(wire_icmp6.INCOMPLETE_HEADERS, 0, frame, packet, now_ms)
                return None
            # The headers of the first fragment are those of the datagram, but for the fragment header.
            octets = bytearray(frame.take(0, packet.start))
            octets[HEADER_START + packet.next_header_at] = next_header
            head = bytes(octets)
        key = packet.src_ip + packet.dst_ip + ident
        whole = self.reassembly.input(key, head, offset, has_more, frame, packet.start + 8, length, now_ms)
        if whole is None:
            return None
        return self._begin_again(whole, packet)

    def _begin_again(self, whole, packet):
        """The packet becomes that of a reassembled datagram; its extension headers are gone through from the start."""
        packet.length = whole.total() - _PAYLOAD
        # For who quotes it: the first fragment had its own length.
        whole.buf = whole.buf[: HEADER_START + 4] + pack(">H", packet.length) + whole.buf[HEADER_START + 6 :]
        packet.protocol = whole.buf[HEADER_START + 6]
        packet.header_len = wire.HEADER_BYTES
        packet.start = _PAYLOAD
        packet.next_header_at = 6
        packet.extensions = 0
        packet.is_reassembled = True
        return whole

    def _refuse_fragment(self, pointer, frame, packet, now_ms):
        self.counters["ReasmReqds"] += 1
        self.counters["ReasmFails"] += 1
        self._parameter_problem(wire_icmp6.ERRONEOUS_FIELD, pointer, frame, packet, now_ms)

    def upper_layer(self, frame, next_header, at, end):
        """(protocol, offset) of what is behind the extension headers at `at`; None when they do not end by `end`."""
        for _ in range(MAX_EXTENSIONS):
            if next_header not in _EXTENSIONS:
                return (next_header, at)
            if end - at < 8:
                return None
            header = frame.take(at, 2)
            at += 8 if next_header == wire.FRAGMENT else 8 + 8 * header[1]
            next_header = header[0]
        return None

    def _reassembly_timeout(self, frame, now_ms):
        """The rest of a datagram did not come: its sender is told."""
        header = unpack_from(">4xHBB16s16s", frame.buf, HEADER_START)
        packet = Packet(self, header[3], header[4], header[1], header[2], frame.total() - _PAYLOAD, False)
        packet.is_broadcast = packet.dst_ip[0] == 0xFF
        if self.icmp is not None:
            self.icmp.time_exceeded(wire_icmp6.REASSEMBLY_TIME, frame, packet, now_ms)

    # --- packets out ---

    def alloc(self, length):
        """A frame for a packet of `length` octets of payload, or None when there is no buffer.

        The payload starts at offset 54 of the frame.
        """
        return self.ethernet.alloc(_PAYLOAD + length)

    def send(self, frame, src_ip, dst_ip, protocol, now_ms, hop_limit=0):
        """Writes the header and sends the frame to its next hop. Takes the frame over.

        src_ip: None for the one that suits. hop_limit: 0 for the usual one. False when there is no route, or the packet
        could not be sent for another reason.
        """
        counters = self.counters
        hop = self.next_hop(dst_ip)
        if src_ip is None:
            src_ip = self.source_for(dst_ip)
        if hop is None or src_ip is None:
            counters["OutNoRoutes"] += src_ip is not None
            frame.release()
            return False
        payload_len = frame.length - _PAYLOAD
        if not frame.gso_size and payload_len + wire.HEADER_BYTES > self.path_mtu(dst_ip):
            data = frame.take(_PAYLOAD, payload_len)
            frame.release()
            return self.send_large(b"", data, src_ip, dst_ip, protocol, now_ms)
        counters["OutRequests"] += 1
        self._transmit(frame, payload_len, protocol, hop_limit, src_ip, dst_ip, hop, now_ms)
        return True

    def _transmit(self, frame, payload_len, next_header, hop_limit, src_ip, dst_ip, hop, now_ms):
        wire.emit(
            frame.buf, frame.start + HEADER_START, payload_len, next_header, hop_limit or self.hop_limit, src_ip, dst_ip
        )  # fmt: skip
        if dst_ip[0] == 0xFF:
            self.counters["OutMcastPkts"] += 1
            self.ethernet.send(frame, wire.multicast_mac(dst_ip), wire_ethernet.ETHERTYPE_IPV6)
        else:
            self.neighbours.send(frame, hop, wire_ethernet.ETHERTYPE_IPV6, now_ms)

    def send_large(self, header, data, src_ip, dst_ip, protocol, now_ms):
        """Sends a payload that is larger than the path's MTU, header before data, in fragments (RFC 8200 section 4.5).

        False when it is too large for a packet, there is no route, or too much waits already.
        """
        length = len(header) + len(data)
        if self.next_hop(dst_ip) is None:
            self.counters["OutNoRoutes"] += 1
            return False
        if length > PAYLOAD_MAX:
            self.counters["FragFails"] += 1
            return False
        datagram = Outgoing(header, data, src_ip, dst_ip, protocol, self._idents.next(dst_ip))
        if not self.fragmenter.send(datagram, now_ms):
            return False
        self.counters["OutRequests"] += 1
        return True

    def _send_fragment(self, datagram, now_ms):
        """The next piece of a large payload. False when there is no buffer, or its neighbour's MAC is not known yet."""
        dst_ip = datagram.dst_ip
        hop = self.next_hop(dst_ip)
        if hop is None:
            return False
        if datagram.at and dst_ip[0] != 0xFF and not self.is_self(dst_ip):
            # The first piece made Ndp ask; the others would only fill the place for what waits there.
            if self.neighbours.lookup(hop, now_ms) is None:
                return False
        left = datagram.length - datagram.at
        size = min(self.path_mtu(dst_ip) - wire.HEADER_BYTES - wire.FRAGMENT_BYTES & ~7, left)
        frame = self.alloc(wire.FRAGMENT_BYTES + size)
        if frame is None:
            return False
        at = frame.start + _PAYLOAD
        wire.emit_fragment(frame.buf, at, datagram.protocol, datagram.at, size < left, datagram.ident)
        datagram.put(frame, _PAYLOAD + wire.FRAGMENT_BYTES, size)
        datagram.at += size
        self._transmit(frame, wire.FRAGMENT_BYTES + size, wire.FRAGMENT, 0, datagram.src_ip, dst_ip, hop, now_ms)
        return True
