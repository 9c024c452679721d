# SPDX-License-Identifier: MIT
"""Neighbour Discovery (RFC 4861): the MACs of neighbours, and whether they can be reached. No I/O, no clock.

A mapping is made when we ask, or when a neighbour asks us. An entry that has a MAC changes only by an advertisement
with the override flag (section 7.2.5); a solicitation with another MAC has the old one asked, and only its silence
removes the entry. "Solicited" counts only while we are asking.
"""

from libos.net.timers import FAR_MS
from libos.wire import ethernet as wire_ethernet
from libos.wire import icmp6 as wire
from libos.wire import ipv6 as wire_ipv6

# Bounds, as in net.arp.
MAX_ENTRIES = 256
MAX_RESOLVING = 32
MAX_PENDING_PER_ENTRY = 4
MAX_PENDING = 32

# RFC 4861 section 10.
RETRANS_MS = 1000
REACHABLE_MS = 30000  # at the average
DELAY_FIRST_PROBE_MS = 5000
TRIES = 3  # MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT
STALE_MS = 600000  # after that long without use an entry goes
FAILED_MS = 3000  # how long silence is remembered, so that a busy sender does not flood

HOP_LIMIT = 255  # proves that no router was on the way (section 6.1)
_START = 54  # of our header in a frame to send

# How an entry stands (section 7.3.2; FAILED is ours).
INCOMPLETE = 1  # no MAC yet; frames wait
REACHABLE = 2
STALE = 3  # its MAC works; the next use sets the clock for asking
DELAY = 4  # used; who is above may confirm it, before we ask
PROBE = 5  # its MAC works until TRIES unicast solicitations stay unanswered
FAILED = 6  # nobody answered


class Neighbour:
    """An entry of the table, and its timer."""

    def __init__(self, ndp, ip, state, mac):
        self.ndp = ndp
        self.ip = ip
        self.state = state
        self.mac = mac
        self.is_router = False
        self.deadline_ms = FAR_MS
        self.timer_at = FAR_MS
        self.timer_serial = 0
        self.tries = 0
        self.pending = []  # frames that wait for the MAC, complete but for it

    def on_timer(self, now_ms):
        self.ndp.timeout(self, now_ms)


class Ndp:
    """The neighbour table of one Ethernet interface. random: u32() from the machine's entropy.

    generation: changes whenever a MAC that someone may have kept stopped being right. retrans_ms, reachable_ms: as
    routers wish. ipv6: set by Ipv6; addresses and routers are its parts.
    """

    def __init__(self, ethernet, random):
        self.ethernet = ethernet
        self.random = random
        self.ipv6 = None
        self.retrans_ms = RETRANS_MS
        self.reachable_ms = REACHABLE_MS
        self.generation = 1
        self.on_failure = None  # called with the address that nobody answers for, and now_ms
        self.counters = {
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
            "PendingDropped": 0,
            "TableFull": 0,
            "Failures": 0,
        }
        self._table = {}
        self._resolving = 0
        self._timers = ethernet.timers
        self._timers.restorers.append(self._rearm)
        ethernet.parts["ndp"] = self

    def lookup(self, ip, now_ms):
        """The MAC of a neighbour, or None when it has to be asked for (`send` does that)."""
        entry = self._table.get(ip)
        if entry is None or entry.mac is None:
            return None
        if entry.state == STALE:
            entry.state = DELAY
            self._set_deadline(entry, now_ms + DELAY_FIRST_PROBE_MS)
        return entry.mac

    def doubt(self, ip, now_ms):
        """Nothing comes back from this neighbour: has its entry confirmed."""
        entry = self._table.get(ip)
        if entry is not None and REACHABLE <= entry.state <= DELAY:
            self._probe(entry, now_ms)

    def confirm(self, ip, now_ms):
        """A protocol above has proof that what we send reaches this neighbour (section 7.3.1)."""
        entry = self._table.get(ip)
        if entry is not None and REACHABLE <= entry.state <= PROBE:
            self._reach(entry, entry.mac, now_ms)

    def send(self, frame, ip, ethertype, now_ms):
        """Sends a frame to the neighbour `ip`, asking for its MAC first where needed. Takes the frame over.

        What is to one of our own addresses comes back to us without having been on the network.
        """
        if self.ipv6.is_self(ip):
            self.ethernet.loop(frame, ethertype)
            return
        try:
            mac = self.lookup(ip, now_ms)
            if mac is None and self._hold(frame, ip, ethertype, now_ms):
                return
        except MemoryError:
            frame.release()
            raise
        if mac is None:
            self.counters["PendingDropped"] += 1
            frame.release()
        else:
            self.ethernet.send(frame, mac, ethertype)

    def _hold(self, frame, ip, ethertype, now_ms):
        """Keeps a frame until the MAC is known. False when there is no place for it, or nobody answers."""
        entry = self._table.get(ip)
        if entry is None:
            entry = self._resolve(ip, now_ms)
        if entry is None or entry.state == FAILED:
            return False
        if len(entry.pending) >= MAX_PENDING_PER_ENTRY or self.ethernet.held >= MAX_PENDING:
            return False
        entry.pending.append((frame, ethertype))
        self.ethernet.held += 1
        return True

    def _resolve(self, ip, now_ms):
        if self._resolving >= MAX_RESOLVING or not self._make_room():
            self.counters["TableFull"] += 1
            return None
        entry = Neighbour(self, ip, INCOMPLETE, None)
        self._table[ip] = entry
        self._resolving += 1
        self._ask(entry, now_ms)
        return entry

    def _make_room(self):
        """True when the table has a place, made by giving up the oldest entry that nobody uses."""
        if len(self._table) < MAX_ENTRIES:
            return True
        oldest = None
        for entry in self._table.values():
            is_idle = entry.state == STALE or entry.state == FAILED
            if is_idle and (oldest is None or entry.deadline_ms < oldest.deadline_ms):
                oldest = entry
        if oldest is None:
            return False
        self._remove(oldest)
        return True

    def _probe(self, entry, now_ms):
        if entry.state != PROBE:
            entry.state = PROBE
            entry.tries = 0
            self._ask(entry, now_ms)

    def _ask(self, entry, now_ms):
        entry.tries += 1
        self._set_deadline(entry, now_ms + self.retrans_ms)
        src_ip = self.ipv6.source_for(entry.ip)
        if src_ip is None:
            return
        if entry.state == PROBE:
            self.solicit(src_ip, entry.ip, entry.ip, entry.mac)
        else:
            group = wire_ipv6.solicited_node(entry.ip)
            self.solicit(src_ip, group, entry.ip, wire_ipv6.multicast_mac(group))

    def _set_deadline(self, entry, deadline_ms):
        entry.deadline_ms = deadline_ms
        self._timers.schedule(entry, deadline_ms)

    def _rearm(self, _now_ms):
        for entry in self._table.values():
            self._timers.schedule(entry, entry.deadline_ms)

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
            if not self.ipv6.is_on_link(ip) or not self._make_room():
                return None
            entry = Neighbour(self, ip, STALE, mac)
            self._table[ip] = entry
            self._set_deadline(entry, now_ms + STALE_MS)
        elif entry.mac is None:
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
        was_incomplete = entry.state == INCOMPLETE
        entry.state = REACHABLE
        span = self.reachable_ms
        self._set_deadline(entry, now_ms + span // 2 + self.random.u32() % (span + 1))
        self._has_mac(entry, mac, was_incomplete)

    def _stale(self, entry, mac, now_ms):
        was_incomplete = entry.state == INCOMPLETE
        entry.state = STALE
        self.generation += 1  # whoever kept the MAC asks again, and that use sets the clock
        self._set_deadline(entry, now_ms + STALE_MS)
        if was_incomplete and entry.pending:
            entry.state = DELAY
            self._set_deadline(entry, now_ms + DELAY_FIRST_PROBE_MS)
        self._has_mac(entry, mac, was_incomplete)

    def _has_mac(self, entry, mac, was_incomplete):
        entry.mac = mac
        if was_incomplete:
            self._resolving -= 1
            pending = entry.pending
            entry.pending = []
            self.ethernet.held -= len(pending)
            for frame, ethertype in pending:
                self.ethernet.send(frame, mac, ethertype)

    def timeout(self, entry, now_ms):
        """The deadline of an entry has come."""
        state = entry.state
        if state == REACHABLE:
            self._stale(entry, entry.mac, now_ms)
        elif state == DELAY:
            self._probe(entry, now_ms)
        elif state == INCOMPLETE or state == PROBE:
            if entry.tries < TRIES:
                self._ask(entry, now_ms)
            else:
                self._fail(entry, now_ms)
        else:
            self._remove(entry)

    def _fail(self, entry, now_ms):
        self.counters["Failures"] += 1
        self.ipv6.routers.lost(entry.ip)
        if entry.state == PROBE:
            # The next use asks everybody (section 7.3.3).
            self._remove(entry)
            return
        self.generation += 1
        self._resolving -= 1
        entry.state = FAILED
        self._set_deadline(entry, now_ms + FAILED_MS)
        self._drop_pending(entry)
        if self.on_failure is not None:
            self.on_failure(entry.ip, now_ms)

    def _drop_pending(self, entry):
        for frame, _ethertype in entry.pending:
            self.counters["PendingDropped"] += 1
            frame.release()
        self.ethernet.held -= len(entry.pending)
        entry.pending = []

    def _remove(self, entry):
        if entry.state == INCOMPLETE:
            self._resolving -= 1
        self._drop_pending(entry)
        self._timers.cancel(entry)
        del self._table[entry.ip]
        self.generation += 1

    def forget(self):
        """Empties the table, for a network that is another one."""
        for entry in list(self._table.values()):
            self._remove(entry)

    def entries(self):
        """(address, state, MAC or None) of every entry."""
        return [(entry.ip, entry.state, entry.mac) for entry in self._table.values()]


# Where the options of a message begin.
_OPTIONS_AT = {
    wire.ROUTER_SOLICITATION: 8,
    wire.ROUTER_ADVERTISEMENT: 16,
    wire.NEIGHBOUR_SOLICITATION: 24,
    wire.NEIGHBOUR_ADVERTISEMENT: 24,
    wire.REDIRECT: 40,
}
