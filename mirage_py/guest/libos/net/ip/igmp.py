# SPDX-License-Identifier: MIT
"""IGMPv2, the host's side (RFC 2236): tells multicast routers which groups have a member here. No I/O, no clock.

The states are those of section 6: a group that is not in the table is a non-member, one with a deadline is delaying,
one without is idle. A router of version 1 is answered in version 1 (section 4), queries of version 3 as if they were of
version 2 (RFC 3376 section 7.2.1).
"""

from libos.net.timers import FAR_MS
from libos.net.transport import Transport
from libos.wire import ethernet as wire_ethernet
from libos.wire import igmp as wire
from libos.wire import ipv4 as wire_ipv4

MAX_GROUPS = 64
UNSOLICITED_INTERVAL_MS = 10000  # RFC 2236 section 8.10
REPORTS = 2  # unsolicited ones: the robustness variable, section 8.1
V1_ROUTER_MS = 400000  # section 8.11
V1_MAX_RESPONSE = 100  # section 4: the tenths of a second that a query of version 1 means


_IP_START = 14
_IP_BYTES = 24  # with the Router Alert option
_MESSAGE_START = _IP_START + _IP_BYTES


class Group:
    """A group that we are a member of. users: how often it was joined and not left."""

    def __init__(self, igmp, ip):
        self.igmp = igmp
        self.ip = ip
        self.users = 1
        self.is_last_reporter = False
        self.unsolicited = REPORTS  # reports to send without being asked
        self.deadline_ms = FAR_MS  # of the next report
        self.timer_at = FAR_MS
        self.timer_place = 0

    def on_timer(self, now_ms):
        self.igmp.report(self, now_ms)


class Igmp(Transport):
    """Membership in IPv4 multicast groups.

    ipv4: for our address. timers: net.timers.Timers. random: below(n).
    """

    def __init__(self, ipv4, timers, random):
        self.ipv4 = ipv4
        self.ethernet = ipv4.ethernet
        self.counters = {
            "InMsgs": 0,
            "InErrors": 0,
            "InCsumErrors": 0,
            "InQueries": 0,
            "InReports": 0,
            "InOthers": 0,
            "OutReports": 0,
            "OutLeaves": 0,
            "OutErrors": 0,
        }
        self.groups = {}
        self._timers = timers
        self._random = random
        self._v1_until_ms = 0
        timers.restorers.append(self._rearm)
        self.ethernet.join(wire_ipv4.multicast_mac(wire.ALL_SYSTEMS))
        self.ethernet.parts["igmp"] = self
        ipv4.register(wire_ipv4.PROTOCOL_IGMP, self)

    def is_member(self, ip):
        return ip in self.groups or ip == wire.ALL_SYSTEMS

    def join(self, ip):
        """Receives what is sent to a group, from now on. Once more for a group means to leave it once more.

        ip: 32-bit number. ValueError when it is no group, or there are too many.
        """
        if not wire_ipv4.is_multicast(ip):
            raise ValueError("not a multicast address: " + wire_ipv4.format_address(ip))
        group = self.groups.get(ip)
        if group is not None:
            group.users += 1
            return
        if ip == wire.ALL_SYSTEMS:
            return  # everybody is a member, and nobody says so (section 6)
        if len(self.groups) >= MAX_GROUPS:
            raise ValueError("more than %d multicast groups" % MAX_GROUPS)
        group = Group(self, ip)
        self.groups[ip] = group
        self.ethernet.join(wire_ipv4.multicast_mac(ip))
        # At once: the timer is due in the next poll, which has the time that we do not know here.
        self._schedule(group, 0)

    def leave(self, ip):
        """Takes back one `join`. KeyError when we are no member."""
        if ip == wire.ALL_SYSTEMS:
            return
        group = self.groups[ip]
        group.users -= 1
        if group.users:
            return
        del self.groups[ip]
        self._timers.cancel(group)
        self.ethernet.leave(wire_ipv4.multicast_mac(ip))
        if group.is_last_reporter and not self._v1_until_ms and self._send(wire.LEAVE, ip, wire.ALL_ROUTERS):
            self.counters["OutLeaves"] += 1

    def _schedule(self, group, deadline_ms):
        group.deadline_ms = deadline_ms
        self._timers.schedule(group, deadline_ms)

    def _rearm(self, _now_ms):
        for group in self.groups.values():
            if group.deadline_ms != FAR_MS:
                self._timers.schedule(group, group.deadline_ms)

    def report(self, group, now_ms):
        """The time of a group's report has come."""
        group.deadline_ms = FAR_MS
        if now_ms >= self._v1_until_ms:
            self._v1_until_ms = 0
        if self._send(wire.REPORT_V1 if self._v1_until_ms else wire.REPORT, group.ip, group.ip):
            self.counters["OutReports"] += 1
            group.is_last_reporter = True
        if group.unsolicited:
            group.unsolicited -= 1
            if group.unsolicited:
                self._schedule(group, now_ms + 1 + self._random.below(UNSOLICITED_INTERVAL_MS))

    def input(self, frame, packet, now_ms):
        """A received IGMP message."""
        counters = self.counters
        counters["InMsgs"] += 1
        start = packet.start
        message = wire.parse(frame.buf, frame.start + start, min(packet.length, frame.length - start))
        if message is None:
            counters["InErrors"] += 1
            return
        if frame.checksum(start, packet.length, 0) != 0xFFFF:
            counters["InErrors"] += 1
            counters["InCsumErrors"] += 1
            return
        kind, max_response, ip = message
        if kind == wire.QUERY:
            # A query goes to the group that it asks for, a general one to all (section 9).
            if packet.dst_ip != (ip or wire.ALL_SYSTEMS):
                counters["InErrors"] += 1
                return
            counters["InQueries"] += 1
            if not max_response:
                self._v1_until_ms = now_ms + V1_ROUTER_MS
                max_response = V1_MAX_RESPONSE
            self._asked(ip, max_response * 100, now_ms)
        elif kind == wire.REPORT or kind == wire.REPORT_V1:
            if packet.dst_ip != ip:
                counters["InErrors"] += 1
                return
            counters["InReports"] += 1
            self._reported(ip)
        else:
            counters["InOthers"] += 1

    def _asked(self, ip, max_response_ms, now_ms):
        for group in self.groups.values():
            if ip and group.ip != ip:
                continue
            # An earlier deadline stands: the router has its answer within the time either way.
            if group.deadline_ms > now_ms + max_response_ms:
                self._schedule(group, now_ms + 1 + self._random.below(max_response_ms))

    def _reported(self, ip):
        """Another member answered: one report of a group is enough."""
        group = self.groups.get(ip)
        if group is not None and group.deadline_ms != FAR_MS:
            group.deadline_ms = FAR_MS
            group.unsolicited = 0
            group.is_last_reporter = False
            self._timers.cancel(group)

    def _send(self, kind, group_ip, dst_ip):
        """A message with time to live 1 and Router Alert (section 2)."""
        dst_mac = wire_ipv4.multicast_mac(dst_ip)
        frame = self.ethernet.alloc(_MESSAGE_START + wire.MESSAGE_BYTES)
        if frame is None:
            self.counters["OutErrors"] += 1
            return False
        at = frame.start
        try:
            wire_ipv4.emit(
                frame.buf, at + _IP_START, _IP_BYTES + wire.MESSAGE_BYTES, 0, wire_ipv4.DONT_FRAGMENT, 1,
                wire_ipv4.PROTOCOL_IGMP, self.ipv4.ip, dst_ip, wire.ROUTER_ALERT,
            )  # fmt: skip
        except MemoryError:
            frame.release()
            raise
        wire.emit(frame.buf, at + _MESSAGE_START, kind, group_ip)
        self.ethernet.send(frame, dst_mac, wire_ethernet.ETHERTYPE_IPV4)
        return True
