# SPDX-License-Identifier: MIT
"""ARP (RFC 826; RFC 1122 section 2.3.2; RFC 5227 for probing, announcing and defending addresses). No I/O, no clock.

A mapping comes only from an answer that was asked for, or from a request to us by a host that is not in the table.
Nothing unasked changes an entry: when another MAC claims its address, the old one is asked, and only its silence
removes the entry.
"""

from libos.net.address_probe import Announcement, Probe
from libos.net.timers import FAR_MS
from libos.wire import arp as wire
from libos.wire import ethernet as wire_ethernet
from libos.wire import ipv4 as wire_ipv4

# Bounds. A /24 with every host talking fits; a scan of the network from one host does not grow it.
MAX_ENTRIES = 256
MAX_RESOLVING = 32
MAX_PENDING_PER_ENTRY = 4
MAX_PENDING = 32
MAX_PROBES = 8

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

    Ipv4 tells it our addresses. generation: changes whenever a MAC that someone may have kept stopped being right.
    on_failure: called with (address that nobody answers for, now_ms). on_conflict: called with (address of ours, MAC of
    who uses it too, now_ms); we have defended it then. random: below(n).
    """

    def __init__(self, ethernet, random):
        self.ethernet = ethernet
        self.random = random
        self.generation = 1
        self.on_failure = None
        self.on_conflict = None
        self.counters = {
            "InRequests": 0,
            "InReplies": 0,
            "InErrors": 0,
            "InUnsolicited": 0,
            "Conflicts": 0,
            "OutRequests": 0,
            "OutReplies": 0,
            "OutProbes": 0,
            "PendingDropped": 0,
            "TableFull": 0,
            "Failures": 0,
        }
        self.timer_at = FAR_MS  # no entry is due before
        self.timer_serial = 0
        self._timers = ethernet.timers
        self._timers.restorers.append(self.on_timer)
        self._addresses = []  # (ip, netmask)
        self._table = {}
        self._errands = []  # probes and announcements under way
        self._resolving = 0
        self._defended_ms = {}
        ethernet.parts["arp"] = self
        ethernet.register(wire_ethernet.ETHERTYPE_ARP, self)

    def set_addresses(self, addresses):
        """Our addresses from now on: [(ip, netmask)]. New ones are announced; entries that are no neighbours now go."""
        old = self._addresses
        self._addresses = addresses
        for entry in list(self._table.values()):
            if not self._is_neighbour(entry.ip) or self.is_ours(entry.ip):
                self._remove(entry)
        self.generation += 1
        self._errands = [errand for errand in self._errands if errand.is_probe or self.is_ours(errand.ip)]
        self._defended_ms = {}
        for address in addresses:
            if address not in old:
                self._run(Announcement(self, address[0]))

    def is_ours(self, ip):
        for ours, _netmask in self._addresses:
            if ours == ip:
                return True
        return False

    def _is_neighbour(self, ip):
        for ours, netmask in self._addresses:
            if (ip ^ ours) & netmask == 0:
                return ip != 0
        return False

    def _source_for(self, ip):
        """Our address on the network of a neighbour."""
        for ours, netmask in self._addresses:
            if (ip ^ ours) & netmask == 0:
                return ours
        return self._addresses[0][0] if self._addresses else 0

    def announce(self, ip):
        """Tells the network our MAC for an address of ours, once (RFC 5227 section 2.3)."""
        if self._emit(wire.REQUEST, ip, wire_ethernet.UNKNOWN_MAC, ip, wire_ethernet.BROADCAST):
            self.counters["OutRequests"] += 1

    def probe(self, ip, on_result):
        """Finds out whether somebody uses an address that is not ours yet (RFC 5227 section 2.1).

        on_result(ip, mac, now_ms): the MAC of whoever uses it, at once when that is known; or None, 4 to 7 seconds from
        now. ip: a number. ValueError when too many are under way.
        """
        if len([errand for errand in self._errands if errand.is_probe]) >= MAX_PROBES:
            raise ValueError("more than %d address probes" % MAX_PROBES)
        self._run(Probe(self, ip, on_result))

    def cancel_probe(self, ip):
        """Nobody wants to know any more."""
        self._errands = [errand for errand in self._errands if not errand.is_probe or errand.ip != ip]

    def send_probe(self, ip):
        """One question that changes no table. False when there is no buffer."""
        is_sent = self._emit(wire.REQUEST, 0, wire_ethernet.UNKNOWN_MAC, ip, wire_ethernet.BROADCAST)
        if is_sent:
            self.counters["OutProbes"] += 1
        return is_sent

    def _run(self, errand):
        self._errands.append(errand)
        # At once: the next poll has the time that we do not know here.
        self._timers.schedule(self, 0)

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
        """Sends a frame to the neighbour `ip`, asking for its MAC first where needed. Takes the frame over.

        What is to one of our own addresses comes back to us without having been on the network.
        """
        if self.is_ours(ip) or ip >> 24 == wire_ipv4.LOOPBACK_NET:
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
        if self._emit(wire.REQUEST, self._source_for(ip), wire_ethernet.UNKNOWN_MAC, ip, dst_mac):
            self.counters["OutRequests"] += 1

    def _emit(self, operation, sender_ip, target_mac, target_ip, dst_mac):
        frame = self.ethernet.alloc(wire_ethernet.HEADER_BYTES + wire.PACKET_BYTES)
        if frame is None:
            return False
        at = frame.start + wire_ethernet.HEADER_BYTES
        wire.emit(frame.buf, at, operation, self.ethernet.mac, sender_ip, target_mac, target_ip)
        self.ethernet.send(frame, dst_mac, wire_ethernet.ETHERTYPE_ARP)
        return True

    def input(self, frame, now_ms, src_mac, is_group):
        """A received ARP frame."""
        start = wire_ethernet.HEADER_BYTES
        packet = wire.parse(frame.buf, frame.start + start, frame.length - start)
        # No sender address: a probe (RFC 5227 section 2.1.1).
        if packet is None or (packet[2] and not wire_ipv4.is_unicast(packet[2])):
            self.counters["InErrors"] += 1
            return
        operation, sender_mac, sender_ip, _target_mac, target_ip = packet
        if self._errands and sender_mac != self.ethernet.mac:
            self._settle_probes(operation, sender_mac, sender_ip, target_ip, now_ms)
        if self.is_ours(sender_ip):
            if sender_mac != self.ethernet.mac:
                self._conflict(sender_ip, sender_mac, now_ms)
            return
        if operation == wire.REPLY:
            self.counters["InReplies"] += 1
        else:
            self.counters["InRequests"] += 1
        is_to_us = self.is_ours(target_ip)
        self._learn(operation, sender_mac, sender_ip, is_to_us, now_ms)
        if operation == wire.REQUEST and is_to_us:
            if self._emit(wire.REPLY, target_ip, sender_mac, sender_ip, sender_mac):
                self.counters["OutReplies"] += 1

    def _settle_probes(self, operation, sender_mac, sender_ip, target_ip, now_ms):
        """Somebody uses an address that we ask for, or asks for it as we do (RFC 5227 section 2.1.1)."""
        for errand in list(self._errands):
            if errand.is_probe and (
                errand.ip == sender_ip or (operation == wire.REQUEST and not sender_ip and errand.ip == target_ip)
            ):
                self._errands.remove(errand)
                errand.on_result(errand.ip, sender_mac, now_ms)

    def _learn(self, operation, mac, ip, is_to_us, now_ms):
        entry = self._table.get(ip)
        if entry is None:
            # RFC 826: whoever asks us will want an answer to more than this. Nobody else gets into the table.
            if operation == wire.REQUEST and is_to_us and self._is_neighbour(ip) and self._make_room():
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

    def _confirm(self, entry, mac, now_ms):
        if entry.state == RESOLVING:
            self._resolving -= 1
        entry.state = FRESH
        entry.mac = mac
        self._set_deadline(entry, now_ms + FRESH_MS)
        pending = entry.pending
        entry.pending = []
        self.ethernet.held -= len(pending)
        for frame, ethertype in pending:
            self.ethernet.send(frame, mac, ethertype)

    def _conflict(self, ip, mac, now_ms):
        """Another host uses an address of ours. RFC 5227 section 2.4 (c): a server keeps it, and says so, not often."""
        self.counters["Conflicts"] += 1
        defended_ms = self._defended_ms.get(ip)
        if defended_ms is None or now_ms - defended_ms >= DEFEND_MS:
            self._defended_ms[ip] = now_ms
            self.announce(ip)
        if self.on_conflict is not None:
            self.on_conflict(ip, mac, now_ms)

    def on_timer(self, now_ms):
        """Repeats requests, ages entries, runs errands."""
        first_ms = FAR_MS
        for errand in list(self._errands):
            if errand.deadline_ms <= now_ms and not errand.due(now_ms) and errand in self._errands:
                self._errands.remove(errand)
        for errand in self._errands:
            if errand.deadline_ms < first_ms:
                first_ms = errand.deadline_ms
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
        self.ethernet.held -= len(entry.pending)
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
