# SPDX-License-Identifier: MIT
"""Multicast groups that we receive: MLDv2 (RFC 3810), and MLDv1 (RFC 2710) where a router speaks it. No I/O, no clock.

We never choose among sources, so that a group is either in the mode "exclude nobody" or not joined. Reports of changes
are repeated, and queries answered within the time they give, at random.
"""

from libos.net.timers import FAR_MS
from libos.wire import ethernet as wire_ethernet
from libos.wire import icmp6 as wire
from libos.wire import ipv6 as wire_ipv6

MAX_GROUPS = 64
ROBUSTNESS = 2  # RFC 3810 section 9
UNSOLICITED_INTERVAL_MS = 1000
MLD1_PRESENT_MS = 260000  # section 9.12: robustness times 125 s, and 10 s
MIN_DELAY_MS = 200  # for answers, whatever a query says, so that a flood of queries is not answered by a flood
RECORDS_PER_REPORT = 50  # fit the smallest MTU

_ALERT_START = 54  # of the hop-by-hop header in a frame to send
_START = 62


class Mld:
    """Membership of one Ipv6 in groups. random: u32()."""

    def __init__(self, ipv6, random):
        self.ipv6 = ipv6
        self.counters = {
            "InGroupMembQueries": 0,  # Linux: Icmp6In…
            "InGroupMembResponses": 0,
            "InErrors": 0,
            "OutGroupMembResponses": 0,
            "OutGroupMembReductions": 0,
            "OutMLDv2Reports": 0,
        }
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._random = random
        self._ethernet = ipv6.ethernet
        self._timers = ipv6.ethernet.timers
        self._timers.restorers.append(self._rearm)
        self._groups = {}  # group -> how often it was joined
        self._changes = {}  # group -> [how many reports are left, when the next one is due]
        self._answers = {}  # group, or "::" for all -> when its answer to a query is due
        self._mld1_until_ms = 0
        ipv6.ethernet.parts["mld"] = self

    def is_member(self, group):
        """True for a group that is received; all of them are members of ff02::1."""
        return group in self._groups or group == wire_ipv6.ALL_NODES

    def groups(self):
        """The groups that were joined."""
        return list(self._groups)

    def join(self, group):
        """Receives packets to a group from now on. Each join needs its leave.

        Raises ValueError when it is not a group's address, or there are too many.
        """
        if not wire_ipv6.is_multicast(group):
            raise ValueError("not a multicast address: " + wire_ipv6.format_address(group))
        count = self._groups.get(group, 0)
        if not count:
            if len(self._groups) >= MAX_GROUPS:
                raise ValueError("more than %d IPv6 multicast groups" % MAX_GROUPS)
            self._ethernet.join(wire_ipv6.multicast_mac(group))
            self._changed(group)
        self._groups[group] = count + 1

    def leave(self, group):
        """The opposite of join. KeyError when nobody joined."""
        count = self._groups[group] - 1
        if count:
            self._groups[group] = count
            return
        del self._groups[group]
        self._answers.pop(group, None)
        self._ethernet.leave(wire_ipv6.multicast_mac(group))
        self._changed(group)

    def _changed(self, group):
        # Section 6: never about the group of all nodes, nor what does not leave this host.
        if group == wire_ipv6.ALL_NODES or wire_ipv6.scope(group) <= wire_ipv6.SCOPE_INTERFACE:
            return
        if group in self._changes or len(self._changes) < 2 * MAX_GROUPS:
            self._changes[group] = [ROBUSTNESS, 0]
            self._rearm(0)

    def input(self, kind, message, packet, now_ms):
        """A received MLD message, its checksum right."""
        is_alert = packet.hop_by_hop is not None and wire_ipv6.has_router_alert(packet.hop_by_hop)
        if packet.ttl != 1 or not is_alert or not wire_ipv6.is_link_local(packet.src_ip):
            self.counters["InErrors"] += 1
        elif kind == wire.MLD_QUERY:
            self._query(wire.parse_query(message), now_ms)
        elif kind == wire.MLD1_REPORT and len(message) >= wire.MLD1_BYTES:
            self.counters["InGroupMembResponses"] += 1
            self._answers.pop(bytes(message[8:24]), None)  # RFC 2710 section 4: one answer is enough
            self._rearm(now_ms)

    def _query(self, query, now_ms):
        if query is None:
            self.counters["InErrors"] += 1
            return
        self.counters["InGroupMembQueries"] += 1
        version, delay_ms, group, _robustness, _sources = query
        if version == 1:
            self._mld1_until_ms = now_ms + MLD1_PRESENT_MS
        if group != wire_ipv6.UNSPECIFIED:
            groups = [group] if group in self._groups else []
        elif now_ms < self._mld1_until_ms:
            groups = list(self._groups)  # MLDv1 has no report for several
        else:
            groups = [group]
        for group in groups:
            due_ms = now_ms + self._random.u32() % max(delay_ms, MIN_DELAY_MS)
            self._answers[group] = min(due_ms, self._answers.get(group, FAR_MS))
        self._rearm(now_ms)

    def _rearm(self, _now_ms):
        first_ms = FAR_MS
        for change in self._changes.values():
            first_ms = min(first_ms, change[1])
        for due_ms in self._answers.values():
            first_ms = min(first_ms, due_ms)
        if first_ms == FAR_MS:
            self._timers.cancel(self)
        elif first_ms != self.timer_at:
            self._timers.schedule(self, first_ms)

    def on_timer(self, now_ms):
        records = []
        for group in list(self._answers):
            if self._answers[group] <= now_ms:
                del self._answers[group]
                if group == wire_ipv6.UNSPECIFIED:
                    records += [(wire.MODE_IS_EXCLUDE, joined) for joined in self._groups]
                else:
                    records.append((wire.MODE_IS_EXCLUDE, group))
        for group in list(self._changes):
            change = self._changes[group]
            if change[1] <= now_ms:
                kind = wire.CHANGE_TO_EXCLUDE if group in self._groups else wire.CHANGE_TO_INCLUDE
                records.append((kind, group))
                change[0] -= 1
                change[1] = now_ms + 1 + self._random.u32() % UNSOLICITED_INTERVAL_MS
                if not change[0]:
                    del self._changes[group]
        self._rearm(now_ms)
        if now_ms < self._mld1_until_ms:
            for kind, group in records:
                self._report_mld1(kind, group)
            return
        for at in range(0, len(records), RECORDS_PER_REPORT):
            self._report(records[at : at + RECORDS_PER_REPORT])

    def _report(self, records):
        records = [record for record in records if self._is_told(record[1])]
        if not records:
            return
        frame = self._ethernet.alloc(_START + wire.HEADER_BYTES + len(records) * wire.RECORD_BYTES)
        if frame is None:
            return
        wire.emit_report(frame.buf, frame.start + _START, records)
        self._transmit(frame, wire_ipv6.ALL_MLDV2_ROUTERS)
        self.counters["OutMLDv2Reports"] += 1

    def _is_told(self, group):
        return group != wire_ipv6.ALL_NODES and wire_ipv6.scope(group) > wire_ipv6.SCOPE_INTERFACE

    def _report_mld1(self, kind, group):
        frame = self._ethernet.alloc(_START + wire.MLD1_BYTES) if self._is_told(group) else None
        if frame is None:
            return
        if kind == wire.CHANGE_TO_INCLUDE:
            wire.emit_mld1(frame.buf, frame.start + _START, wire.MLD1_DONE, group)
            self._transmit(frame, wire_ipv6.ALL_ROUTERS)
            self.counters["OutGroupMembReductions"] += 1
        else:
            wire.emit_mld1(frame.buf, frame.start + _START, wire.MLD1_REPORT, group)
            self._transmit(frame, group)
            self.counters["OutGroupMembResponses"] += 1

    def _transmit(self, frame, dst_ip):
        buf = frame.buf
        length = frame.length - _START
        # RFC 3810 section 5.2.13: from "::" as long as no address is known to be ours.
        src_ip = self.ipv6.addresses.link_local() or wire_ipv6.UNSPECIFIED
        pseudo = wire_ipv6.pseudo_sum(src_ip, dst_ip, wire_ipv6.PROTOCOL_ICMP6, length)
        total = frame.checksum(_START, length, pseudo) ^ 0xFFFF
        at = frame.start + _START
        buf[at + 2] = total >> 8
        buf[at + 3] = total & 255
        wire_ipv6.emit_router_alert(buf, frame.start + _ALERT_START, wire_ipv6.PROTOCOL_ICMP6)
        wire_ipv6.emit(buf, frame.start + 14, 8 + length, wire_ipv6.HOP_BY_HOP, 1, src_ip, dst_ip)
        self._ethernet.send(frame, wire_ipv6.multicast_mac(dst_ip), wire_ethernet.ETHERTYPE_IPV6)
