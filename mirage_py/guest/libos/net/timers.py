# SPDX-License-Identifier: MIT
"""Deadlines of many owners in one binary heap: setting one costs O(log n), looking whether one is due costs nothing.

All protocols of an interface share the `Timers` of its Ethernet.

An owner has one entry. It may move its real deadline later without telling: the entry then fires early, and the owner
schedules itself again. That is how a retransmission timer restarted by every acknowledgement costs next to nothing.
"""

FAR_MS = 1 << 60  # the deadline of an owner that has none

_SERIAL_BITS = 24
_SERIAL_MASK = (1 << _SERIAL_BITS) - 1


class Timers:
    """Owners have `timer_at` (FAR_MS initially), `timer_serial`, and on_timer(now_ms).

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
        # deadline_ms << _SERIAL_BITS | serial: comparing two entries is comparing two small integers.
        self._heap = []
        self._owners = {}  # serial -> owner; an entry whose serial is not here was cancelled
        self._serial = 0

    def __len__(self):
        return len(self._owners)

    def owners(self):
        """All that have an entry."""
        return list(self._owners.values())

    def schedule(self, owner, deadline_ms):
        """Calls owner.on_timer at deadline_ms, in place of an earlier arrangement. Never raises MemoryError."""
        self.cancel(owner)
        owners = self._owners
        serial = self._serial
        while True:
            serial = (serial + 1) & _SERIAL_MASK
            if serial not in owners:
                break
        self._serial = serial
        try:
            self._push(deadline_ms << _SERIAL_BITS | serial)
            owners[serial] = owner
        except MemoryError:
            self._is_incomplete = True
            self.first_ms = 0
            return
        owner.timer_serial = serial
        owner.timer_at = deadline_ms
        if deadline_ms < self.first_ms:
            self.first_ms = deadline_ms
        if len(self._heap) > 2 * len(owners) + 64:
            self._compact()

    def cancel(self, owner):
        """Forgets an owner; nothing happens when it had no entry."""
        if owner.timer_at != FAR_MS:
            if owner.timer_at <= self.first_ms:
                self.is_first_stale = True
            owner.timer_at = FAR_MS
            del self._owners[owner.timer_serial]

    def next_deadline_ms(self):
        """The earliest deadline, or None."""
        heap = self._heap
        while heap and heap[0] & _SERIAL_MASK not in self._owners:
            self._pop()
        self.is_first_stale = False
        if self._is_incomplete:
            self.first_ms = 0
        else:
            self.first_ms = heap[0] >> _SERIAL_BITS if heap else FAR_MS
        return None if self.first_ms == FAR_MS else self.first_ms

    def poll(self, now_ms, limit):
        """Calls owners that are due, at most `limit` of them. Returns how many."""
        if self._is_incomplete:
            self._restore(now_ms)
        heap = self._heap
        called = 0
        end = (now_ms + 1) << _SERIAL_BITS
        while heap and heap[0] < end and called < limit:
            owner = self._owners.pop(self._pop() & _SERIAL_MASK, None)
            if owner is not None:
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

    def _push(self, entry):
        heap = self._heap
        heap.append(entry)
        at = len(heap) - 1
        while at:
            parent = (at - 1) >> 1
            if heap[parent] <= entry:
                break
            heap[at] = heap[parent]
            at = parent
        heap[at] = entry

    def _pop(self):
        heap = self._heap
        top = heap[0]
        last = heap[-1]
        try:
            heap.pop()
        except MemoryError:
            pass  # it is removed: MicroPython only could not make the list smaller
        count = len(heap)
        if count:
            at = 0
            child = 1
            while child < count:
                if child + 1 < count and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= last:
                    break
                heap[at] = heap[child]
                at = child
                child = 2 * at + 1
            heap[at] = last
        return top

    def _compact(self):
        owners = self._owners
        heap = [entry for entry in self._heap if entry & _SERIAL_MASK in owners]
        heap.sort()  # a sorted list is a heap
        self._heap[:] = heap
