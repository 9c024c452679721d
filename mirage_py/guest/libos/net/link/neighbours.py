# SPDX-License-Identifier: MIT
"""The neighbour table of an Ethernet interface: what ARP and Neighbour Discovery have in common. No I/O, no clock.

The states are those of RFC 4861 section 7.3.2, which suit ARP as well. How a neighbour is asked, and who is believed,
is the subclass's.
"""

from libos.net.timers import FAR_MS

# Bounds. A /24 with every host talking fits; a scan of the network from one host does not grow it.
MAX_ENTRIES = 256
MAX_RESOLVING = 32
MAX_PENDING_PER_ENTRY = 4
MAX_PENDING = 32  # of all tables of an interface

RETRANS_MS = 1000  # RFC 4861 section 10; RFC 1122 section 2.3.2.1: at most one request a second for one destination
TRIES = 3  # MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT
DELAY_FIRST_PROBE_MS = 5000
STALE_MS = 600000  # after that long without use an entry goes
FAILED_MS = 3000  # how long silence is remembered, so that a busy sender does not flood

# How an entry stands (FAILED is ours).
INCOMPLETE = 1  # no MAC yet; frames wait
REACHABLE = 2
STALE = 3  # its MAC works; the next use has it confirmed
DELAY = 4  # used; before we ask it, who is above may know that it is there
PROBE = 5  # its MAC works until TRIES unicast requests stay unanswered
FAILED = 6  # nobody answered


class Neighbour:
    """An entry of the table. is_router: as it says itself, which only Neighbour Discovery lets it."""

    def __init__(self, ip, state, mac):
        self.ip = ip
        self.state = state
        self.mac = mac
        self.is_router = False
        self.deadline_ms = FAR_MS
        self.generation = 0  # of the table, when it became stale
        self.tries = 0
        self.pending = []  # frames that wait for the MAC, complete but for it


class Neighbours:
    """Base of Arp and Ndp. counters: the subclass's own, to which those of the table are added.

    generation: changes whenever a MAC that someone may have kept stopped being right. on_failure: called with (address
    that nobody answers for, now_ms). confirms: called with (address, generation) before a stale one is asked; True
    when who is above has proof that what was sent to it since that generation arrived (RFC 4861 section 7.3.1).
    retrans_ms: between two requests. A subclass has

    _is_self(ip)                True for what never leaves this host
    _request(entry)             asks for the MAC of an entry: its neighbour alone in the state PROBE, else everybody
    _reach(entry, mac, now_ms)  a neighbour has shown that it is there
    """

    def __init__(self, ethernet, random, counters):
        self.ethernet = ethernet
        self.random = random
        self.retrans_ms = RETRANS_MS
        self.generation = 1
        self.on_failure = None
        self.confirms = None
        self.counters = counters
        counters["PendingDropped"] = 0
        counters["TableFull"] = 0
        counters["Failures"] = 0
        self.timer_at = FAR_MS  # no entry is due before
        self.timer_place = 0
        self._table = {}
        self._resolving = 0
        self._timers = ethernet.timers
        self._timers.restorers.append(self.on_timer)

    # --- who sends ---

    def lookup(self, ip, now_ms):
        """The MAC of a neighbour, or None when it has to be asked for (`send` does that)."""
        entry = self._table.get(ip)
        if entry is None or entry.mac is None:
            return None
        if entry.state == STALE:
            entry.state = DELAY
            self._set_deadline(entry, now_ms + DELAY_FIRST_PROBE_MS)
        return entry.mac

    def doubt(self, ip, now_ms):
        """Nothing comes back from this neighbour: has its entry confirmed. (ARP has no checksum.)"""
        entry = self._table.get(ip)
        if entry is not None and REACHABLE <= entry.state <= DELAY:
            self._probe(entry, now_ms)

    def send(self, frame, ip, ethertype, now_ms):
        """Sends a frame to the neighbour `ip`, asking for its MAC first where needed. Takes the frame over.

        What is to one of our own addresses comes back to us without having been on the network.
        """
        if self._is_self(ip):
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

    # --- the entries ---

    def entries(self):
        """(address, state, MAC or None) of every entry."""
        return [(entry.ip, entry.state, entry.mac) for entry in self._table.values()]

    def _resolve(self, ip, now_ms):
        if self._resolving >= MAX_RESOLVING or not self._make_room():
            self.counters["TableFull"] += 1
            return None
        entry = Neighbour(ip, INCOMPLETE, None)
        self._table[ip] = entry
        self._resolving += 1
        self._ask(entry, now_ms)
        return entry

    def _admit(self, ip, mac, now_ms):
        """A new entry for who named its MAC without being asked; None when there is no place."""
        if not self._make_room():
            return None
        entry = Neighbour(ip, STALE, mac)
        entry.generation = self.generation
        self._table[ip] = entry
        self._set_deadline(entry, now_ms + STALE_MS)
        return entry

    def _make_room(self):
        """True when the table has a place, made by giving up the oldest entry that nobody uses."""
        if len(self._table) < MAX_ENTRIES:
            return True
        oldest = None
        for entry in self._table.values():
            is_idle = entry.state == STALE or entry.state == FAILED
            if is_idle and (oldest is None or entry.deadline_ms < oldest.deadline_ms):
                oldest = entry
        if oldest is None:
            return False
        self._remove(oldest)
        return True

    def _probe(self, entry, now_ms):
        if entry.state != PROBE:
            entry.state = PROBE
            entry.tries = 0
            self._ask(entry, now_ms)

    def _ask(self, entry, now_ms):
        entry.tries += 1
        self._set_deadline(entry, now_ms + self.retrans_ms)
        self._request(entry)

    def _stale(self, entry, mac, now_ms):
        self.generation += 1  # whoever kept the MAC asks again, and that use finds the entry stale
        entry.generation = self.generation
        self._set_mac(entry, STALE, mac, now_ms + STALE_MS)

    def _set_mac(self, entry, state, mac, deadline_ms):
        """The MAC of an entry is known: what waits for it is sent."""
        if entry.state == INCOMPLETE:
            self._resolving -= 1
        entry.state = state
        entry.mac = mac
        self._set_deadline(entry, deadline_ms)
        pending = entry.pending
        if pending:
            entry.pending = []
            self.ethernet.held -= len(pending)
            for frame, ethertype in pending:
                self.ethernet.send(frame, mac, ethertype)

    def _fail(self, entry, now_ms):
        self.counters["Failures"] += 1
        self.generation += 1
        if entry.state == INCOMPLETE:
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
        if entry.state == INCOMPLETE:
            self._resolving -= 1
        self._drop_pending(entry)
        del self._table[entry.ip]
        self.generation += 1

    # --- time ---

    def _set_deadline(self, entry, deadline_ms):
        entry.deadline_ms = deadline_ms
        # A later one is seen when the timer fires: who is confirmed often does not fill the heap.
        if deadline_ms < self.timer_at:
            self._timers.schedule(self, deadline_ms)

    def on_timer(self, now_ms):
        """Repeats requests, ages entries. All entries share one timer, or a scan would fill the interface's heap."""
        table = self._table
        for entry in list(table.values()):
            # Who is told of a failure may have changed the table meanwhile.
            if entry.deadline_ms <= now_ms and table.get(entry.ip) is entry:
                self._timeout(entry, now_ms)
        first_ms = self._first_deadline_ms()
        if first_ms != self.timer_at:
            if first_ms == FAR_MS:
                self._timers.cancel(self)
            else:
                self._timers.schedule(self, first_ms)

    def _first_deadline_ms(self):
        first_ms = FAR_MS
        for entry in self._table.values():
            if entry.deadline_ms < first_ms:
                first_ms = entry.deadline_ms
        return first_ms

    def _timeout(self, entry, now_ms):
        state = entry.state
        if state == REACHABLE:
            self._stale(entry, entry.mac, now_ms)
        elif state == DELAY:
            if self.confirms is not None and self.confirms(entry.ip, entry.generation):
                self._reach(entry, entry.mac, now_ms)
            else:
                self._probe(entry, now_ms)
        elif state == INCOMPLETE or state == PROBE:
            if entry.tries < TRIES:
                self._ask(entry, now_ms)
            else:
                self._fail(entry, now_ms)
        else:
            self._remove(entry)
