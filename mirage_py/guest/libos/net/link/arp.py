# SPDX-License-Identifier: MIT
"""ARP (RFC 826; RFC 1122 section 2.3.2; RFC 5227 for probing, announcing and defending addresses). No I/O, no clock.

A mapping comes only from an answer that was asked for, or from a request to us by a host that is not in the table.
Nothing unasked changes an entry: when another MAC claims its address, the old one is asked, and only its silence
removes the entry. The table itself is net.neighbours.
"""

from libos.net.link.address_probe import Announcement, Probe
from libos.net.link.neighbours import FAILED, INCOMPLETE, PROBE, REACHABLE, Neighbours
from libos.wire import arp as wire
from libos.wire import ethernet as wire_ethernet
from libos.wire import ipv4 as wire_ipv4

MAX_PROBES = 8
FRESH_MS = 60000  # after that long an entry in use is asked again
DEFEND_MS = 10000  # RFC 5227 section 2.4


class Arp(Neighbours):
    """The neighbour table of one Ethernet interface.

    Ipv4 tells it our addresses. on_conflict: called with (address of ours, MAC of who uses it too, now_ms); we have
    defended it then. random: below(n).
    """

    def __init__(self, ethernet, random):
        counters = {
            "InRequests": 0,
            "InReplies": 0,
            "InErrors": 0,
            "InUnsolicited": 0,
            "Conflicts": 0,
            "OutRequests": 0,
            "OutReplies": 0,
            "OutProbes": 0,
        }
        super().__init__(ethernet, random, counters)
        self.on_conflict = None
        self._addresses = []  # (ip, netmask)
        self._on_link = []  # (network, netmask) of other neighbours
        self._errands = []  # probes and announcements under way
        self._defended_ms = {}
        ethernet.parts["arp"] = self
        ethernet.register(wire_ethernet.ETHERTYPE_ARP, self)

    def set_addresses(self, addresses, on_link=()):
        """Our addresses from now on: [(ip, netmask)]. New ones are announced; entries that are no neighbours now go.

        on_link: [(network, netmask)] of neighbours that are on none of these addresses' networks.
        """
        old = self._addresses
        self._addresses = addresses
        self._on_link = on_link
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
        for networks in (self._addresses, self._on_link):
            for network, netmask in networks:
                if (ip ^ network) & netmask == 0:
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

    lookup = Neighbours.lookup  # MicroPython finds it here 65 ns sooner than in the base

    def _is_self(self, ip):
        return self.is_ours(ip) or ip >> 24 == wire_ipv4.LOOPBACK_NET

    def _request(self, entry):
        dst_mac = entry.mac or wire_ethernet.BROADCAST
        if self._emit(wire.REQUEST, self._source_for(entry.ip), wire_ethernet.UNKNOWN_MAC, entry.ip, dst_mac):
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
            if operation == wire.REQUEST and is_to_us and self._is_neighbour(ip):
                self._admit(ip, mac, now_ms)
            elif operation == wire.REPLY:
                self.counters["InUnsolicited"] += 1
        elif entry.state == INCOMPLETE or entry.state == FAILED or entry.mac == mac:
            self._reach(entry, mac, now_ms)
        elif entry.state == PROBE and operation == wire.REPLY and entry.tries > 1:
            # The old MAC was asked and did not answer; this one did.
            self.generation += 1
            self._reach(entry, mac, now_ms)
        else:
            self.counters["InUnsolicited"] += 1
            self._probe(entry, now_ms)

    def _reach(self, entry, mac, now_ms):
        self._set_mac(entry, REACHABLE, mac, now_ms + FRESH_MS)

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
        """Runs errands, besides."""
        for errand in list(self._errands):
            if errand.deadline_ms <= now_ms and not errand.due(now_ms) and errand in self._errands:
                self._errands.remove(errand)
        super().on_timer(now_ms)

    def _first_deadline_ms(self):
        first_ms = super()._first_deadline_ms()
        for errand in self._errands:
            if errand.deadline_ms < first_ms:
                first_ms = errand.deadline_ms
        return first_ms
