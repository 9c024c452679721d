# SPDX-License-Identifier: MIT
"""The event loop under MicroPython's asyncio: runs tasks, polls services, and sleeps on the platform's wait.

Tasks, their queue and their cancellation are asyncio's own (asyncio.core, and _asyncio in C); this class takes the
place of core's run loop, which asks its I/O queue before every step of every task, and of that queue. A service is what
brings work from outside (a network stack, system sockets, the console). It offers:

    poll(now_ms) -> bool          does a bounded amount of work; True when there was some
    next_deadline_ms() -> int     when it wants to be polled at the latest, or None
    arm() -> bool                 switches its wake-ups on, if they are off; True when work is waiting already
    disarm()                      switches them off again: while polling, interrupts only cost

Woken from sleep, the loop leaves them on until it finds no time to sleep, in tasks or in services: where work comes one
piece at a time, they need not be switched at all. So arm() may follow arm(), with an interrupt in between.

A wake-up cannot be lost: every service is armed first and says *then* whether work is waiting; the platform's wait
returns at once for an event that came between that answer and the call.
"""

from asyncio import core

import _mirage
from micropython import const

# With tasks always ready to run, services are polled once every so many task steps, so that neither side starves.
_STEPS_PER_POLL = const(32)
_NS_PER_MS = const(1000000)

_POLL_REQUEST = const(3)  # MP_STREAM_POLL, the ioctl of stream objects
_POLL_IN = const(1)
_POLL_OUT = const(4)
# How long start() may take to clean up when the application is asked to end.
_STOP_GRACE_MS = const(5000)
# How often streams that only their ioctl can be asked about are looked at while nothing else happens.
_STREAM_POLL_MS = const(10)


async def _raise_after_grace(reason):
    await core.sleep_ms(_STOP_GRACE_MS)
    raise reason


class EventLoop:
    """Runs asyncio's tasks. One per image; made before the first task."""

    def __init__(self):
        self.map = []  # the services; asyncio.core looks whether it is empty
        self.sleeps = 0
        self._is_armed = False  # services wake us, or did
        self.returned = []  # called without arguments when run()'s coroutine has returned, before `exits`
        self.exits = []  # called with now_ms when run() ends in order; their work still leaves
        self._is_unwound = False  # run()'s coroutine held the loop when it was asked to end, and was interrupted
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

    def now_ms(self):
        """The time that services are polled with; asyncio's too."""
        return _mirage.now_ms()

    def run(self, coroutine):
        """Runs a coroutine, and the tasks that it starts, until it returns. Its value, or its exception, is ours.

        Asked to end (SIGTERM, the power button), it is cancelled, as CPython's asyncio.run() does it: CancelledError at
        the await where it is. When it has not ended five seconds later, or at the second request, SystemExit; so too,
        two seconds later, where it holds the loop.
        """
        main_task = core.create_task(coroutine)
        _mirage.defer_stop(True)
        try:
            try:
                value = self._run(main_task)
            except _mirage.Terminated as reason:
                if self._is_unwound:
                    raise
                value = self._stop(main_task, reason)
        except SystemExit:
            self._leave()
            raise
        # Not after other exceptions: what is broken would break again, and hide how it began.
        for tell in self.returned:
            tell()
        self._leave()
        return value

    def _stop(self, main_task, reason):
        core.cur_task = None  # or it might take the task for one that cancels itself
        main_task.cancel()
        core.create_task(_raise_after_grace(reason))
        try:
            return self._run(main_task)
        except core.CancelledError:
            raise reason

    def _leave(self):
        for leave in self.exits:
            leave(_mirage.now_ms())
        if self.exits:
            for service in self.map:
                service.poll(_mirage.now_ms())

    def _run(self, main_task):
        _mirage.watch_steps(core._task_queue)
        excs = (core.CancelledError, Exception)
        now_ms = _mirage.now_ms()
        steps = 0
        while True:
            queue = core._task_queue
            task = queue.peek()
            # The tick counter is 62 bits wide, so plain comparison does what ticks_diff() does.
            if task is None or task.ph_key > now_ms:
                now_ms = self._wait_for_task(queue)
                steps = 0
                continue
            steps += 1
            if steps > _STEPS_PER_POLL:
                steps = 0
                self._disarm()
                _mirage.wait(0)  # system sockets are only looked at in there
                now_ms = _mirage.now_ms()
                for service in self.map:
                    service.poll(now_ms)
            queue.pop()
            core.cur_task = task
            error = task.data
            try:
                if error is None:
                    task.coro.send(None)
                else:
                    # Cancelled; or finished with an exception that nobody asked about, see _end().
                    task.data = None
                    task.coro.throw(error)
            except excs as outcome:
                if task is main_task:
                    core.cur_task = None
                    if isinstance(outcome, StopIteration):
                        return outcome.value
                    raise
                self._end(task, outcome, error)
            except _mirage.Terminated:
                self._is_unwound = task is main_task
                raise

    def _end(self, task, outcome, error):
        """A task ended: whoever awaits it goes on. An exception that nobody awaits is reported one round later.

        task.state (asyncio's Task): True while it runs and nobody awaits it, a queue of those who do, or gather()'s
        callback; then None: done, not awaited, or False: done, and awaited. outcome: what its coroutine raised.
        """
        state = task.state
        if state is None:
            # Pushed below a round ago, and thrown into itself since: nobody has come for it.
            task.data = error
            context = core._exc_context
            context["exception"] = error
            context["future"] = task
            core.Loop.call_exception_handler(context)
            return
        if not state:
            return
        is_awaited = state is not True
        if not is_awaited:
            task.state = None
        elif callable(state):
            state(task, outcome)
            task.state = False
        else:
            is_awaited = False
            while state.peek():
                core._task_queue.push(state.pop())
                is_awaited = True
            task.state = False
        if not is_awaited and not isinstance(outcome, (core.CancelledError, StopIteration)):
            core._task_queue.push(task)
        task.data = outcome

    def _wait_for_task(self, queue):
        """Polls and sleeps until the first task of the queue is due. Returns the time."""
        while True:
            now_ms = _mirage.now_ms()
            for service in self.map:
                service.poll(now_ms)
            if self._streams:
                self._poll_streams()
            task = queue.peek()
            if task is None:
                self._sleep(None)
            elif task.ph_key <= now_ms:
                return now_ms
            else:
                self._sleep(task.ph_key)

    def wait_io_event(self, dt):
        """What asyncio.core's own run loop calls before each step, for whoever uses that (asyncio.run).

        dt: milliseconds until the first task in the queue is due, 0 for one that is, -1 when the queue is empty.
        """
        if dt:
            self._wait_for_task(core._task_queue)
            return
        self._steps += 1
        if self._steps > _STEPS_PER_POLL:
            self._steps = 0
            self._disarm()
            _mirage.wait(0)
            for service in self.map:
                service.poll(_mirage.now_ms())

    def _sleep(self, deadline_ms):
        """Waits for an event or a deadline, unless a service has work.

        deadline_ms: when the next task is due, or None.
        """
        self._is_armed = True
        work_waiting = False
        for service in self.map:
            if service.arm():
                work_waiting = True
        if work_waiting:
            self._disarm()
            return
        for service in self.map:
            due_ms = service.next_deadline_ms()
            if due_ms is not None and (deadline_ms is None or due_ms < deadline_ms):
                deadline_ms = due_ms
        if self._streams:
            stream_ms = _mirage.now_ms() + _STREAM_POLL_MS
            if deadline_ms is None or stream_ms < deadline_ms:
                deadline_ms = stream_ms
        self.sleeps += 1
        _mirage.wait(-1 if deadline_ms is None else deadline_ms * _NS_PER_MS)

    def _disarm(self):
        """There is no time to sleep."""
        if self._is_armed:
            self._is_armed = False
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
