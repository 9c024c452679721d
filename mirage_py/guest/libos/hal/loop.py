# SPDX-License-Identifier: MIT
"""The event loop under MicroPython's asyncio: polls services, and sleeps on the platform's wait when nothing runs.

asyncio.core calls `wait_io_event(dt)` of its I/O queue before every task step; this class takes that queue's place. A
service is what brings work from outside (a network stack, system sockets, the console). It offers:

    poll(now_ms) -> bool          does a bounded amount of work; True when there was some
    next_deadline_ms() -> int     when it wants to be polled at the latest, or None
    arm() -> bool                 switches its wake-ups on; True when work is waiting already
    disarm()                      switches them off again: while polling, interrupts only cost

A wake-up cannot be lost: every service is armed first and says *then* whether work is waiting; the platform's wait
returns at once for an event that came between that answer and the call.
"""

from asyncio import core

import _mirage
from micropython import const

# With tasks always ready to run, services are polled once every so many task steps, so that neither side starves.
_STEPS_PER_POLL = const(32)
# Rounds of polling without work before the loop arms and sleeps: an answer often follows within microseconds.
_IDLE_POLLS = const(0)
_NS_PER_MS = const(1000000)

_POLL_REQUEST = const(3)  # MP_STREAM_POLL, the ioctl of stream objects
_POLL_IN = const(1)
_POLL_OUT = const(4)
# How often streams that only their ioctl can be asked about are looked at while nothing else happens.
_STREAM_POLL_MS = const(10)


class EventLoop:
    """Takes the place of asyncio's I/O queue. One per image; made before the first task."""

    def __init__(self):
        self.map = []  # the services; asyncio.core ends its loop when nothing is runnable and this is empty
        self.sleeps = 0
        self._steps = 0
        self._streams = []  # [stream, reading task or None, writing task or None]
        core._io_queue = self
        core.IOQueue = self._as_io_queue  # for asyncio.new_event_loop()

    def _as_io_queue(self):
        return self

    def attach(self, service):
        """Adds a service; it is polled from now on."""
        self.map.append(service)

    def detach(self, service):
        """Takes a service out again. ValueError when it is not attached."""
        self.map.remove(service)

    def run(self, coroutine):
        """Runs a coroutine, and the tasks that it starts, until it returns. Its value, or its exception, is ours."""
        return core.run_until_complete(core.create_task(coroutine))

    def now_ms(self):
        """The time that services are polled with."""
        return _mirage.now_ms()

    # --- what asyncio.core calls ---

    def wait_io_event(self, dt):
        """dt: milliseconds until the first task in the queue is due, 0 for one that is, -1 when the queue is empty.

        Returns at the latest when a task is due; with dt == -1 only then.
        """
        if dt == 0:
            self._steps += 1
            if self._steps < _STEPS_PER_POLL:
                return
            self._steps = 0
            _mirage.wait(0)  # system sockets are only looked at in there
            self._poll(_mirage.now_ms())
            return
        self._steps = 0
        queue = core._task_queue
        idle = 0
        while True:
            now_ms = _mirage.now_ms()
            worked = self._poll(now_ms)
            task = queue.peek()
            # The tick counter is 62 bits wide, so plain comparison does what ticks_diff() does.
            if task is not None and task.ph_key <= now_ms:
                return
            if worked:
                idle = 0
                continue
            idle += 1
            if idle > _IDLE_POLLS:
                self._sleep(None if task is None else task.ph_key)
                idle = 0

    def _poll(self, now_ms):
        worked = False
        for service in self.map:
            if service.poll(now_ms):
                worked = True
        if self._streams:
            self._poll_streams()
        return worked

    def _sleep(self, deadline_ms):
        """Waits for an event or a deadline. deadline_ms: when the next task is due, or None."""
        work_waiting = False
        for service in self.map:
            if service.arm():
                work_waiting = True
            due_ms = service.next_deadline_ms()
            if due_ms is not None and (deadline_ms is None or due_ms < deadline_ms):
                deadline_ms = due_ms
        if not work_waiting:
            if self._streams:
                stream_ms = _mirage.now_ms() + _STREAM_POLL_MS
                if deadline_ms is None or stream_ms < deadline_ms:
                    deadline_ms = stream_ms
            self.sleeps += 1
            _mirage.wait(-1 if deadline_ms is None else deadline_ms * _NS_PER_MS)
        for service in self.map:
            service.disarm()

    # --- stream objects (io.IOBase with an ioctl), as asyncio's own queue serves them ---

    def queue_read(self, stream):
        self._queue_stream(stream, 1)

    def queue_write(self, stream):
        self._queue_stream(stream, 2)

    def _queue_stream(self, stream, index):
        for entry in self._streams:
            if entry[0] is stream:
                break
        else:
            entry = [stream, None, None]
            self._streams.append(entry)
        if entry[index] is not None:
            raise RuntimeError("stream: another task is waiting already")
        entry[index] = core.cur_task
        core.cur_task.data = self  # where a cancellation finds remove()

    def remove(self, task):
        """A waiting task was cancelled."""
        for entry in self._streams:
            if entry[1] is task:
                entry[1] = None
            if entry[2] is task:
                entry[2] = None
        self._streams = [entry for entry in self._streams if entry[1] or entry[2]]

    def _poll_streams(self):
        is_done = False
        for entry in self._streams:
            wanted = (_POLL_IN if entry[1] else 0) | (_POLL_OUT if entry[2] else 0)
            ready = entry[0].ioctl(_POLL_REQUEST, wanted)
            if ready & ~_POLL_OUT and entry[1]:  # an error wakes both sides
                core._task_queue.push(entry[1])
                entry[1] = None
                is_done = True
            if ready & ~_POLL_IN and entry[2]:
                core._task_queue.push(entry[2])
                entry[2] = None
                is_done = True
        if is_done:
            self._streams = [entry for entry in self._streams if entry[1] or entry[2]]
