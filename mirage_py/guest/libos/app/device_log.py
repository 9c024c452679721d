# SPDX-License-Identifier: MIT
"""What befalls a network card, on the console: its cable out or in, its trouble, and that it was started anew.

The driver tells that something has changed, which costs it nothing otherwise (`notify`); a task here says what is
different from what it said last. So what comes and goes faster than lines should is one line, and a count.
"""

import asyncio
from time import ticks_add, ticks_diff, ticks_ms

from .flow import Alarm

START_MS = 2000  # so long a cable may take to be found at the start
MIN_GAP_MS = 1000  # between two sayings; doubled while things go on happening
MAX_GAP_MS = 60000
_FAR_MS = 1 << 29


class DeviceLog:
    """device: whatever has the network device signature, here `notify`, `link_up` and perhaps `trouble`; log:
    app.log.Log. Does nothing for a device that tells nobody.
    """

    def __init__(self, device, log):
        notify = getattr(device, "notify", None)
        if notify is None:
            return
        self._device = device
        self._log = log
        self._is_up = True  # as was said
        self._trouble = None
        self._why = None  # of the last trouble, said or not
        self._breaks = 0  # troubles since the last saying
        self._changes = 0  # of the cable, likewise
        self._alarm = Alarm()
        notify(self._changed)
        asyncio.create_task(self._run())

    def _changed(self, trouble):
        """The driver's call, in the middle of its work. trouble: text, or None for a change of the link."""
        if trouble is None:
            self._changes += 1
        else:
            self._breaks += 1
            self._why = trouble
        self._alarm.wake()

    async def _run(self):
        if not self._device.link_up:
            await asyncio.sleep_ms(START_MS)
        gap_ms = MIN_GAP_MS
        while True:
            self._alarm = Alarm()
            said_ms = ticks_ms()
            if self._say():
                await asyncio.sleep_ms(gap_ms)
            await self._alarm.sleep_until(ticks_add(ticks_ms(), _FAR_MS))
            # What comes right after the last saying is a cable that flaps: it is told of ever less often.
            is_busy = ticks_diff(ticks_ms(), said_ms) < 2 * gap_ms
            gap_ms = min(2 * gap_ms, MAX_GAP_MS) if is_busy else MIN_GAP_MS

    def _say(self):
        """Says what is new. False when that is nothing."""
        device = self._device
        log = self._log
        trouble = _without_name(getattr(device, "trouble", None), device.name)
        breaks, self._breaks = self._breaks, 0
        if trouble is not None:
            # It tries on by itself; a reason that stays the same is said once.
            if trouble == self._trouble:
                return False
            self._trouble = trouble
            log.warning(device.name, trouble + ": it is out of use")
            return True
        has_said = False
        if breaks or self._trouble is not None:
            again = "" if breaks < 2 else " (%d times)" % breaks
            why = _without_name(self._why, device.name)
            what = "it works again" if self._trouble is not None else why + ": it was started anew"
            log.warning(device.name, what + again)
            self._trouble = None
            has_said = True
        changes, self._changes = self._changes, 0
        if device.link_up != self._is_up:
            self._is_up = device.link_up
            if self._is_up:
                log.info(device.name, "the link is up")
            else:
                log.warning(device.name, "the link is down")
        elif changes > 1 and not has_said:
            again = "" if changes < 4 else " (%d times)" % (changes // 2)
            log.warning(device.name, "the link went and came again" + again)
        else:
            return has_said
        return True


def _without_name(trouble, name):
    """Some reasons begin with the device's name, as the line does."""
    name += ": "
    return trouble[len(name) :] if trouble is not None and trouble.startswith(name) else trouble
