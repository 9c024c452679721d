# SPDX-License-Identifier: MIT
"""Deadlines of many owners in one binary heap: setting one costs O(log n), looking whether one is due costs nothing.

All protocols of an interface share the `Timers` of its Ethernet.

An owner has one entry. It may move its real deadline later without telling: the entry then fires early, and the owner
schedules itself again. That is how a retransmission timer restarted by every acknowledgement costs next to nothing.
"""

from heapq import heapify, heappop, heappush

FAR_MS = 1 << 60  # the deadline of an owner that has none

_PLACE_BITS = 24
_PLACE_MASK = (1 << _PLACE_BITS) - 1


class Timers:
    """Owners have `timer_at` (FAR_MS initially), `timer_place`, and on_timer(now_ms).

    first_ms: nothing is due before; FAR_MS when there is nothing. Looked at in every poll, so an attribute.
    is_first_stale: who was due then was cancelled, and next_deadline_ms() gives a later time.
    restorers: called with now_ms after memory ran out and entries are missing: each schedules again those of its owners
    that have a deadline.
    """

    def __init__(self):
        self.first_ms = FAR_MS
        self.is_first_stale = False
        self.restorers = []
        self._is_incomplete = False
        # deadline_ms << _PLACE_BITS | place: comparing two entries is comparing two small integers.
        self._heap = []
        # By place: the owner of the entry that names it; None when it was cancelled; a number where no entry names it,
        # which is the next such place, or -1 behind the last. A table whose keys come and go would cost more.
        self._places = []
        self._free = -1
        self._count = 0

    def __len__(self):
        return self._count

    def owners(self):
        """All that have an entry."""
        return [owner for owner in self._places if owner is not None and not isinstance(owner, int)]

    def schedule(self, owner, deadline_ms):
        """Calls owner.on_timer at deadline_ms, in place of an earlier arrangement. Never raises MemoryError."""
        if owner.timer_at != FAR_MS:
            self.cancel(owner)
        places = self._places
        try:
            if self._free < 0:
                places.append(-1)
                self._free = len(places) - 1
            place = self._free
            heappush(self._heap, deadline_ms << _PLACE_BITS | place)
        except MemoryError:
            self._is_incomplete = True
            self.first_ms = 0
            return
        self._free = places[place]
        places[place] = owner
        self._count += 1
        owner.timer_place = place
        owner.timer_at = deadline_ms
        if deadline_ms < self.first_ms:
            self.first_ms = deadline_ms
        if len(self._heap) > 2 * self._count + 64:
            self._compact()

    def cancel(self, owner):
        """Forgets an owner; nothing happens when it had no entry."""
        if owner.timer_at != FAR_MS:
            if owner.timer_at <= self.first_ms:
                self.is_first_stale = True
            owner.timer_at = FAR_MS
            self._places[owner.timer_place] = None
            self._count -= 1

    def next_deadline_ms(self):
        """The earliest deadline, or None."""
        heap = self._heap
        places = self._places
        while heap and places[heap[0] & _PLACE_MASK] is None:
            self._give_back(heappop(heap) & _PLACE_MASK)
        self.is_first_stale = False
        if self._is_incomplete:
            self.first_ms = 0
        else:
            self.first_ms = heap[0] >> _PLACE_BITS if heap else FAR_MS
        return None if self.first_ms == FAR_MS else self.first_ms

    def poll(self, now_ms, limit):
        """Calls owners that are due, at most `limit` of them. Returns how many."""
        if self._is_incomplete:
            self._restore(now_ms)
        heap = self._heap
        places = self._places
        called = 0
        end = (now_ms + 1) << _PLACE_BITS
        while heap and heap[0] < end and called < limit:
            place = heappop(heap) & _PLACE_MASK
            owner = places[place]
            places[place] = self._free
            self._free = place
            if owner is not None:
                self._count -= 1
                owner.timer_at = FAR_MS
                try:
                    owner.on_timer(now_ms)
                except MemoryError:
                    self._is_incomplete = True
                called += 1
        self.next_deadline_ms()
        return called

    def _restore(self, now_ms):
        self._is_incomplete = False
        try:
            for restore in self.restorers:
                restore(now_ms)
        except MemoryError:
            self._is_incomplete = True
            raise

    def _give_back(self, place):
        self._places[place] = self._free
        self._free = place

    def _compact(self):
        """Takes the cancelled entries out of the heap, without memory for another one."""
        heap = self._heap
        kept = 0
        for entry in heap:
            if self._places[entry & _PLACE_MASK] is None:
                self._give_back(entry & _PLACE_MASK)
            else:
                heap[kept] = entry
                kept += 1
        while len(heap) > kept:
            try:
                heap.pop()
            except MemoryError:
                pass  # it is removed: MicroPython only could not make the list smaller
        heapify(heap)
