# SPDX-License-Identifier: MIT
"""What the flows of both stacks share: tasks that wait for one side of a connection.

A waiting task is in no queue, only in its flow; waking it puts it into asyncio's. That is all that asyncio.Event does,
without its queue: one task may wait to read and one to write. Functions marked "async" are generators, which is what a
coroutine is in MicroPython.
"""

from asyncio import core

READ_TWICE = "another task is reading from this flow"
WRITE_TWICE = "another task is writing to this flow"


class Waiters:
    """The task that waits to read, and the one that waits to write. Base of the flows."""

    unsent = b""  # what a write() that was cancelled did not take
    is_copying = False  # whether what write() has taken is nobody's any more

    def __init__(self):
        self.reader = None
        self.writer = None

    def wake_reader(self):
        task = self.reader
        if task is not None:
            self.reader = None
            core._task_queue.push(task)

    def wake_writer(self):
        task = self.writer
        if task is not None:
            self.writer = None
            core._task_queue.push(task)

    # async
    def wait_readable(self):
        if self.reader is not None:
            raise RuntimeError(READ_TWICE)
        self.reader = core.cur_task
        core.cur_task.data = self  # where a cancellation finds remove()
        yield

    # async
    def wait_writable(self):
        if self.writer is not None:
            raise RuntimeError(WRITE_TWICE)
        self.writer = core.cur_task
        core.cur_task.data = self
        yield

    def remove(self, task):
        """asyncio cancels a waiting task."""
        if self.reader is task:
            self.reader = None
        if self.writer is task:
            self.writer = None


class Alarm:
    """A task that sleeps until wake(), at most until a time: for waits with a timeout."""

    def __init__(self):
        self._task = None
        self.is_woken = False

    # async
    def sleep_until(self, deadline_ms):
        """deadline_ms: on asyncio's clock. Returns True when wake() came first, or before."""
        if not self.is_woken:
            self._task = core.cur_task
            core._task_queue.push(core.cur_task, deadline_ms)
            try:
                yield
            finally:
                self._task = None
        return self.is_woken

    def wake(self):
        self.is_woken = True
        task = self._task
        # A task with data was cancelled meanwhile: it is on its way already.
        if task is not None and task.data is None:
            self._task = None
            core._task_queue.remove(task)
            core._task_queue.push(task)


def started(function, *args):
    """The coroutine that an async function makes of these arguments. TypeError where it is none: it has run already."""
    coroutine = function(*args)
    if not hasattr(coroutine, "send"):
        raise TypeError("not a coroutine: write `async def`")
    return coroutine


async def serve(flow, handler, log):
    """Runs handler(flow): the flow is closed when it returns, aborted when it raises."""
    try:
        await started(handler, flow)
    except OSError as error:
        # Told before the peer learns of it: who sees the reset finds the reason on the console.
        if flow.error is None:
            log.exception("tcp", "the handler of %s:%d failed" % flow.remote, error)
        else:
            log.info("tcp", "%s:%d: %s" % (flow.remote[0], flow.remote[1], error))
        flow.abort()
    except Exception as error:
        log.exception("tcp", "the handler of %s:%d failed" % flow.remote, error)
        flow.abort()
    except BaseException:
        flow.abort()
        raise
    else:
        await flow.close()


def warn_of_listeners(stack):
    """start() has returned, and with it the image ends, though somebody may still connect."""
    ports = stack.tcp.ports()
    if ports:
        text = "start() has returned, and listening on port %d ends with it: `await stack.listen()` serves on"
        stack.log.warning("app", text % ports[0])


def guarded(callback, log):
    """A callback for datagrams like `callback`, whose exceptions cost only the datagram that they came with."""

    def call(data, src_ip, src_port):
        try:
            callback(data, src_ip, src_port)
        except Exception as error:
            log.exception("udp", "the callback for a datagram of %s:%d failed" % (src_ip, src_port), error)

    return call
