# SPDX-License-Identifier: MIT
"""app.device_log: what befalls a card is said, once, and not more often than lines should be."""

import asyncio

from harness import run_all
from servers import Recorder

from libos.app import device_log
from libos.app.device_log import DeviceLog
from libos.app.log import Log
from libos.hal.loop import EventLoop

loop = EventLoop()
device_log.START_MS = 60
device_log.MIN_GAP_MS = 40
device_log.MAX_GAP_MS = 160


class Card:
    """A network device of which only its state matters."""

    def __init__(self, link_up=True):
        self.name = "net0"
        self.link_up = link_up
        self.trouble = None
        self.on_change = None
        self.console = Recorder()
        DeviceLog(self, Log("info", self.console))

    def notify(self, on_change):
        self.on_change = on_change

    def set_link(self, is_up):
        self.link_up = is_up
        self.on_change(None)

    def break_down(self, why):
        self.trouble = why
        self.link_up = False
        self.on_change(why)

    def mend(self):
        self.trouble = None
        self.link_up = True
        self.on_change(None)

    def lines(self):
        lines = self.console.text.splitlines()
        self.console.text = ""
        return lines


async def cable_out_and_in_is_a_line_each():
    card = Card()
    await asyncio.sleep_ms(20)
    assert card.lines() == []
    card.set_link(False)
    await asyncio.sleep_ms(120)
    assert card.lines() == ["net0: warning: the link is down"]
    card.set_link(True)
    await asyncio.sleep_ms(20)
    assert card.lines() == ["net0: the link is up"]


async def card_that_starts_without_a_cable_says_so_after_a_while():
    card = Card(link_up=False)
    await asyncio.sleep_ms(20)
    assert card.lines() == []
    await asyncio.sleep_ms(80)
    assert card.lines() == ["net0: warning: the link is down"]
    quick = Card(link_up=False)
    await asyncio.sleep_ms(20)
    quick.set_link(True)
    await asyncio.sleep_ms(100)
    assert quick.lines() == []


async def cable_that_flaps_does_not_fill_the_console():
    card = Card()
    for number in range(200):
        card.set_link(number & 1 == 1)
        await asyncio.sleep_ms(5)
    lines = card.lines()
    assert 2 <= len(lines) <= 12, lines
    await asyncio.sleep_ms(400)
    card.lines()
    # Out and in again before anybody looks: one line all the same, and the last word is right.
    card.set_link(False)
    card.set_link(True)
    await asyncio.sleep_ms(20)
    assert card.lines() == ["net0: warning: the link went and came again"]
    card.set_link(False)
    await asyncio.sleep_ms(400)
    assert card.lines() == ["net0: warning: the link is down"]


async def reset_is_said_with_its_reason():
    card = Card()
    await asyncio.sleep_ms(10)
    card.break_down("the device asks for a reset")
    card.mend()
    await asyncio.sleep_ms(100)
    assert card.lines() == ["net0: warning: the device asks for a reset: it was started anew"]
    for _ in range(5):
        card.break_down("the device asks for a reset")
        card.mend()
    await asyncio.sleep_ms(20)
    assert card.lines() == ["net0: warning: the device asks for a reset: it was started anew (5 times)"]


async def trouble_that_stays_is_said_once_and_so_is_its_end():
    card = Card()
    await asyncio.sleep_ms(10)
    for _ in range(100):
        card.break_down("net0: virtio reset: not within 20 ms")
        await asyncio.sleep_ms(5)
    assert card.lines() == ["net0: warning: virtio reset: not within 20 ms: it is out of use"]
    card.mend()
    await asyncio.sleep_ms(400)
    lines = card.lines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("net0: warning: it works again"), lines


async def device_that_tells_nobody_is_left_alone():
    class Mute:
        name = "mute"
        link_up = False

    console = Recorder()
    DeviceLog(Mute(), Log("info", console))
    await asyncio.sleep_ms(100)
    assert console.text == ""


loop.run(
    run_all(
        (
            cable_out_and_in_is_a_line_each,
            card_that_starts_without_a_cable_says_so_after_a_while,
            cable_that_flaps_does_not_fill_the_console,
            reset_is_said_with_its_reason,
            trouble_that_stays_is_said_once_and_so_is_its_end,
            device_that_tells_nobody_is_left_alone,
        )
    )
)
