# SPDX-License-Identifier: MIT
"""ICMP for IPv4 (RFC 792; RFC 1122 section 3.2.2): answers echo requests, sends some, reports and delivers errors.

Redirects are ignored: on a network where a router has to send them, a route can be configured; elsewhere they are an
attack (RFC 6274 section 4.2). So are source quench (RFC 6633), timestamps and the rest.
"""

from libos.net import errors
from libos.net.pmtu import plateau_below
from libos.net.timers import FAR_MS
from libos.net.transport import Transport
from libos.wire import checksum as wire_checksum
from libos.wire import icmp as wire
from libos.wire import ipv4 as wire_ipv4

# Errors that we send: a bucket, so that a flood is not answered by a flood (RFC 1812 section 4.3.2.8).
ERRORS_BURST = 20
ERRORS_PER_SECOND = 20
# How much of the offending packet an error carries beyond its IP header: the ports, and for people a bit more.
QUOTED_BYTES = 28

MAX_PINGS = 16
PING_TIMEOUT_MS = 1000

_START = 34  # of our header in a frame to send


class Ping:
    """An echo request that waits for its answer."""

    def __init__(self, icmp, number, dst_ip, on_result, data, now_ms):
        self.icmp = icmp
        self.number = number  # identifier and sequence number
        self.dst_ip = dst_ip
        self.on_result = on_result
        self.data = data
        self.sent_ms = now_ms
        self.deadline_ms = 0
        self.timer_at = FAR_MS
        self.timer_serial = 0

    def on_timer(self, now_ms):
        self.icmp.end_ping(self, None)


class Icmp(Transport):
    """ICMP over one Ipv4. Errors go to the protocol of the packet that they are about (net.transport)."""

    def __init__(self, ipv4):
        self.ipv4 = ipv4
        self.counters = {
            "InMsgs": 0,  # RFC 4293 / Linux names from here
            "InErrors": 0,
            "InCsumErrors": 0,
            "InEchos": 0,
            "InEchoReps": 0,
            "InDestUnreachs": 0,
            "InTimeExcds": 0,
            "InParmProbs": 0,
            "InSrcQuenchs": 0,
            "InRedirects": 0,
            "InTimestamps": 0,
            "InOthers": 0,
            "InImplausible": 0,
            "OutEchos": 0,
            "OutEchoReps": 0,
            "OutDestUnreachs": 0,
            "OutTimeExcds": 0,
            "OutRateLimited": 0,
            "OutErrors": 0,
        }
        self._pings = {}
        self._random = ipv4.random
        self._timers = ipv4.ethernet.timers
        self._timers.restorers.append(self._rearm)
        self._tokens = ERRORS_BURST
        self._refilled_ms = None
        ipv4.register(wire_ipv4.PROTOCOL_ICMP, self)
        ipv4.icmp = self
        ipv4.ethernet.parts["icmp"] = self

    def input(self, frame, packet, now_ms):
        """A received ICMP message."""
        counters = self.counters
        counters["InMsgs"] += 1
        start = packet.start
        header = wire.parse(frame.buf, frame.start + start, min(packet.length, frame.length - start))
        if header is None:
            counters["InErrors"] += 1
            return
        if frame.checksum(start, packet.length, 0) != 0xFFFF:
            counters["InErrors"] += 1
            counters["InCsumErrors"] += 1
            return
        kind, code, rest = header
        if kind == wire.ECHO_REQUEST:
            counters["InEchos"] += 1
            if not packet.is_broadcast:  # RFC 1122 section 3.2.2.6 allows silence; answering helps smurfs only
                self._reply(frame, packet, rest, now_ms)
        elif kind == wire.ECHO_REPLY:
            counters["InEchoReps"] += 1
            self._answered(frame, packet, rest, now_ms)
        elif kind in _IGNORED:
            counters[_IGNORED[kind]] += 1
        elif wire.is_error(kind):
            counters[_ERRORS[kind]] += 1
            self._deliver_error(frame, packet, kind, code, rest, now_ms)
        else:
            counters["InOthers"] += 1

    def _reply(self, frame, packet, rest, now_ms):
        data = frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES)
        if self._send(wire.ECHO_REPLY, 0, rest, data, packet.dst_ip, packet.src_ip, now_ms):
            self.counters["OutEchoReps"] += 1

    def _send(self, kind, code, rest, data, src_ip, dst_ip, now_ms):
        """A message of any size. False, and counted, when it could not be sent."""
        ipv4 = self.ipv4
        length = wire.HEADER_BYTES + len(data)
        if ipv4.header_bytes + length > ipv4.path_mtu(dst_ip):
            header = bytearray(wire.HEADER_BYTES)
            wire.emit(header, 0, kind, code, rest)
            total = wire_checksum.fold(wire_checksum.total(data, 0, len(data)) + (kind << 8 | code) + rest) ^ 0xFFFF
            header[2] = total >> 8
            header[3] = total & 255
            is_sent = ipv4.send_large(header, data, src_ip, dst_ip, wire_ipv4.PROTOCOL_ICMP, now_ms)
        else:
            message = ipv4.alloc(length)
            is_sent = message is not None
            if is_sent:
                at = message.start + _START
                wire.emit(message.buf, at, kind, code, rest)
                message.put(_START + wire.HEADER_BYTES, data, 0, len(data))
                total = message.checksum(_START, length, 0) ^ 0xFFFF
                message.buf[at + 2] = total >> 8
                message.buf[at + 3] = total & 255
                is_sent = ipv4.send(message, src_ip, dst_ip, wire_ipv4.PROTOCOL_ICMP, now_ms)
        if not is_sent:
            self.counters["OutErrors"] += 1
        return is_sent

    # --- asking others ---

    def ping(self, ip, on_result, now_ms, size=56, timeout_ms=PING_TIMEOUT_MS):
        """Sends an echo request to "10.0.0.1", with `size` octets of data.

        on_result(rtt_ms): how long the answer took, or None when there was none in time. Returns False, and calls
        nothing, when the request could not be sent. ValueError when `ip` or the size is none, or too many are under
        way.
        """
        dst_ip = wire_ipv4.parse_address(ip)
        if not 0 <= size <= 65507:
            raise ValueError("not a size of an echo request: %d" % size)
        if len(self._pings) >= MAX_PINGS:
            raise ValueError("more than %d echo requests" % MAX_PINGS)
        src_ip = self.ipv4.source_for(dst_ip)
        if src_ip is None:
            return False
        number = self._random.u32()
        while number in self._pings:
            number = self._random.u32()
        data = number.to_bytes(4, "big") * ((size + 3) >> 2)
        ping = Ping(self, number, dst_ip, on_result, data[:size], now_ms)
        if not self._send(wire.ECHO_REQUEST, 0, number, ping.data, src_ip, dst_ip, now_ms):
            return False
        self.counters["OutEchos"] += 1
        self._pings[number] = ping
        ping.deadline_ms = now_ms + timeout_ms
        self._timers.schedule(ping, ping.deadline_ms)
        return True

    def _rearm(self, _now_ms):
        for ping in self._pings.values():
            self._timers.schedule(ping, ping.deadline_ms)

    def end_ping(self, ping, rtt_ms):
        """An echo request is answered, or will not be."""
        self._timers.cancel(ping)
        del self._pings[ping.number]
        ping.on_result(rtt_ms)

    def _answered(self, frame, packet, number, now_ms):
        ping = self._pings.get(number)
        if ping is None or ping.dst_ip != packet.src_ip or packet.is_broadcast:
            return
        if frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES) == ping.data:
            self.end_ping(ping, now_ms - ping.sent_ms)

    def input_error(self, ip, src_ip, dst_ip, quoted, error, mtu, now_ms):
        """An error about an echo request of ours; about another ICMP message there is nothing to do."""
        kind, _code, number = wire.parse(quoted, 0, len(quoted))
        ping = self._pings.get(number)
        if kind != wire.ECHO_REQUEST or ping is None or ping.dst_ip != dst_ip:
            self.counters["InImplausible"] += 1
        elif error == errors.TOO_BIG:
            ip.lower_path_mtu(dst_ip, mtu, now_ms)
        else:
            self.end_ping(ping, None)

    # --- errors ---

    def _deliver_error(self, frame, packet, kind, code, rest, now_ms):
        """The quoted packet must be one that we sent; the transport then looks whether it knows it."""
        quoted = frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES)
        if len(quoted) < wire_ipv4.HEADER_BYTES + 8 or quoted[0] >> 4 != 4:
            self.counters["InErrors"] += 1
            return
        header_len = (quoted[0] & 15) << 2
        if not wire_ipv4.HEADER_BYTES <= header_len <= len(quoted) - 8:
            self.counters["InErrors"] += 1
            return
        if (quoted[6] << 8 | quoted[7]) & wire_ipv4.OFFSET_MASK:
            self.counters["InImplausible"] += 1  # no ports in it: nobody can tell whether it was ours
            return
        src_ip = int.from_bytes(quoted[12:16], "big")
        dst_ip = int.from_bytes(quoted[16:20], "big")
        protocol = self.ipv4.protocol(quoted[9])
        if not self.ipv4.is_ours(src_ip) or packet.is_broadcast or protocol is None:
            self.counters["InImplausible"] += 1
            return
        mtu = 0
        error = _error(kind, code)
        if error == errors.TOO_BIG:
            total_len = quoted[2] << 8 | quoted[3]
            mtu = rest & 0xFFFF or plateau_below(total_len)
            if mtu >= total_len:
                self.counters["InImplausible"] += 1  # it would have fitted
                return
        protocol.input_error(self.ipv4, src_ip, dst_ip, quoted[header_len:], error, mtu, now_ms)

    def port_unreachable(self, frame, packet, now_ms):
        """Answers a datagram that no port takes."""
        self._unreachable(wire.PORT_UNREACHABLE, frame, packet, now_ms)

    def protocol_unreachable(self, frame, packet, now_ms):
        """Answers a packet of a protocol that nobody registered."""
        self._unreachable(wire.PROTOCOL_UNREACHABLE, frame, packet, now_ms)

    def reassembly_time_exceeded(self, frame, packet, now_ms):
        """Tells the sender of a datagram that not all fragments of it came."""
        if self._report(wire.TIME_EXCEEDED, wire.REASSEMBLY_TIME_EXCEEDED, frame, packet, now_ms):
            self.counters["OutTimeExcds"] += 1

    def _unreachable(self, code, frame, packet, now_ms):
        if self._report(wire.DESTINATION_UNREACHABLE, code, frame, packet, now_ms):
            self.counters["OutDestUnreachs"] += 1

    def _report(self, kind, code, frame, packet, now_ms):
        # RFC 1122 section 3.2.2: never about a broadcast, in an Ethernet frame to a group or in an IP address, and
        # never about an error.
        if packet.is_broadcast or not packet.src_ip:
            return False
        if packet.protocol == wire_ipv4.PROTOCOL_ICMP and wire.is_error(frame.buf[frame.start + packet.start]):
            return False
        if not self._may_send_error(now_ms):
            self.counters["OutRateLimited"] += 1
            return False
        quoted_len = min(packet.header_len + packet.length, packet.header_len + QUOTED_BYTES)
        quoted = frame.take(packet.start - packet.header_len, quoted_len)
        return self._send(kind, code, 0, quoted, packet.dst_ip, packet.src_ip, now_ms)

    def _may_send_error(self, now_ms):
        if self._refilled_ms is None:
            self._refilled_ms = now_ms
        earned = (now_ms - self._refilled_ms) * ERRORS_PER_SECOND // 1000
        if earned:
            self._tokens = min(ERRORS_BURST, self._tokens + earned)
            self._refilled_ms = now_ms
        if not self._tokens:
            return False
        self._tokens -= 1
        return True


_ERRORS = {
    wire.DESTINATION_UNREACHABLE: "InDestUnreachs",
    wire.TIME_EXCEEDED: "InTimeExcds",
    wire.PARAMETER_PROBLEM: "InParmProbs",
}
_IGNORED = {
    wire.SOURCE_QUENCH: "InSrcQuenchs",
    wire.REDIRECT: "InRedirects",
    wire.TIMESTAMP_REQUEST: "InTimestamps",
    wire.TIMESTAMP_REPLY: "InTimestamps",
}
_UNREACHABLE = {
    wire.PROTOCOL_UNREACHABLE: errors.UNREACHABLE_PROTOCOL,
    wire.PORT_UNREACHABLE: errors.UNREACHABLE_PORT,
    wire.FRAGMENTATION_NEEDED: errors.TOO_BIG,
}


def _error(kind, code):
    """The neutral form of type and code."""
    if kind == wire.DESTINATION_UNREACHABLE:
        return _UNREACHABLE.get(code, errors.UNREACHABLE_HOST)
    return errors.TIME_EXCEEDED if kind == wire.TIME_EXCEEDED else errors.OTHER
