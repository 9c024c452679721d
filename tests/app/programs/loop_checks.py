# SPDX-License-Identifier: MIT
"""hal.loop under asyncio: what MicroPython's own run loop promises, and what services are promised."""

import asyncio
from asyncio import core

from harness import run_all

from libos.hal.clock import Clock
from libos.hal.loop import EventLoop

loop = EventLoop()
clock = Clock()


class Service:
    """Counts what the loop does with it."""

    def __init__(self):
        self.polls = 0
        self.arms = 0
        self.disarms = 0
        self.deadline_ms = None
        self.work = 0  # how often arm() says that work is waiting
        self.on_poll = None

    def poll(self, now_ms):
        self.polls += 1
        if self.on_poll is not None:
            return self.on_poll(now_ms)
        return False

    def next_deadline_ms(self):
        return self.deadline_ms

    def arm(self):
        self.arms += 1
        self.work -= 1
        return self.work >= 0

    def disarm(self):
        self.disarms += 1


async def sleeping_tasks_run_in_order():
    order = []

    async def one(delay_ms):
        await asyncio.sleep_ms(delay_ms)
        order.append(delay_ms)

    await asyncio.gather(one(30), one(10), one(20), one(0))
    assert order == [0, 10, 20, 30], order


async def sleep_takes_its_time():
    before = clock.monotonic_ns()
    await asyncio.sleep_ms(50)
    took_ms = (clock.monotonic_ns() - before) // 1000000
    assert 49 <= took_ms < 500, took_ms


async def values_and_exceptions_come_back():
    async def value():
        return 42

    async def fails():
        raise KeyError("inside")

    assert await asyncio.create_task(value()) == 42
    try:
        await asyncio.create_task(fails())
    except KeyError:
        pass
    else:
        raise AssertionError("no KeyError")
    results = await asyncio.gather(value(), fails(), return_exceptions=True)
    assert results[0] == 42 and isinstance(results[1], KeyError)


async def finished_task_can_be_awaited_late():
    async def value():
        return 7

    task = asyncio.create_task(value())
    await asyncio.sleep_ms(5)
    assert task.done()
    assert await task == 7


async def several_await_one_task():
    async def value():
        await asyncio.sleep_ms(5)
        return 3

    task = asyncio.create_task(value())

    async def waiter():
        return await task

    assert await asyncio.gather(waiter(), waiter(), waiter()) == [3, 3, 3]


async def cancelled_task_stops_and_cleans_up():
    seen = []

    async def victim():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("finally")

    task = asyncio.create_task(victim())
    await asyncio.sleep_ms(1)
    assert task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    assert seen == ["cancelled", "finally"], seen
    assert not task.cancel()


async def timeout_ends_a_wait():
    event = asyncio.Event()
    try:
        await asyncio.wait_for_ms(event.wait(), 20)
    except asyncio.TimeoutError:
        pass
    else:
        raise AssertionError("no timeout")
    event.set()
    await asyncio.wait_for_ms(event.wait(), 20)


async def exception_that_nobody_awaits_is_reported():
    reported = []
    core.Loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
    try:

        async def fails():
            raise ValueError("alone")

        asyncio.create_task(fails())
        await asyncio.sleep_ms(5)
    finally:
        core.Loop.set_exception_handler(None)
    assert len(reported) == 1 and isinstance(reported[0], ValueError), reported


async def cancellation_that_nobody_awaits_is_not():
    reported = []
    core.Loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
    try:
        task = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep_ms(1)
        task.cancel()
        await asyncio.sleep_ms(5)
    finally:
        core.Loop.set_exception_handler(None)
    assert not reported, reported


async def event_and_lock():
    lock = asyncio.Lock()
    inside = []

    async def worker(name):
        async with lock:
            inside.append(name)
            await asyncio.sleep_ms(1)
            assert inside[-1] == name

    await asyncio.gather(worker(1), worker(2), worker(3))
    assert inside == [1, 2, 3]


async def flag_set_from_another_task():
    flag = asyncio.ThreadSafeFlag()

    async def setter():
        await asyncio.sleep_ms(5)
        flag.set()

    asyncio.create_task(setter())
    await flag.wait()


async def cancelled_flag_wait_is_forgotten():
    flag = asyncio.ThreadSafeFlag()
    try:
        await asyncio.wait_for_ms(flag.wait(), 10)
    except asyncio.TimeoutError:
        pass
    assert not loop._streams


async def task_that_holds_the_loop_is_named():
    """On the console, as test_programs.py looks for: one that ends in that step, one that goes on, none in time."""

    def spin(duration_ms):
        end_ms = clock.now_ms() + duration_ms
        while clock.now_ms() < end_ms:
            pass

    async def inner(again):
        await asyncio.sleep_ms(1)
        spin(2100)
        if again:
            await asyncio.sleep_ms(1)

    async def outer_ends():
        await inner(False)

    async def outer_goes_on():
        await inner(True)

    async def quick():
        spin(300)

    for one in (outer_ends, outer_goes_on, quick):
        await asyncio.create_task(one())
    await asyncio.sleep_ms(2200)


async def busy_tasks_do_not_starve_services():
    service = Service()
    loop.attach(service)
    for _ in range(500):
        await asyncio.sleep_ms(0)
    loop.detach(service)
    assert service.polls >= 10, service.polls


async def wake_ups_stay_on_from_sleep_to_sleep_and_go_off_with_busy_tasks():
    service = Service()
    loop.attach(service)
    for _ in range(3):
        await asyncio.sleep_ms(2)
    assert service.arms >= 3 and service.disarms == 0, (service.arms, service.disarms)
    for _ in range(200):
        await asyncio.sleep_ms(0)
    assert service.disarms == 1, service.disarms
    await asyncio.sleep_ms(2)
    assert service.disarms == 1, service.disarms
    loop.detach(service)


async def busy_service_does_not_starve_tasks():
    service = Service()
    service.on_poll = lambda now_ms: True
    service.work = 1 << 30
    loop.attach(service)
    before = clock.now_ms()
    await asyncio.sleep_ms(20)
    took_ms = clock.now_ms() - before
    loop.detach(service)
    assert took_ms < 200, took_ms


async def work_waiting_at_arm_is_polled_without_sleep():
    service = Service()
    service.work = 5
    event = asyncio.Event()

    def on_poll(now_ms):
        if service.arms == 5:
            event.set()
        return False

    service.on_poll = on_poll
    loop.attach(service)
    sleeps = loop.sleeps
    await event.wait()
    slept = loop.sleeps - sleeps
    loop.detach(service)
    assert slept == 0, slept
    assert service.disarms == service.arms == 5


async def deadline_of_a_service_ends_the_sleep():
    service = Service()
    service.deadline_ms = clock.now_ms() + 20
    event = asyncio.Event()

    def on_poll(now_ms):
        if service.deadline_ms is not None and now_ms >= service.deadline_ms:
            service.deadline_ms = None
            event.set()
        return False

    service.on_poll = on_poll
    loop.attach(service)
    before = clock.now_ms()
    polls = service.polls
    await event.wait()
    took_ms = clock.now_ms() - before
    loop.detach(service)
    assert 15 <= took_ms < 200, took_ms
    assert service.polls - polls < 20, "it was polled instead of slept"


async def sleeping_costs_no_polls():
    service = Service()
    loop.attach(service)
    await asyncio.sleep_ms(50)
    loop.detach(service)
    assert service.polls < 10, service.polls


async def core_run_loop_works_over_this_queue():
    """asyncio.run() inside: MicroPython's own loop over our queue, for packages that bring their own."""

    async def value():
        await asyncio.sleep_ms(5)
        return "inner"

    task = core.cur_task
    assert core.run_until_complete(core.create_task(value())) == "inner"
    core.cur_task = task


CHECKS = (
    sleeping_tasks_run_in_order,
    sleep_takes_its_time,
    values_and_exceptions_come_back,
    finished_task_can_be_awaited_late,
    several_await_one_task,
    cancelled_task_stops_and_cleans_up,
    timeout_ends_a_wait,
    exception_that_nobody_awaits_is_reported,
    cancellation_that_nobody_awaits_is_not,
    event_and_lock,
    flag_set_from_another_task,
    cancelled_flag_wait_is_forgotten,
    task_that_holds_the_loop_is_named,
    busy_tasks_do_not_starve_services,
    wake_ups_stay_on_from_sleep_to_sleep_and_go_off_with_busy_tasks,
    busy_service_does_not_starve_tasks,
    work_waiting_at_arm_is_polled_without_sleep,
    deadline_of_a_service_ends_the_sleep,
    sleeping_costs_no_polls,
    core_run_loop_works_over_this_queue,
)


async def ends(how):
    if how is not None:
        raise how
    return "value"


def exits_run_when_the_end_is_in_order():
    """Outside any loop; what goes wrong here keeps the last line from being printed."""
    left = []
    loop.exits = [lambda now_ms: left.append("first"), lambda now_ms: left.append("second")]
    assert loop.run(ends(None)) == "value"
    assert left == ["first", "second"]
    for how, count in ((ValueError("broken"), 2), (SystemExit(3), 4)):
        try:
            loop.run(ends(how))
        except (ValueError, SystemExit) as error:
            assert error is how
        assert len(left) == count, left
    loop.exits = []


exits_run_when_the_end_is_in_order()
loop.run(run_all(CHECKS))
