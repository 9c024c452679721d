# SPDX-License-Identifier: MIT
"""Names to addresses for an application, over either stack: `await dns.resolve("example.com")`.

The protocol is net.dns; here are its sockets: a UDP port of its own for every question, drawn at random (RFC 5452
section 9.2), and TCP where an answer does not fit a datagram.
"""

import asyncio
from errno import EAGAIN, EHOSTUNREACH, EIO, ENOENT, ETIMEDOUT
from time import ticks_add, ticks_ms

from libos.wire import dns as wire
from libos.wire import ipv4 as wire_ipv4
from libos.wire import ipv6 as wire_ipv6

from .flow import Alarm

MAX_LOOKUPS = 64  # at once
_CONNECT_TIMEOUT_MS = 30000
_FIRST_PORT = 32768
_PORT_TRIES = 16
_NAMING_MS = 6000  # DHCP gives up hope before that
_NAMING_STEP_MS = 50
_FAR_MS = 1 << 29  # a lookup ends by itself
# How long the addresses of one family are waited for once those of the other are there: IPv6's as RFC 8305 section 3
# has it; IPv4's longer, for they are what helps where IPv6 leads nowhere.
RESOLUTION_DELAY_MS = 50
_IPV4_DELAY_MS = 250
_UNSENT_MS = 20  # before another server is asked, when there is no buffer or no route to one

# net.dns says why by number: (errno, text) of each.
_FAILURES = (
    None,
    (EHOSTUNREACH, "no name server is known (give --resolver ADDRESS)"),
    (ETIMEDOUT, "no name server answers"),
    (EIO, "the name servers refuse"),
    (ENOENT, "there is no such name"),
    (ENOENT, "the name has no address"),
    (EIO, "its aliases lead on without end"),
)


class ResolveError(OSError):
    """A name that could not be resolved; str() says which and why."""

    def __str__(self):
        return self.args[1]


class DnsClient:
    """stack: app.stack.Stack or app.socket_stack.SocketStack; resolver: net.dns.Resolver; random: hal.random.Random.

    servers: whom to ask, as text; None: those of whom the network has told us. ValueError when one is no address.
    """

    def __init__(self, stack, resolver, random, servers=None):
        self.stack = stack
        self.resolver = resolver
        self._random = random
        # As the stack writes the address that an answer comes from.
        self._servers = None if servers is None else [canonical(server) for server in servers]
        self._count = 0
        stack.more_counters["dns"] = resolver.counters

    async def resolve(self, host):
        """The addresses of a host as text, IPv6 first; of a numeric address, that alone. Never an empty list.

        When those of one family are there, the others have a moment to come (RESOLUTION_DELAY_MS). Raises ResolveError,
        an OSError, when there are none; ValueError for what is no host name.
        """
        if is_numeric(host):
            return [host]
        families = self.stack.families()
        if len(families) == 1:
            return await self.addresses(host, families[0])
        wire.encode_name(host)  # ValueError: here, not in a task
        both = _Both(self, host)
        try:
            return await both.run()
        finally:
            both.end()

    async def connect(self, host, port, timeout_ms=_CONNECT_TIMEOUT_MS):
        """Connects to a name or an address: to its addresses one after the other. Returns a flow.

        timeout_ms: for each. Raises as resolve() and stack.tcp.connect() do. app.happy_eyeballs does not wait so long.
        """
        failure = None
        for address in await self.resolve(host):
            try:
                return await self.stack.tcp.connect(address, port, timeout_ms)
            except OSError as error:
                failure = error
        raise failure

    async def addresses(self, host, family):
        """The addresses of one family (4, 6) as text. Raises as resolve() does."""
        return await self._addresses(host, wire.AAAA if family == 6 else wire.A)

    async def reverse(self, ip):
        """The names of an address, from its PTR records. Raises as resolve() does; ValueError for no address."""
        name = wire.reverse_name(
            wire_ipv6.parse_address(ip) if ":" in ip else wire_ipv4.parse_address(ip).to_bytes(4, "big")
        )
        return [wire.decode_name(value) for value in await self._look_up(ip, name, wire.PTR)]

    async def _addresses(self, host, kind):
        return [address_text(value) for value in await self._look_up(host, wire.encode_name(host), kind)]

    async def _look_up(self, host, name, kind):
        if self._count >= MAX_LOOKUPS:
            raise ResolveError(EAGAIN, "%s: too many names are being looked up" % host)
        self._count += 1
        try:
            servers = self._servers
            if servers is None:
                servers = await self._known_servers()
            lookup = self.resolver.look_up(name, kind, servers, self.stack.loop.now_ms())
            while not lookup.is_done:
                if lookup.is_stream:
                    await self._by_stream(lookup)
                else:
                    await self._by_datagram(lookup)
        finally:
            self._count -= 1
        if lookup.failure is not None:
            number, text = _FAILURES[lookup.failure]
            raise ResolveError(number, "%s: %s" % (host, text))
        return lookup.values

    async def _known_servers(self):
        """Those that the network names; at the start it has not done so yet."""
        stack = self.stack
        await stack.wait_until_up(self.resolver.timeout_ms)
        servers = stack.resolvers()
        waited_ms = 0
        while not servers and not stack.is_settled() and waited_ms < _NAMING_MS:
            await asyncio.sleep_ms(_NAMING_STEP_MS)
            waited_ms += _NAMING_STEP_MS
            servers = stack.resolvers()
        return servers

    async def _by_datagram(self, lookup):
        """One question from a port of its own, until it is answered or its time is over."""
        loop = self.stack.loop
        alarm = Alarm()

        def receive(data, src_ip, src_port):
            if not alarm.is_woken and lookup.input(data, src_ip, src_port, loop.now_ms()):
                alarm.wake()

        port = self._open(receive)
        try:
            wait_ms = lookup.deadline_ms - loop.now_ms()
            if port is None or not self.stack.udp.write(lookup.packet, lookup.server, wire.PORT, port):
                wait_ms = _UNSENT_MS
            if not await alarm.sleep_until(ticks_add(ticks_ms(), max(wait_ms, 0))):
                lookup.on_timeout(loop.now_ms())
        finally:
            if port is not None:
                self.stack.udp.unlisten(port)

    def _open(self, receive):
        for _ in range(_PORT_TRIES):
            port = _FIRST_PORT + self._random.below(65536 - _FIRST_PORT)
            if self.stack.udp.open(port, receive):
                return port
        return None

    async def _by_stream(self, lookup):
        loop = self.stack.loop
        timeout_ms = max(lookup.deadline_ms - loop.now_ms(), 1)
        try:
            data = await asyncio.wait_for_ms(self._exchange(lookup.packet, lookup.server), timeout_ms)
        except (OSError, EOFError, asyncio.TimeoutError):
            data = None
        if data is None or not lookup.input(data, lookup.server, wire.PORT, loop.now_ms()):
            lookup.on_timeout(loop.now_ms())

    async def _exchange(self, packet, server):
        """RFC 7766: the length in two octets before each message."""
        flow = await self.stack.tcp.connect(server, wire.PORT)
        try:
            await flow.write(len(packet).to_bytes(2, "big") + packet)
            size = int.from_bytes(await _read_exactly(flow, 2), "big")
            return await _read_exactly(flow, size)
        finally:
            flow.abort()


class _Both:
    """One name, looked up in both families at once."""

    def __init__(self, dns, host):
        self._outcome = {}  # family -> addresses, or the exception in their place
        self._alarm = Alarm()
        self._tasks = [asyncio.create_task(self._look_up(dns, host, family)) for family in (6, 4)]

    async def _look_up(self, dns, host, family):
        try:
            self._outcome[family] = await dns.addresses(host, family)
        except Exception as error:
            self._outcome[family] = error
        self._alarm.wake()

    async def run(self):
        """Until both are there, or one is and the other has had its time."""
        outcome = self._outcome
        deadline_ms = _FAR_MS
        while len(outcome) < 2:
            self._alarm = Alarm()
            if not await self._alarm.sleep_until(ticks_add(ticks_ms(), deadline_ms)):
                break
            if isinstance(outcome.get(4), list):
                deadline_ms = RESOLUTION_DELAY_MS
            elif isinstance(outcome.get(6), list):
                deadline_ms = _IPV4_DELAY_MS
        found = []
        for family in (6, 4):
            if isinstance(outcome.get(family), list):
                found += outcome[family]
        if not found:
            # Neither has any: what IPv4 says counts.
            raise outcome[4]
        return found

    def end(self):
        """Nothing goes on behind the caller's back."""
        for task in self._tasks:
            if not task.done():
                task.cancel()


async def _read_exactly(flow, count):
    parts = []
    while count:
        data = await flow.read(count)
        if not data:
            raise EOFError
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def is_numeric(host):
    """True for an address of either family, as text."""
    if ":" in host:
        return True
    try:
        wire_ipv4.parse_address(host)
    except ValueError:
        return False
    return True


def canonical(ip):
    """An address as this library OS writes it: lower case, the longest run of zeros left out (RFC 5952)."""
    if ":" in ip:
        return wire_ipv6.format_address(wire_ipv6.parse_address(ip))
    return wire_ipv4.format_address(wire_ipv4.parse_address(ip))


def address_text(value):
    """The text of an address of 4 or 16 octets."""
    if len(value) == 4:
        return wire_ipv4.format_address(int.from_bytes(value, "big"))
    return wire_ipv6.format_address(value)
