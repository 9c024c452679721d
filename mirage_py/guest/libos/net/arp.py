# SPDX-License-Identifier: MIT
"""ARP (RFC 826; RFC 1122 section 2.3.2; RFC 5227 for announcing and defending the address). No I/O, no clock.

A mapping comes only from an answer that was asked for, or from a request to us by a host that is not in the table.
Nothing unasked changes an entry: when another MAC claims its address, the old one is asked, and only its silence
removes the entry.
"""

from libos.net.timers import FAR_MS
from libos.wire import arp as wire
from libos.wire import ethernet as wire_ethernet

# Bounds. A /24 with every host talking fits; a scan of the network from one host does not grow it.
MAX_ENTRIES = 256
MAX_RESOLVING = 32
MAX_PENDING_PER_ENTRY = 4
MAX_PENDING = 32

RETRY_MS = 1000  # RFC 1122 section 2.3.2.1: at most one request a second for one destination
TRIES = 3
FRESH_MS = 60000  # after that long an entry in use is asked again
STALE_MS = 600000  # after that long without use it goes
FAILED_MS = 3000  # how long silence is remembered, so that a busy sender does not flood
DEFEND_MS = 10000  # RFC 5227 section 2.4

# How an entry stands.
RESOLVING = 1  # no MAC yet; frames wait
FRESH = 2
PROBING = 3  # its MAC works until TRIES unicast requests stay unanswered
STALE = 4  # its MAC works; the next use asks
FAILED = 5  # nobody answered


class Entry:
    def __init__(self, ip, state, mac, now_ms):
        self.ip = ip
        self.state = state
        self.mac = mac
        self.deadline_ms = now_ms
        self.tries = 0
        self.pending = []  # frames that wait for the MAC, complete but for it


class Arp:
    """The neighbour table of one Ethernet interface.

    ip: our address, set by Ipv4. generation: changes whenever a MAC that someone may have kept stopped being right.
    """

    def __init__(self, ethernet):
        self.ethernet = ethernet
        self.ip = 0
        self.network = 0
        self.netmask = 0
        self.generation = 1
        self.on_failure = None  # called with the address that nobody answers for, and now_ms
        self.counters = {
            "InRequests": 0,
            "InReplies": 0,
            "InErrors": 0,
            "InUnsolicited": 0,
            "Conflicts": 0,
            "OutRequests": 0,
            "OutReplies": 0,
            "PendingDropped": 0,
            "TableFull": 0,
            "Failures": 0,
        }
        self.timer_at = FAR_MS  # no entry is due before
        self.timer_serial = 0
        self._timers = ethernet.timers
        self._timers.restorers.append(self.on_timer)
        self._table = {}
        self._resolving = 0
        self._pending = 0
        self._defended_ms = None
        ethernet.parts["arp"] = self
        ethernet.register(wire_ethernet.ETHERTYPE_ARP, self)

    def set_address(self, ip, netmask):
        """Our address from now on; 0 for none. Entries of the old network go."""
        for entry in list(self._table.values()):
            self._remove(entry)
        self.ip = ip
        self.netmask = netmask
        self.network = ip & netmask

    def announce(self):
        """Tells the network our MAC (RFC 5227 section 2.3), for tables that remember an earlier owner."""
        self._request(self.ip, wire_ethernet.BROADCAST)

    def lookup(self, ip, now_ms):
        """The MAC of a neighbour, or None when it has to be asked for (`send` does that)."""
        entry = self._table.get(ip)
        if entry is None or entry.mac is None:
            return None
        if entry.state == STALE:
            self._probe(entry, now_ms)
        return entry.mac

    def doubt(self, ip, now_ms):
        """Nothing comes back from this neighbour: has its entry confirmed. (ARP has no checksum.)"""
        entry = self._table.get(ip)
        if entry is not None and (entry.state == FRESH or entry.state == STALE):
            self._probe(entry, now_ms)

    def send(self, frame, ip, ethertype, now_ms):
        """Sends a frame to the neighbour `ip`, asking for its MAC first where needed. Takes the frame over."""
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
        if len(entry.pending) >= MAX_PENDING_PER_ENTRY or self._pending >= MAX_PENDING:
            return False
        entry.pending.append((frame, ethertype))
        self._pending += 1
        return True

    def _resolve(self, ip, now_ms):
        if self._resolving >= MAX_RESOLVING or not self._make_room():
            self.counters["TableFull"] += 1
            return None
        entry = Entry(ip, RESOLVING, None, now_ms)
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
            if entry.state >= STALE and (oldest is None or entry.deadline_ms < oldest.deadline_ms):
                oldest = entry
        if oldest is None:
            return False
        self._remove(oldest)
        return True

    def _probe(self, entry, now_ms):
        if entry.state != PROBING:
            entry.state = PROBING
            entry.tries = 0
            self._ask(entry, now_ms)

    def _ask(self, entry, now_ms):
        entry.tries += 1
        self._set_deadline(entry, now_ms + RETRY_MS)
        self._request(entry.ip, entry.mac or wire_ethernet.BROADCAST)

    def _set_deadline(self, entry, deadline_ms):
        entry.deadline_ms = deadline_ms
        if deadline_ms < self.timer_at:
            self._timers.schedule(self, deadline_ms)

    def _request(self, ip, dst_mac):
        if self._emit(wire.REQUEST, wire_ethernet.UNKNOWN_MAC, ip, dst_mac):
            self.counters["OutRequests"] += 1

    def _emit(self, operation, target_mac, target_ip, dst_mac):
        frame = self.ethernet.alloc(wire_ethernet.HEADER_BYTES + wire.PACKET_BYTES)
        if frame is None:
            return False
        at = frame.start + wire_ethernet.HEADER_BYTES
        wire.emit(frame.buf, at, operation, self.ethernet.mac, self.ip, target_mac, target_ip)
        self.ethernet.send(frame, dst_mac, wire_ethernet.ETHERTYPE_ARP)
        return True

    def input(self, frame, now_ms, src_mac, is_group):
        """A received ARP frame."""
        start = wire_ethernet.HEADER_BYTES
        packet = wire.parse(frame.buf, frame.start + start, frame.length - start)
        if packet is None:
            self.counters["InErrors"] += 1
            return
        operation, sender_mac, sender_ip, _target_mac, target_ip = packet
        if sender_ip == self.ip and self.ip:
            if sender_mac != self.ethernet.mac:
                self._conflict(now_ms)
            return
        if operation == wire.REPLY:
            self.counters["InReplies"] += 1
        else:
            self.counters["InRequests"] += 1
        self._learn(operation, sender_mac, sender_ip, target_ip, now_ms)
        if operation == wire.REQUEST and target_ip == self.ip and self.ip:
            if self._emit(wire.REPLY, sender_mac, sender_ip, sender_mac):
                self.counters["OutReplies"] += 1

    def _learn(self, operation, mac, ip, target_ip, now_ms):
        entry = self._table.get(ip)
        if entry is None:
            # RFC 826: whoever asks us will want an answer to more than this. Nobody else gets into the table.
            if operation == wire.REQUEST and target_ip == self.ip and self._is_neighbour(ip) and self._make_room():
                entry = Entry(ip, STALE, mac, now_ms)
                self._table[ip] = entry
                self._set_deadline(entry, now_ms + STALE_MS)
            elif operation == wire.REPLY:
                self.counters["InUnsolicited"] += 1
        elif entry.state == RESOLVING or entry.state == FAILED or entry.mac == mac:
            self._confirm(entry, mac, now_ms)
        elif entry.state == PROBING and operation == wire.REPLY and entry.tries > 1:
            # The old MAC was asked and did not answer; this one did.
            self.generation += 1
            self._confirm(entry, mac, now_ms)
        else:
            self.counters["InUnsolicited"] += 1
            self._probe(entry, now_ms)

    def _is_neighbour(self, ip):
        return ip & self.netmask == self.network and ip != 0

    def _confirm(self, entry, mac, now_ms):
        if entry.state == RESOLVING:
            self._resolving -= 1
        entry.state = FRESH
        entry.mac = mac
        self._set_deadline(entry, now_ms + FRESH_MS)
        pending = entry.pending
        entry.pending = []
        self._pending -= len(pending)
        for frame, ethertype in pending:
            self.ethernet.send(frame, mac, ethertype)

    def _conflict(self, now_ms):
        self.counters["Conflicts"] += 1
        if self._defended_ms is None or now_ms - self._defended_ms >= DEFEND_MS:
            self._defended_ms = now_ms
            self.announce()

    def on_timer(self, now_ms):
        """Repeats requests, ages entries."""
        first_ms = FAR_MS
        for entry in list(self._table.values()):
            if entry.deadline_ms <= now_ms:
                self._timeout(entry, now_ms)
            if entry.deadline_ms < first_ms and entry.ip in self._table:
                first_ms = entry.deadline_ms
        if first_ms != self.timer_at:
            if first_ms == FAR_MS:
                self._timers.cancel(self)
            else:
                self._timers.schedule(self, first_ms)

    def _timeout(self, entry, now_ms):
        state = entry.state
        if state == FRESH:
            # Whoever kept the MAC asks again, and that use finds the entry stale.
            entry.state = STALE
            self.generation += 1
            self._set_deadline(entry, now_ms + STALE_MS)
        elif state == RESOLVING or state == PROBING:
            if entry.tries < TRIES:
                self._ask(entry, now_ms)
            else:
                self._fail(entry, now_ms)
        else:
            self._remove(entry)

    def _fail(self, entry, now_ms):
        self.counters["Failures"] += 1
        self.generation += 1
        if entry.state == RESOLVING:
            self._resolving -= 1
        entry.state = FAILED
        entry.mac = None
        self._set_deadline(entry, now_ms + FAILED_MS)
        self._drop_pending(entry)
        if self.on_failure is not None:
            self.on_failure(entry.ip, now_ms)

    def _drop_pending(self, entry):
        for frame, _ethertype in entry.pending:
            self.counters["PendingDropped"] += 1
            frame.release()
        self._pending -= len(entry.pending)
        entry.pending = []

    def _remove(self, entry):
        if entry.state == RESOLVING:
            self._resolving -= 1
        self._drop_pending(entry)
        del self._table[entry.ip]
        self.generation += 1

    def entries(self):
        """(address, state, MAC or None) of every entry."""
        return [(entry.ip, entry.state, entry.mac) for entry in self._table.values()]
