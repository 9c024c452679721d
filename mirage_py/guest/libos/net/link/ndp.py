# SPDX-License-Identifier: MIT
"""Neighbour Discovery (RFC 4861): the MACs of neighbours, and whether they can be reached. No I/O, no clock.

A mapping is made when we ask, or when a neighbour asks us. An entry that has a MAC changes only by an advertisement
with the override flag (section 7.2.5); a solicitation with another MAC has the old one asked, and only its silence
removes the entry. "Solicited" counts only while we are asking. The table itself is net.neighbours.
"""

from libos.net.link.neighbours import DELAY, DELAY_FIRST_PROBE_MS, FAILED, INCOMPLETE, PROBE, REACHABLE, Neighbours
from libos.wire import ethernet as wire_ethernet
from libos.wire import icmp6 as wire
from libos.wire import ipv6 as wire_ipv6

REACHABLE_MS = 30000  # at the average (RFC 4861 section 10)

HOP_LIMIT = 255  # proves that no router was on the way (section 6.1)
_START = 54  # of our header in a frame to send


class Ndp(Neighbours):
    """The neighbour table of one Ethernet interface. random: u32() from the machine's entropy.

    retrans_ms, reachable_ms: as routers wish. ipv6: set by Ipv6; addresses and routers are its parts.
    """

    def __init__(self, ethernet, random):
        counters = {
            "InSolicits": 0,
            "InAdverts": 0,
            "InRouterAdverts": 0,
            "InRedirects": 0,
            "InErrors": 0,
            "InUnsolicited": 0,
            "Conflicts": 0,
            "OutSolicits": 0,
            "OutAdverts": 0,
            "OutRouterSolicits": 0,
        }
        super().__init__(ethernet, random, counters)
        self.ipv6 = None
        self.reachable_ms = REACHABLE_MS
        ethernet.parts["ndp"] = self

    lookup = Neighbours.lookup  # MicroPython finds it here 65 ns sooner than in the base

    def _is_self(self, ip):
        return self.ipv6.is_self(ip)

    def _request(self, entry):
        src_ip = self.ipv6.source_for(entry.ip)
        if src_ip is None:
            return
        if entry.state == PROBE:
            self.solicit(src_ip, entry.ip, entry.ip, entry.mac)
        else:
            group = wire_ipv6.solicited_node(entry.ip)
            self.solicit(src_ip, group, entry.ip, wire_ipv6.multicast_mac(group))

    def solicit(self, src_ip, dst_ip, target_ip, dst_mac):
        """Sends a neighbour solicitation; from "::" (duplicate address detection) without our MAC in it."""
        mac = None if src_ip == wire_ipv6.UNSPECIFIED else self.ethernet.mac
        frame = self.alloc(wire.NEIGHBOUR_BYTES + (0 if mac is None else wire.MAC_OPTION_BYTES))
        if frame is None:
            return
        wire.emit_neighbour(
            frame.buf, frame.start + _START, wire.NEIGHBOUR_SOLICITATION, 0, target_ip, wire.SOURCE_MAC, mac
        )
        self.transmit(frame, src_ip, dst_ip, dst_mac)
        self.counters["OutSolicits"] += 1

    def solicit_routers(self, src_ip):
        """Asks all routers for an advertisement."""
        frame = self.alloc(wire.SOLICIT_ROUTER_BYTES + wire.MAC_OPTION_BYTES)
        if frame is None:
            return
        at = frame.start + _START
        wire.emit(frame.buf, at, wire.ROUTER_SOLICITATION, 0, 0)
        wire.emit_mac(frame.buf, at + wire.SOLICIT_ROUTER_BYTES, wire.SOURCE_MAC, self.ethernet.mac)
        self.transmit(frame, src_ip, wire_ipv6.ALL_ROUTERS, wire_ipv6.multicast_mac(wire_ipv6.ALL_ROUTERS))
        self.counters["OutRouterSolicits"] += 1

    def alloc(self, length):
        """A frame for a message of `length` octets, or None."""
        return self.ethernet.alloc(_START + length)

    def _seal(self, frame, src_ip, dst_ip):
        length = frame.length - _START
        pseudo = wire_ipv6.pseudo_sum(src_ip, dst_ip, wire_ipv6.PROTOCOL_ICMP6, length)
        total = frame.checksum(_START, length, pseudo) ^ 0xFFFF
        at = frame.start + _START
        frame.buf[at + 2] = total >> 8
        frame.buf[at + 3] = total & 255

    def transmit(self, frame, src_ip, dst_ip, dst_mac):
        """Completes a message of Neighbour Discovery and sends it."""
        self._seal(frame, src_ip, dst_ip)
        length = frame.length - _START
        wire_ipv6.emit(frame.buf, frame.start + 14, length, wire_ipv6.PROTOCOL_ICMP6, HOP_LIMIT, src_ip, dst_ip)
        self.ethernet.send(frame, dst_mac, wire_ethernet.ETHERTYPE_IPV6)

    def input(self, kind, code, message, packet, now_ms):
        """A received message of Neighbour Discovery, its checksum right. message: its octets."""
        at = _OPTIONS_AT[kind]
        options = wire.parse_options(message, at) if len(message) >= at else None
        if packet.ttl != HOP_LIMIT or code or options is None:
            self.counters["InErrors"] += 1
        elif kind == wire.NEIGHBOUR_SOLICITATION:
            self._solicitation(message, options, packet, now_ms)
        elif kind == wire.NEIGHBOUR_ADVERTISEMENT:
            self._advertisement(message, options, packet, now_ms)
        elif kind == wire.ROUTER_ADVERTISEMENT:
            if wire_ipv6.is_link_local(packet.src_ip):
                self.counters["InRouterAdverts"] += 1
                self.ipv6.routers.input(message, options, packet.src_ip, now_ms)
            else:
                self.counters["InErrors"] += 1
        elif kind == wire.REDIRECT:
            # Nobody but an attacker gains much by them: they are counted, and the routes stay.
            self.counters["InRedirects"] += 1

    def _solicitation(self, message, options, packet, now_ms):
        target_ip = bytes(message[8:24])
        src_ip = packet.src_ip
        mac = wire.find_mac(options, wire.SOURCE_MAC)
        is_detection = src_ip == wire_ipv6.UNSPECIFIED
        if target_ip[0] == 0xFF or (
            is_detection and (mac is not None or packet.dst_ip != wire_ipv6.solicited_node(target_ip))
        ):
            self.counters["InErrors"] += 1
            return
        self.counters["InSolicits"] += 1
        addresses = self.ipv6.addresses
        if not addresses.is_usable(target_ip):
            if is_detection:
                addresses.claimed(target_ip, now_ms)
            return
        if is_detection:
            group = wire_ipv6.ALL_NODES
            self._advertise(target_ip, group, wire.OVERRIDE, wire_ipv6.multicast_mac(group), now_ms)
            return
        if mac is not None:
            self.learn(src_ip, mac, now_ms)
        self._advertise(target_ip, src_ip, wire.SOLICITED | wire.OVERRIDE, mac, now_ms)

    def _advertise(self, target_ip, dst_ip, flags, dst_mac, now_ms):
        """Says that `target_ip` is ours. dst_mac: None where it has to be asked for."""
        frame = self.alloc(wire.NEIGHBOUR_BYTES + wire.MAC_OPTION_BYTES)
        if frame is None:
            return
        wire.emit_neighbour(
            frame.buf, frame.start + _START, wire.NEIGHBOUR_ADVERTISEMENT, flags, target_ip, wire.TARGET_MAC,
            self.ethernet.mac,
        )  # fmt: skip
        self.counters["OutAdverts"] += 1
        if dst_mac is None:
            self._seal(frame, target_ip, dst_ip)
            self.ipv6.send(frame, target_ip, dst_ip, wire_ipv6.PROTOCOL_ICMP6, now_ms, HOP_LIMIT)
        else:
            self.transmit(frame, target_ip, dst_ip, dst_mac)

    def learn(self, ip, mac, now_ms):
        """A neighbour named its MAC without being asked. Returns its entry, or None when it got none."""
        entry = self._table.get(ip)
        if entry is None:
            return self._admit(ip, mac, now_ms) if self.ipv6.is_on_link(ip) else None
        if entry.mac is None:
            self._stale(entry, mac, now_ms)
        elif entry.mac != mac:
            self.counters["InUnsolicited"] += 1
            self._probe(entry, now_ms)
        return entry

    def _advertisement(self, message, options, packet, now_ms):
        flags = int.from_bytes(message[4:8], "big")
        target_ip = bytes(message[8:24])
        is_solicited = flags & wire.SOLICITED != 0
        if target_ip[0] == 0xFF or (is_solicited and packet.dst_ip[0] == 0xFF):
            self.counters["InErrors"] += 1
            return
        self.counters["InAdverts"] += 1
        if self.ipv6.addresses.get(target_ip) is not None:
            self.counters["Conflicts"] += 1
            self.ipv6.addresses.claimed(target_ip, now_ms)
            return
        entry = self._table.get(target_ip)
        if entry is None or entry.state == FAILED:
            self.counters["InUnsolicited"] += 1
            return
        mac = wire.find_mac(options, wire.TARGET_MAC)
        if entry.state == INCOMPLETE:
            if mac is None:
                return
            self._set_router(entry, flags & wire.ROUTER != 0, now_ms)
            if is_solicited:
                self._reach(entry, mac, now_ms)
            else:
                self._stale(entry, mac, now_ms)
            return
        is_solicited = is_solicited and entry.state == PROBE
        if not is_solicited:
            self.counters["InUnsolicited"] += 1
        if mac is not None and mac != entry.mac:
            if not flags & wire.OVERRIDE:
                if entry.state == REACHABLE:
                    self._stale(entry, entry.mac, now_ms)
                return
            self.generation += 1
            if not is_solicited:
                self._stale(entry, mac, now_ms)
        if is_solicited:
            self._reach(entry, mac or entry.mac, now_ms)
        self._set_router(entry, flags & wire.ROUTER != 0, now_ms)

    def _set_router(self, entry, is_router, now_ms):
        if entry.is_router and not is_router:
            self.ipv6.routers.remove(entry.ip, now_ms)  # section 7.2.5
        entry.is_router = is_router

    def _reach(self, entry, mac, now_ms):
        span = self.reachable_ms
        self._set_mac(entry, REACHABLE, mac, now_ms + span // 2 + self.random.u32() % (span + 1))

    def _stale(self, entry, mac, now_ms):
        if entry.pending:
            # What waited is its first use.
            self.generation += 1
            entry.generation = self.generation
            self._set_mac(entry, DELAY, mac, now_ms + DELAY_FIRST_PROBE_MS)
        else:
            super()._stale(entry, mac, now_ms)

    def _fail(self, entry, now_ms):
        self.ipv6.routers.lost(entry.ip)
        if entry.state == PROBE:
            # The next use asks everybody (section 7.3.3).
            self.counters["Failures"] += 1
            self._remove(entry)
        else:
            super()._fail(entry, now_ms)


# Where the options of a message begin.
_OPTIONS_AT = {
    wire.ROUTER_SOLICITATION: 8,
    wire.ROUTER_ADVERTISEMENT: 16,
    wire.NEIGHBOUR_SOLICITATION: 24,
    wire.NEIGHBOUR_ADVERTISEMENT: 24,
    wire.REDIRECT: 40,
}
