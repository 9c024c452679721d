# SPDX-License-Identifier: MIT
"""net.timers: a heap with one entry for each owner."""

import random

from hypothesis import given
from hypothesis import strategies as st

from libos.net.timers import FAR_MS, Timers


class Owner:
    def __init__(self, timers=None):
        self.timer_at = FAR_MS
        self.timer_place = 0
        self.fired = []
        self.timers = timers
        self.again_ms = None

    def on_timer(self, now_ms):
        self.fired.append(now_ms)
        if self.again_ms is not None:
            self.timers.schedule(self, now_ms + self.again_ms)


def test_owners_fire_when_due_and_once():
    timers = Timers()
    early, late = Owner(), Owner()
    timers.schedule(late, 200)
    timers.schedule(early, 100)
    assert timers.next_deadline_ms() == timers.first_ms == 100
    assert timers.poll(99, 10) == 0
    assert timers.poll(100, 10) == 1
    assert (early.fired, late.fired) == ([100], [])
    assert timers.poll(1000, 10) == 1
    assert timers.next_deadline_ms() is None
    assert timers.first_ms == FAR_MS


def test_schedule_again_replaces_and_cancel_forgets():
    timers = Timers()
    owner = Owner()
    timers.schedule(owner, 100)
    timers.schedule(owner, 50)
    assert timers.poll(60, 10) == 1
    assert timers.poll(200, 10) == 0
    timers.schedule(owner, 300)
    timers.cancel(owner)
    timers.cancel(owner)
    assert timers.poll(1000, 10) == 0
    assert len(timers) == 0


def test_owner_may_schedule_itself_while_firing_and_the_work_is_bounded():
    timers = Timers()
    owners = [Owner(timers) for _ in range(10)]
    for owner in owners:
        owner.again_ms = 0
        timers.schedule(owner, 1)
    assert timers.poll(5, 25) == 25
    assert len(timers) == 10


def test_heap_does_not_grow_with_cancelled_entries():
    timers = Timers()
    owners = [Owner() for _ in range(20)]
    for turn in range(10_000):
        owner = owners[turn % 20]
        timers.schedule(owner, 1_000_000 - turn)
    assert len(timers._heap) <= 2 * 20 + 65
    assert len(timers) == 20


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1000), st.booleans()), max_size=200))
def test_agrees_with_a_plain_model(steps):
    timers = Timers()
    owners = [Owner() for _ in range(31)]
    model = {}
    now_ms = 0
    for index, delay, is_cancel in steps:
        owner = owners[index]
        if is_cancel:
            timers.cancel(owner)
            model.pop(index, None)
        else:
            timers.schedule(owner, now_ms + delay)
            model[index] = now_ms + delay
        assert timers.next_deadline_ms() == min(model.values(), default=None)
        now_ms += random.Random(index).randrange(50)
        timers.poll(now_ms, 1000)
        for key in [key for key, due in model.items() if due <= now_ms]:
            del model[key]
            assert owners[key].fired[-1] == now_ms
        assert len(timers) == len(model)
