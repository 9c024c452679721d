# SPDX-License-Identifier: MIT
"""A stub resolver (RFC 1034 section 5.3.1): asks recursive servers, believes only their answers. No I/O, no clock.

A `Lookup` says what to send, to whom, and until when to wait; whoever has a network does that, gives it what comes
back, and tells it the time:

    lookup = resolver.look_up(name, wire.A, ["10.0.2.3"], now_ms)
    while not lookup.is_done:
        send lookup.packet to (lookup.server, 53), from a port of its own: by TCP if lookup.is_stream
        lookup.input(data, src_ip, src_port, now_ms) for what comes, until it returns True, or
        lookup.on_timeout(now_ms) when lookup.deadline_ms has come
    lookup.values, lookup.failure

What makes an answer credible (RFC 5452): it comes from the server and port asked, to a port drawn for this question,
with an identifier drawn for it, and repeats the question. Of the records, only those are taken that the question leads
to, by way of CNAMEs: nothing else in a message gets into the cache.
"""

from libos.wire import dns as wire

MAX_SERVERS = 3
TIMEOUTS_MS = (1000, 2000, 4000)  # for each server in turn, round by round
STREAM_TIMEOUT_MS = 5000
LOOKUP_MS = 15000  # for all of it
MAX_SILENT = 8  # servers of which is known that they do not answer
MAX_LINKS = 8  # CNAMEs that are followed
MAX_VALUES = 16
MAX_WRONG = 8  # answers that do not fit, from the right place: somebody guesses; TCP cannot be guessed into
MAX_CACHED = 256
MAX_TTL_S = 86400
# RFC 2308 section 5 would have us forget at once, lest servers that ask each other keep such an answer alive for ever.
# Nobody asks us; and a dnsmasq says so of each name in /etc/hosts that has no IPv6 address.
BARE_NEGATIVE_TTL_S = 5
MAX_NEGATIVE_TTL_S = 300  # RFC 2308 section 5 allows hours; a name that has just been made should be found

# Why a lookup found nothing.
NO_SERVER = 1  # none is known
SILENCE = 2  # none answered
REFUSED = 3  # none could, or wanted to
NO_SUCH_NAME = 4
NO_DATA = 5  # the name exists, without records of this type
BAD_CHAIN = 6  # CNAMEs that lead on and on


class Resolver:
    """What lookups share: the cache, and counters. random: hal.random.Random. timeout_ms: of a lookup in all."""

    timeout_ms = LOOKUP_MS

    def __init__(self, random):
        self.random = random
        self.counters = {
            "Lookups": 0,
            "CacheHits": 0,
            "OutQueries": 0,
            "OutStreams": 0,
            "InAnswers": 0,
            "InErrors": 0,  # damaged
            "InWrongSource": 0,
            "InWrongQuestion": 0,  # the identifier or the question is another
            "Timeouts": 0,
            "Failures": 0,
        }
        self._silent = []  # servers that did not answer when they were asked last, the first of them first
        self._cache = {}  # (name, type) -> (until_ms, values, failure)

    def look_up(self, name, kind, servers, now_ms):
        """A Lookup of the records of type `kind` that `name` (as wire.encode_name returns it) has.

        servers: texts; the first MAX_SERVERS are asked, those last that were silent the last time. It may be done
        already: from the cache, or for want of servers.
        """
        self.counters["Lookups"] += 1
        lookup = Lookup(self, name, kind, self._in_turn(servers[:MAX_SERVERS]), now_ms)
        known = self._cache.get((name, kind))
        if known is not None and now_ms < known[0]:
            self.counters["CacheHits"] += 1
            lookup.finish(known[1], known[2])
        elif not servers:
            lookup.finish((), NO_SERVER)
        else:
            lookup.ask(now_ms)
        return lookup

    def _in_turn(self, servers):
        silent = [server for server in self._silent if server in servers]
        return [server for server in servers if server not in silent] + silent

    def note(self, server, is_silent):
        """Whether a server has answered: who waits for it once need not do so every time."""
        if server in self._silent:
            self._silent.remove(server)
        if is_silent:
            self._silent = self._silent[1 - MAX_SILENT :] + [server]

    def keep(self, name, kind, values, failure, ttl_s, now_ms):
        """Puts an answer into the cache."""
        if ttl_s <= 0:
            return
        cache = self._cache
        if len(cache) >= MAX_CACHED and (name, kind) not in cache:
            self._make_room(now_ms)
        cache[name, kind] = (now_ms + ttl_s * 1000, values, failure)

    def _make_room(self, now_ms):
        """What has run out goes; otherwise what runs out first."""
        cache = self._cache
        for key in [key for key, entry in cache.items() if entry[0] <= now_ms]:
            del cache[key]
        if len(cache) >= MAX_CACHED:
            first = None
            for key, entry in cache.items():
                if first is None or entry[0] < cache[first][0]:
                    first = key
            del cache[first]

    def flush(self):
        """Forgets all answers: the network is another one."""
        self._cache.clear()

    def __len__(self):
        return len(self._cache)


class Lookup:
    """One question, until it is answered. See the module's text.

    server, packet, is_stream, deadline_ms: what to do now. is_done; values: a tuple of addresses (4 or 16 octets), or
    of names with PTR; failure: None, or why there are none, one of the numbers above.
    """

    def __init__(self, resolver, name, kind, servers, now_ms):
        self.name = name
        self.kind = kind
        self.server = None
        self.packet = None
        self.is_stream = False
        self.deadline_ms = now_ms
        self.is_done = False
        self.values = ()
        self.failure = None
        self._resolver = resolver
        self._servers = servers
        self._end_ms = now_ms + LOOKUP_MS
        self._asked = name  # `name`, or what its CNAMEs have led to
        self._ttl_s = MAX_TTL_S
        self._links = 0
        self._try = 0
        self._ident = 0
        self._wrong = 0
        self._is_extended = True
        self._was_refused = False

    def ask(self, now_ms):
        """The next packet: to the server whose turn it is, with an identifier of its own."""
        counters = self._resolver.counters
        self.server = self._servers[self._try % len(self._servers)]
        self._ident = self._resolver.random.u32() & 0xFFFF
        self._wrong = 0
        self.packet = wire.emit_query(self._ident, self._asked, self.kind, self._is_extended)
        if self.is_stream:
            counters["OutStreams"] += 1
            timeout_ms = STREAM_TIMEOUT_MS
        else:
            counters["OutQueries"] += 1
            timeout_ms = TIMEOUTS_MS[self._try // len(self._servers)]
        self.deadline_ms = min(now_ms + timeout_ms, self._end_ms)

    def finish(self, values, failure):
        """The end of it."""
        self.is_done = True
        self.values = values
        self.failure = failure
        self.packet = None
        if failure is not None:
            self._resolver.counters["Failures"] += 1

    def on_timeout(self, now_ms):
        """Nothing credible came in time, or nothing could be sent: the next server, the next round, or the end."""
        self._resolver.counters["Timeouts"] += 1
        self._resolver.note(self.server, True)
        self._next(now_ms)

    def _next(self, now_ms):
        self.is_stream = False
        self._is_extended = True
        self._try += 1
        if self._try >= len(TIMEOUTS_MS) * len(self._servers) or now_ms >= self._end_ms:
            self.finish((), REFUSED if self._was_refused else SILENCE)
        else:
            self.ask(now_ms)

    def input(self, data, src_ip, src_port, now_ms):
        """A datagram, or a message of the stream, that came. True when it changed something: look again what to do."""
        counters = self._resolver.counters
        if src_ip != self.server or src_port != wire.PORT:
            counters["InWrongSource"] += 1
            return False
        response = wire.parse(data, 0, len(data))
        if response is None:
            counters["InErrors"] += 1
            return self._is_suspicious(now_ms)
        if response.ident != self._ident or response.name != self._asked or response.kind != self.kind:
            counters["InWrongQuestion"] += 1
            return self._is_suspicious(now_ms)
        counters["InAnswers"] += 1
        self._resolver.note(src_ip, False)
        if response.is_truncated:
            if self.is_stream:
                self._next(now_ms)
            else:
                self.is_stream = True
                self.ask(now_ms)
        elif response.code == wire.NO_ERROR or response.code == wire.NO_SUCH_NAME:
            self._accept(response, now_ms)
        elif response.code == wire.FORMAT_ERROR and self._is_extended:
            self._is_extended = False  # RFC 6891 section 6.2.2
            self.ask(now_ms)
        else:
            self._was_refused = True
            self._next(now_ms)
        return True

    def _is_suspicious(self, now_ms):
        self._wrong += 1
        if self._wrong < MAX_WRONG or self.is_stream:
            return False
        self.is_stream = True
        self.ask(now_ms)
        return True

    def _accept(self, response, now_ms):
        """Follows the chain from the question through the answer."""
        name = self._asked
        while True:
            target = None
            for owner, kind, ttl_s, value in response.answers:
                if owner == name and kind == wire.CNAME and self.kind != wire.CNAME:
                    target = value
                    self._ttl_s = min(self._ttl_s, ttl_s)
                    break
            if target is None:
                break
            self._links += 1
            if self._links > MAX_LINKS:
                self.finish((), BAD_CHAIN)
                return
            name = target
        values = []
        for owner, kind, ttl_s, value in response.answers:
            if owner == name and kind == self.kind and value not in values and len(values) < MAX_VALUES:
                values.append(value)
                self._ttl_s = min(self._ttl_s, ttl_s)
        if values:
            self._conclude(tuple(values), None, self._ttl_s, now_ms)
        elif response.code == wire.NO_SUCH_NAME:
            self._conclude((), NO_SUCH_NAME, self._negative_ttl_s(response, name), now_ms)
        elif name == self._asked or response.negative_ttl_s is not None:
            self._conclude((), NO_DATA, self._negative_ttl_s(response, name), now_ms)
        else:
            # The server knew where the name leads, and not what is there.
            self._asked = name
            self.ask(now_ms)

    def _negative_ttl_s(self, response, name):
        """How long to remember; not at all when the record that says so belongs to somebody else's zone."""
        if response.negative_ttl_s is None:
            return min(BARE_NEGATIVE_TTL_S, self._ttl_s)
        if not _is_under(name, response.negative_zone):
            return 0
        return min(response.negative_ttl_s, self._ttl_s, MAX_NEGATIVE_TTL_S)

    def _conclude(self, values, failure, ttl_s, now_ms):
        self._resolver.keep(self.name, self.kind, values, failure, ttl_s, now_ms)
        self.finish(values, failure)


def _is_under(name, zone):
    """Whether a name is in a zone, which is the same or a suffix of whole labels."""
    at = 0
    while True:
        if name[at:] == zone:
            return True
        if not name[at]:
            return False
        at += 1 + name[at]
