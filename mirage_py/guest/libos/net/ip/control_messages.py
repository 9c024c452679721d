# SPDX-License-Identifier: MIT
"""What ICMP (RFC 792) and ICMPv6 (RFC 4443) have in common: their header, echo requests both ways, and how many errors
are sent. No I/O, no clock.
"""

from libos.net import errors
from libos.net.timers import FAR_MS
from libos.net.transport import Transport
from libos.wire import checksum as wire_checksum
from libos.wire import icmp as wire

# Errors that we send, and answers to groups: a bucket, so that a flood is not answered by a flood (RFC 1812 section
# 4.3.2.8, RFC 4443 section 2.4 f).
ERRORS_BURST = 20
ERRORS_PER_SECOND = 20

MAX_PINGS = 16
PING_TIMEOUT_MS = 1000


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
        self.timer_place = 0

    def on_timer(self, now_ms):
        self.icmp.end_ping(self, None)


class ControlMessages(Transport):
    """Base of Icmp and Icmp6, over one IP layer `ip`. counters: the subclass's own.

    Errors go to the protocol of the packet that they are about (net.transport). A subclass has protocol_number,
    echo_request and echo_reply (types), max_echo_bytes (what fits a packet), out_echo_replies (the counter's name), and

    _pseudo_sum(src_ip, dst_ip, length)     what the checksum covers besides the message
    """

    def __init__(self, ip, counters):
        self.ip = ip
        self.counters = counters
        self._pings = {}
        self._random = ip.random
        self._timers = ip.ethernet.timers
        self._timers.restorers.append(self._rearm)
        self._tokens = ERRORS_BURST
        self._refilled_ms = None
        ip.register(self.protocol_number, self)
        ip.icmp = self

    def _parse(self, frame, packet):
        """(type, code, rest) of a received message; None, counted, when it is too short or its checksum is wrong."""
        counters = self.counters
        counters["InMsgs"] += 1
        start = packet.start
        length = packet.length
        header = wire.parse(frame.buf, frame.start + start, min(length, frame.length - start))
        if header is None:
            counters["InErrors"] += 1
            return None
        if frame.checksum(start, length, self._pseudo_sum(packet.src_ip, packet.dst_ip, length)) != 0xFFFF:
            counters["InErrors"] += 1
            counters["InCsumErrors"] += 1
            return None
        return header

    def _data(self, frame, packet):
        """What is behind the header of a received message: an echo's data, the packet that an error is about."""
        return frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES)

    def _reply(self, frame, packet, rest, src_ip, now_ms):
        """Answers an echo request."""
        data = self._data(frame, packet)
        if self._send(self.echo_reply, 0, rest, data, src_ip, packet.src_ip, now_ms):
            self.counters[self.out_echo_replies] += 1

    def _send(self, kind, code, rest, data, src_ip, dst_ip, now_ms):
        """A message of any size. False when it could not be sent."""
        ip = self.ip
        length = wire.HEADER_BYTES + len(data)
        pseudo = self._pseudo_sum(src_ip, dst_ip, length)
        if ip.header_bytes + length > ip.path_mtu(dst_ip):
            header = bytearray(wire.HEADER_BYTES)
            wire.emit(header, 0, kind, code, rest)
            total = pseudo + (kind << 8 | code) + rest + wire_checksum.total(data, 0, len(data))
            _put_checksum(header, 0, wire_checksum.fold(total))
            is_sent = ip.send_large(header, data, src_ip, dst_ip, self.protocol_number, now_ms)
        else:
            message = ip.alloc(length)
            if message is None:
                self.counters["OutErrors"] += 1
                return False
            start = ip.start
            wire.emit(message.buf, message.start + start, kind, code, rest)
            message.put(start + wire.HEADER_BYTES, data, 0, len(data))
            _put_checksum(message.buf, message.start + start, message.checksum(start, length, pseudo))
            is_sent = ip.send(message, src_ip, dst_ip, self.protocol_number, now_ms)
        if not is_sent:
            self._refused()
        return is_sent

    def _refused(self):
        """The IP layer did not take a message, and has counted that (RFC 4293: not among OutErrors)."""

    # --- asking others ---

    def ping(self, ip, on_result, now_ms, size=56, timeout_ms=PING_TIMEOUT_MS):
        """Sends an echo request to "10.0.0.1" or "fd00::1", with `size` octets of data.

        on_result(rtt_ms): how long the answer took, or None when there was none in time. Returns False, and calls
        nothing, when the request could not be sent. ValueError when `ip` or the size is none, or too many are under
        way.
        """
        dst_ip = self.ip.parse_address(ip)
        if not 0 <= size <= self.max_echo_bytes:
            raise ValueError("not a size of an echo request: %d" % size)
        if len(self._pings) >= MAX_PINGS:
            raise ValueError("more than %d echo requests" % MAX_PINGS)
        src_ip = self.ip.source_for(dst_ip)
        if src_ip is None:
            return False
        number = self._random.u32()
        while number in self._pings:
            number = self._random.u32()
        data = number.to_bytes(4, "big") * ((size + 3) >> 2)
        ping = Ping(self, number, dst_ip, on_result, data[:size], now_ms)
        if not self._send(self.echo_request, 0, number, ping.data, src_ip, dst_ip, now_ms):
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
        if self._data(frame, packet) == ping.data:
            self.end_ping(ping, now_ms - ping.sent_ms)

    def input_error(self, ip, src_ip, dst_ip, quoted, error, mtu, now_ms):
        """An error about an echo request of ours; about another message there is nothing to do."""
        kind, _code, number = wire.parse(quoted, 0, len(quoted))
        ping = self._pings.get(number)
        if kind != self.echo_request or ping is None or ping.dst_ip != dst_ip:
            self.counters["InImplausible"] += 1
        elif error == errors.TOO_BIG:
            ip.lower_path_mtu(dst_ip, mtu, now_ms)
        else:
            self.end_ping(ping, None)

    # --- errors ---

    def _may_send(self, now_ms):
        """Takes one from the bucket."""
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


def _put_checksum(buf, start, total):
    total ^= 0xFFFF
    buf[start + 2] = total >> 8
    buf[start + 3] = total & 255
