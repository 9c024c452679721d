# SPDX-License-Identifier: MIT
"""DHCP client (RFC 2131, 2132, 3442). No I/O, no clock.

It finds a lease, keeps it, and says so: on_bound(lease, now_ms) for a new one and for one that was extended,
on_lost(reason, now_ms) when it must not be used any longer, on_silence(now_ms) when no server has answered for
SILENCE_MS, on_refused(why, now_ms) for an answer that was not taken. What the lease is good for is up to whoever
listens; the client itself sets no address.

The first message leaves at once and is repeated after about one, two, four … seconds: RFC 2131 section 4.1 would have
a delay at start and four seconds, so that a floor of computers does not ask in step after a power cut. A virtual
machine that boots in milliseconds is not one of those; what is repeated is randomised all the same.
"""

from libos.net.service.lease import read_lease
from libos.net.timers import FAR_MS
from libos.wire import dhcp as wire
from libos.wire import ipv4 as wire_ipv4
from libos.wire import udp as wire_udp

RETRY_MS = 1000  # doubled with every repetition
MAX_RETRY_MS = 64000  # RFC 2131 section 4.1
REQUEST_TRIES = 4  # for an offer; then any other will do
SILENCE_MS = 4000
DECLINED_MS = 10000  # RFC 2131 section 3.1: at least so long after a DECLINE
RENEW_RETRY_MS = 60000  # section 4.4.5; less for a lease that is short itself

STOPPED = 0
INIT = 1
SELECTING = 2
REQUESTING = 3
BOUND = 4
RENEWING = 5
REBINDING = 6

_PARAMETERS = bytes(
    (
        wire.OPTION_MASK,
        wire.OPTION_ROUTES,  # before the router (RFC 3442)
        wire.OPTION_ROUTER,
        wire.OPTION_DNS,
        wire.OPTION_MTU,
        wire.OPTION_LEASE_TIME,
        wire.OPTION_T1,
        wire.OPTION_T2,
        wire.OPTION_MS_ROUTES,
    )
)
# Answers from a server to us, both ports in one number.
_PORTS = wire.SERVER_PORT << 16 | wire.CLIENT_PORT


class Dhcp:
    """The client of one interface. ipv4: it sends by; udp: it listens by; hostname: what to call ourselves, or None.

    lease: the current Lease, or None. state: one of the numbers above.
    """

    def __init__(self, ipv4, udp, random, hostname=None):
        self.ipv4 = ipv4
        self.udp = udp
        self.random = random
        self.timers = ipv4.ethernet.timers
        self.timer_at = FAR_MS
        self.timer_place = 0
        self.state = STOPPED
        self.lease = None
        self.on_bound = None
        self.on_lost = None
        self.on_silence = None
        self.on_refused = None
        self.refusal = None  # why the last answer was not taken, since the search began
        self.counters = {
            "InMessages": 0,
            "InErrors": 0,  # malformed
            "InUnexpected": 0,  # another transaction's, another client's, or not to be expected now
            "InOtherServer": 0,
            "InRefused": 0,  # leases that make no sense
            "InNaks": 0,
            "OutMessages": 0,
            "OutErrors": 0,
            "Declined": 0,
            "Bound": 0,
            "Lost": 0,
        }
        self._mac = ipv4.ethernet.mac
        self._client_id = b"\x01" + self._mac  # RFC 2132 section 9.14
        self._hostname = hostname.encode() if hostname else None
        self._deadline_ms = FAR_MS
        self._xid = 0
        self._offer = None
        self._began_ms = None  # when the search began; None until its first message
        self._sent_ms = 0
        self._requested_ms = 0
        self._tries = 0
        self._failures = 0
        self._is_silence_told = False
        self._repeat_ms = 0
        self._renew_ms = self._rebind_ms = self._end_ms = FAR_MS
        self.timers.restorers.append(self._restore)
        ipv4.ethernet.parts["dhcp"] = self

    def start(self, now_ms=0):
        """Looks for a lease from now on. Nothing happens when it does already. ValueError when UDP port 68 is taken."""
        if self.state == STOPPED:
            self.udp.listen(wire.CLIENT_PORT, self._receive)
            self._is_silence_told = False
            self._restart(now_ms)

    def stop(self, now_ms):
        """Gives the lease back (RFC 2131 section 4.4.6) and forgets it. on_lost is not called."""
        if self.state == STOPPED:
            return
        lease = self.lease
        if lease is not None:
            self._new_xid()
            options = [self._kind(wire.RELEASE), self._server(lease.server_ip), self._client()]
            self._send(options, lease.ip, lease.server_ip, now_ms, is_configured=True)
        self.udp.unlisten(wire.CLIENT_PORT)
        self.timers.cancel(self)
        self.ipv4.expect_address(False)
        self.ipv4.expect_datagrams(0)
        self.state = STOPPED
        self.lease = None

    def _probe(self, ip):
        """Asks whether somebody has the address already, while the server is asked for it.

        RFC 5227 would have us wait for 4 to 7 seconds before the address is used. It is used at once, and asked about
        as long: whoever has it answers the first question before the server does, most often.
        """
        neighbours = self.ipv4.neighbours
        neighbours.cancel_probe(ip)
        try:
            neighbours.probe(ip, self._probed)
        except ValueError:
            return  # too many probes are under way
        neighbours.send_probe(ip)

    def _probed(self, ip, mac, now_ms):
        lease = self._offer if self.state == REQUESTING else self.lease
        if mac is not None and lease is not None and lease.ip == ip:
            self._decline(lease, now_ms)

    def _decline(self, lease, now_ms):
        """Somebody else has the address (RFC 2131 section 4.4.4): refuses it, and looks for another after a while."""
        self.counters["Declined"] += 1
        self._new_xid()
        options = [
            self._kind(wire.DECLINE),
            self._server(lease.server_ip),
            self._client(),
            (wire.OPTION_REQUESTED_ADDRESS, lease.ip.to_bytes(4, "big")),
        ]
        self._send(options, 0, wire_ipv4.LIMITED_BROADCAST, now_ms)
        self._offer = None
        self.ipv4.expect_address(False)
        self.ipv4.expect_datagrams(0)
        if self.lease is not None:
            self._lose("another host has it", now_ms)
        self._restart(now_ms, DECLINED_MS)

    def _restore(self, now_ms):
        """Arms the timer again after memory ran out."""
        if self.state != STOPPED and self.timer_at == FAR_MS:
            self._schedule(max(now_ms, self._deadline_ms))

    def _schedule(self, deadline_ms):
        self._deadline_ms = deadline_ms
        self.timers.schedule(self, deadline_ms)

    def on_timer(self, now_ms):
        """The deadline of the current state has come."""
        state = self.state
        if state == INIT:
            self._select(now_ms)
        elif state == SELECTING:
            self._wait_for_offers(now_ms)
        elif state == REQUESTING:
            if self._tries < REQUEST_TRIES:
                self._request(now_ms)
            else:
                self._fail(now_ms)
        elif state != STOPPED:
            self._extend(now_ms)

    # --- finding a lease ---

    def _restart(self, now_ms, delay_ms=0):
        self.state = INIT
        self.refusal = None
        self._began_ms = None
        self._schedule(now_ms + delay_ms)

    def _fail(self, now_ms):
        """An offer came to nothing. Servers that offer and refuse in turn are asked ever less often."""
        self._offer = None
        self.ipv4.expect_datagrams(0)
        self._failures = min(self._failures + 1, 7)
        self.state = INIT
        self._schedule(now_ms + self._jittered(min(RETRY_MS << self._failures, MAX_RETRY_MS)))

    def _select(self, now_ms):
        self.state = SELECTING
        self.ipv4.expect_address(not self._is_silence_told)
        # Servers answer to the address that they offer in spite of the broadcast flag (RFC 2131 section 4.1 lets them).
        self.ipv4.expect_datagrams(_PORTS)
        self._new_xid()
        self._tries = 0
        if self._began_ms is None:
            self._began_ms = now_ms
        self._repeat_ms = now_ms
        self._wait_for_offers(now_ms)

    def _wait_for_offers(self, now_ms):
        if now_ms >= self._repeat_ms:
            self._repeat_ms = now_ms + self._backoff()
            options = [self._kind(wire.DISCOVER)] + self._common()
            self._sent_ms = now_ms
            self._send(options, 0, wire_ipv4.LIMITED_BROADCAST, now_ms)
        silent_ms = self._began_ms + SILENCE_MS
        if self._is_silence_told:
            self._schedule(self._repeat_ms)
        elif now_ms < silent_ms:
            self._schedule(min(self._repeat_ms, silent_ms))
        else:
            self._is_silence_told = True
            self.ipv4.expect_address(False)
            self._schedule(self._repeat_ms)
            if self.on_silence is not None:
                self.on_silence(now_ms)

    def _request(self, now_ms):
        """Takes an offer (RFC 2131 section 4.3.2, "generated during SELECTING state")."""
        offer = self._offer
        if self._tries == 0:
            self._requested_ms = now_ms
        self._schedule(now_ms + self._backoff())
        options = [
            self._kind(wire.REQUEST_LEASE),
            self._server(offer.server_ip),
            (wire.OPTION_REQUESTED_ADDRESS, offer.ip.to_bytes(4, "big")),
        ] + self._common()
        self._send(options, 0, wire_ipv4.LIMITED_BROADCAST, now_ms)

    # --- keeping it ---

    def _bind(self, lease, requested_ms, now_ms):
        """The lease counts from when it was asked for (RFC 2131 section 4.4.1)."""
        self.state = BOUND
        self.lease = lease
        self._offer = None
        self._failures = 0
        self._is_silence_told = False
        self.refusal = None
        self.ipv4.expect_datagrams(0)
        if lease.duration_s == wire.INFINITE_S:
            self._renew_ms = self._rebind_ms = self._end_ms = FAR_MS
            self.timers.cancel(self)
            self._deadline_ms = FAR_MS
        else:
            renew_ms = lease.renew_s * 1000
            # Machines that booted together need not renew together.
            self._renew_ms = requested_ms + renew_ms - self.random.u32() % (renew_ms // 16 + 1)
            self._rebind_ms = requested_ms + lease.rebind_s * 1000
            self._end_ms = requested_ms + lease.duration_s * 1000
            self._schedule(self._renew_ms)
        self.counters["Bound"] += 1
        if self.on_bound is not None:
            self.on_bound(lease, now_ms)
        self.ipv4.receive_expected(now_ms)

    def _extend(self, now_ms):
        """RFC 2131 section 4.4.5: asks the server from T1 on, everybody from T2 on, and gives up at the end."""
        lease = self.lease
        if now_ms >= self._end_ms:
            self._lose("its lease ended", now_ms)
            self._restart(now_ms)
            return
        if now_ms < self._renew_ms:
            self._schedule(self._renew_ms)
            return
        is_rebinding = now_ms >= self._rebind_ms
        state = REBINDING if is_rebinding else RENEWING
        if state != self.state:
            self.state = state
            self._new_xid()
            self._requested_ms = now_ms
        until_ms = self._end_ms if is_rebinding else self._rebind_ms
        least_ms = min(RENEW_RETRY_MS, max(lease.duration_s * 1000 // 16, 1000))
        self._schedule(min(until_ms, now_ms + max((until_ms - now_ms) // 2, least_ms)))
        options = [self._kind(wire.REQUEST_LEASE)] + self._common()
        server_ip = wire_ipv4.LIMITED_BROADCAST if is_rebinding else lease.server_ip
        self._send(options, lease.ip, server_ip, now_ms, is_configured=True)

    def _lose(self, reason, now_ms):
        self.lease = None
        self.counters["Lost"] += 1
        self._renew_ms = self._rebind_ms = self._end_ms = FAR_MS
        if self.on_lost is not None:
            self.on_lost(reason, now_ms)

    # --- messages ---

    def _receive(self, data, _src_ip, src_port):
        self.input(data, src_port, self.udp.now_ms)

    def input(self, data, src_port, now_ms):
        """A datagram to port 68. Everything that is not the answer to our question is dropped and counted."""
        counters = self.counters
        counters["InMessages"] += 1
        message = wire.parse(data, 0, len(data)) if src_port == wire.SERVER_PORT else None
        kind = None if message is None else message.number(wire.OPTION_TYPE, 1)
        if kind is None:
            counters["InErrors"] += 1
            self.refusal = "a damaged message" if message is None else "no message type"
            return
        state = self.state
        wanted = (wire.OFFER,) if state == SELECTING else (wire.ACK, wire.NAK)
        if (
            message.op != wire.REPLY
            or message.xid != self._xid
            or message.chaddr != self._mac
            or state not in (SELECTING, REQUESTING, RENEWING, REBINDING)
            or kind not in wanted
        ):
            counters["InUnexpected"] += 1
            if message.op == wire.REPLY and message.chaddr == self._mac and message.xid != self._xid:
                self.refusal = "the number of another question"
            return
        server_ip = message.number(wire.OPTION_SERVER, 4)
        asked = self._offer if state == REQUESTING else self.lease if state == RENEWING else None
        if asked is not None and server_ip != asked.server_ip:
            counters["InOtherServer"] += 1
            self.refusal = "another server's" if server_ip else "no server identifier"
            return
        if kind == wire.NAK:
            self._refused(message.text(wire.OPTION_MESSAGE), now_ms)
            return
        expected = self._offer if state == REQUESTING else self.lease
        try:
            lease = read_lease(message)
            if expected is not None and lease.ip != expected.ip:
                raise ValueError("%s instead of what was offered" % wire_ipv4.format_address(lease.ip))
        except ValueError as error:
            counters["InRefused"] += 1
            self._refuse(server_ip, str(error), now_ms)
            return
        if state == SELECTING:
            self._offer = lease
            self._tries = 0
            self.state = REQUESTING
            self._probe(lease.ip)
            self._request(now_ms)
        else:
            self._bind(lease, self._requested_ms, now_ms)

    def _refuse(self, server_ip, why, now_ms):
        self.refusal = why if server_ip is None else "%s: %s" % (wire_ipv4.format_address(server_ip), why)
        if self.on_refused is not None:
            self.on_refused(self.refusal, now_ms)

    def _refused(self, text, now_ms):
        """The server says no. text: why, or empty."""
        self.counters["InNaks"] += 1
        why = ": " + text if text else ""
        if self.lease is not None:
            self._lose("the server took it back" + why, now_ms)
            self._restart(now_ms)
        else:
            self._refuse(self._offer.server_ip, "took its offer back" + why, now_ms)
            self._fail(now_ms)

    def _new_xid(self):
        self._xid = self.random.u32()

    def _backoff(self):
        """How long to wait after this try."""
        wait_ms = min(RETRY_MS << self._tries, MAX_RETRY_MS) if self._tries < 7 else MAX_RETRY_MS
        self._tries += 1
        return self._jittered(wait_ms)

    def _jittered(self, wait_ms):
        return wait_ms - wait_ms // 4 + self.random.u32() % (wait_ms // 2)

    def _kind(self, kind):
        return (wire.OPTION_TYPE, bytes((kind,)))

    def _server(self, server_ip):
        return (wire.OPTION_SERVER, server_ip.to_bytes(4, "big"))

    def _client(self):
        return (wire.OPTION_CLIENT_ID, self._client_id)

    def _common(self):
        """What belongs into every question."""
        size = min(self.ipv4.ethernet.mtu, wire.MAX_BYTES)
        options = [
            self._client(),
            (wire.OPTION_MAX_SIZE, size.to_bytes(2, "big")),
            (wire.OPTION_PARAMETERS, _PARAMETERS),
        ]
        if self._hostname:
            options.append((wire.OPTION_HOST_NAME, self._hostname))
        return options

    def _send(self, options, src_ip, dst_ip, now_ms, is_configured=False):
        """is_configured: src_ip is ours, and the answer may come to it; else it must be a broadcast."""
        if is_configured:
            secs, ciaddr, flags = 0, src_ip, 0
        else:
            # A REQUEST has the seconds of its DISCOVER (RFC 2131 section 4.3.2).
            secs, ciaddr, flags = min((self._sent_ms - self._began_ms) // 1000, 0xFFFF), 0, wire.BROADCAST
        data = wire.emit(wire.REQUEST, self._xid, secs, flags, ciaddr, 0, self._mac, options)
        ipv4 = self.ipv4
        datagram_len = wire_udp.HEADER_BYTES + len(data)
        frame = ipv4.alloc(datagram_len)
        if frame is None:
            self.counters["OutErrors"] += 1
            return
        start = ipv4.start
        frame.put(start + wire_udp.HEADER_BYTES, data, 0, len(data))
        initial = ipv4.pseudo_sum(src_ip, dst_ip, wire_ipv4.PROTOCOL_UDP, datagram_len)
        initial = (initial + wire.CLIENT_PORT + wire.SERVER_PORT + datagram_len) % 0xFFFF
        total = frame.checksum(start + wire_udp.HEADER_BYTES, len(data), initial)
        wire_udp.emit(
            frame.buf, frame.start + start, wire.CLIENT_PORT, wire.SERVER_PORT, datagram_len, total ^ 0xFFFF or 0xFFFF
        )
        if ipv4.send(frame, src_ip, dst_ip, wire_ipv4.PROTOCOL_UDP, now_ms):
            self.counters["OutMessages"] += 1
        else:
            self.counters["OutErrors"] += 1
