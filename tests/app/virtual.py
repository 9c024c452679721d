# SPDX-License-Identifier: MIT
"""The guest's application side on CPython and in virtual time: tasks as MicroPython's asyncio has them, in a World.

    tasks = Tasks(world)
    server, client = tasks.stack(world.host("10.0.0.1/24")), tasks.stack(world.host("10.0.0.2/24"))
    task = tasks.start(coroutine)
    world.run(until=task.done)

Importing this gives CPython's `asyncio` and `time` the few names that libos.app imports from MicroPython's, and marks
libos.app's generators as the coroutines that they are there.
"""

import asyncio
import heapq
import sys
import time
import types


class CancelledError(BaseException):
    pass


class Task:
    """coro: a coroutine. error: the exception that ended it, or None; value: what it returned."""

    def __init__(self, coro):
        self.coro = coro
        self.data = None  # what it waits in, or the exception that it is to get
        self.ph_key = 0
        self.error = self.value = None
        self.is_done = False

    def done(self):
        return self.is_done

    def cancel(self):
        if self.is_done or self is core.cur_task:
            return
        if hasattr(self.data, "remove"):
            self.data.remove(self)
            core._task_queue.push(self)
        elif self.ph_key > core.now_ms():
            core._task_queue.remove(self)
            core._task_queue.push(self)
        self.data = CancelledError()


class TaskQueue:
    def __init__(self):
        self._heap = []
        self._serial = 0

    def push(self, task, due_ms=None):
        self._serial += 1
        task.data = None
        task.ph_key = core.now_ms() if due_ms is None else due_ms
        heapq.heappush(self._heap, (task.ph_key, self._serial, task))

    def remove(self, task):
        self._heap = [entry for entry in self._heap if entry[2] is not task]
        heapq.heapify(self._heap)

    def due_ms(self):
        return self._heap[0][0] if self._heap else None

    def pop(self):
        return heapq.heappop(self._heap)[2]


core = types.ModuleType("asyncio.core")
core.now_ms = lambda: 0
core.cur_task = None
core._task_queue = TaskQueue()
core.CancelledError = CancelledError


def create_task(coro):
    task = Task(coro)
    core._task_queue.push(task)
    return task


@types.coroutine
def sleep_ms(duration_ms):
    core._task_queue.push(core.cur_task, core.now_ms() + max(duration_ms, 0))
    yield


core.create_task = create_task
core.sleep_ms = sleep_ms

asyncio.core = sys.modules["asyncio.core"] = core
asyncio.sleep_ms = sleep_ms


def _ticks_ms():
    return core.now_ms()  # of whatever world there is then


time.ticks_ms = _ticks_ms
time.ticks_add = lambda ticks, delta: ticks + delta
time.ticks_diff = lambda ticks, other: ticks - other
sys.print_exception = lambda error: None

from libos.app import flow as app_flow  # noqa: E402
from libos.app import stack as app_stack  # noqa: E402

app_stack.Flow.read = types.coroutine(app_stack.Flow.read)
app_flow.Waiters.wait_readable = types.coroutine(app_flow.Waiters.wait_readable)
app_flow.Waiters.wait_writable = types.coroutine(app_flow.Waiters.wait_writable)
app_flow.Alarm.sleep_until = types.coroutine(app_flow.Alarm.sleep_until)


class Log:
    """app.log.Log that keeps what is said: (level, source, text)."""

    def __init__(self):
        self.lines = []

    def is_enabled(self, source, level):
        return True

    def _note(level):
        return lambda self, source, text, *rest: self.lines.append((level, source, text, *rest))

    error, warning, info, debug, exception = map(_note, ("error", "warning", "info", "debug", "exception"))


class Clock:
    """hal.clock.Clock of a world whose wall clock was set."""

    def __init__(self, world, wall_s=1_800_000_000):
        self._world = world
        self.wall_s = wall_s

    def now_ms(self):
        return self._world.now_ms

    def wall_ns(self):
        return (self.wall_s * 1000 + self._world.now_ms) * 1_000_000


class _Loop:
    """What app.stack asks of hal.loop.EventLoop."""

    def __init__(self, world):
        self.now_ms = lambda: world.now_ms
        self.returned = []
        self.exits = []


class Tasks:
    """A member of the world that runs tasks; one for all hosts."""

    def __init__(self, world):
        core._task_queue = TaskQueue()
        core.cur_task = None
        core.now_ms = lambda: world.now_ms
        self.world = world
        self.stack = self  # as World looks for deadlines
        self.device = self
        self.failed = []  # tasks that ended by an exception
        world.hosts.append(self)

    def app(self, host, log=None):
        """app.stack.Stack over a host of the world."""
        return app_stack.Stack(host.stack, _Loop(self.world), log or Log())

    def start(self, coro):
        return create_task(coro)

    # --- as a host ---

    def accepts(self, _mac):
        return False

    def next_deadline_ms(self):
        return core._task_queue.due_ms()

    def step(self):
        queue = core._task_queue
        count = 0
        while count < 64 and queue.due_ms() is not None and queue.due_ms() <= self.world.now_ms:
            count += 1
            task = core.cur_task = queue.pop()
            error = task.data
            task.data = None
            try:
                if error is None:
                    task.coro.send(None)
                else:
                    task.coro.throw(error)
            except StopIteration as outcome:
                task.value = outcome.value
                task.is_done = True
            except (CancelledError, Exception) as outcome:
                task.error = outcome
                task.is_done = True
                if not isinstance(outcome, CancelledError):
                    self.failed.append(task)
            core.cur_task = None
        return count
