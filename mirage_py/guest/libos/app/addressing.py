# SPDX-License-Identifier: MIT
"""Where the IPv4 address comes from: boot arguments, DHCP, or, when nobody answers, a default that is said aloud.

The application starts at once: what listens needs no address, and answers as soon as there is one. Who connects waits
for it: `await stack.wait_until_up()`, which `stack.tcp.connect` does by itself.
"""

import sys
from time import ticks_add, ticks_diff, ticks_ms

from libos.wire.ipv4 import format_address

from .args import EXIT_USAGE
from .flow import Alarm

DEFAULT_ADDRESS = "10.%d.0.2/24"  # of the first interface, 0, and those after it
_FAR_MS = 1 << 29  # longer than anybody waits
MAX_REFUSALS = 8  # that are told, until there is a lease
IPV6_START_MS = 4000  # for the answer of a router, and to see that our address is nobody else's
DHCP_TARGET = "hvt"  # a machine of its own asks by itself; a process among others is told


class Addressing:
    """ipv4: net.ipv4.Ipv4 without an address; client: net.dhcp.Dhcp for it; log: app.log.Log.

    dhcp: whether to ask; None: on hvt, unless there is an address. address ("10.0.0.2/24"), gateway: static ones; with
    `dhcp` what to fall back to. Leaves with exit code 64, and a line that says why, when they do not fit together.

    ipv6: net.ipv6.Ipv6 on the same interface, which finds its addresses itself, or None. ipv6_only: none of IPv4.

    order: how many interfaces come before this one: their default addresses are others.

    is_settled: DHCP has answered, or does not, or is not asked. is_up: there is an IPv4 address. address:
    "10.0.0.2/24", or None. has_ipv6: there is an IPv6 address that others than neighbours can answer. on_change: called
    after all these, or name servers, have changed.
    """

    def __init__(
        self,
        ipv4,
        client,
        log,
        ipv6=None,
        dhcp=None,
        address=None,
        gateway=None,
        ipv6_only=False,
        target=DHCP_TARGET,
        order=0,
    ):
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.ipv6_only = ipv6_only
        self.has_ipv6 = False
        self.client = client
        self.log = log
        self.address = None
        self.is_up = False
        self.is_settled = False
        self.on_change = None
        self._resolvers = []  # that DHCP named
        self._started_ms = ticks_ms()
        self._name = ipv4.ethernet.device.name
        self._static = (address or DEFAULT_ADDRESS % order, gateway)
        self._is_default = address is None
        self._lease = None
        self._refusals = []  # that have been told
        self._alarms = []  # of the tasks that wait
        if ipv6 is not None:
            ipv6.on_address = self._ipv6_address
            ipv6.on_duplicate = self._ipv6_duplicate
            ipv6.routers.on_change = self._changed
        if ipv6_only:
            if ipv6 is None or not ipv6.is_enabled:
                print("error: --ipv6-only and --ipv4-only together leave no network: give one of them")
                sys.exit(EXIT_USAGE)
            self.is_settled = True
            return
        if dhcp is None:
            dhcp = address is None and target == DHCP_TARGET
        if not dhcp or address is not None or gateway is not None:
            self._check_static()
        if dhcp:
            client.on_bound = self._bound
            client.on_lost = self._lost
            client.on_silence = self._silence
            client.on_refused = self._refused
            client.start()
        else:
            self._set(self._static[0], self._static[1], "")

    def _check_static(self):
        """What is wrong with boot arguments is said now, not when DHCP fails."""
        try:
            self.ipv4.set_address(self._static[0], self._static[1])
        except ValueError as error:
            print("error: --ipv4: %s" % error)
            sys.exit(EXIT_USAGE)
        self.ipv4.set_address(None)

    async def wait_until_up(self, timeout_ms=None):
        """Returns True as soon as there is an address of either family; False when there is none after timeout_ms."""
        if not self.is_up and not self.has_ipv6:
            await self._wait(_FAR_MS if timeout_ms is None else timeout_ms)
        return self.is_up or self.has_ipv6

    async def wait_for(self, ip, timeout_ms):
        """Waits for an address to connect to `ip` from. Returns False when there was none in time.

        Of IPv6 only as long as it takes at the start: where no router speaks it, there will be none.
        """
        if ":" in ip:
            left_ms = IPV6_START_MS - ticks_diff(ticks_ms(), self._started_ms)
            if self.ipv6 is not None and not self.has_ipv6 and left_ms > 0:
                await self._wait(min(left_ms, timeout_ms))
            return True
        deadline_ms = ticks_add(ticks_ms(), timeout_ms)
        while not self.is_up and not self.ipv6_only:
            left_ms = ticks_diff(deadline_ms, ticks_ms())
            if left_ms <= 0:
                return False
            await self._wait(left_ms)
        return True

    async def _wait(self, timeout_ms):
        alarm = Alarm()
        self._alarms.append(alarm)
        try:
            await alarm.sleep_until(ticks_add(ticks_ms(), timeout_ms))
        finally:
            self._alarms.remove(alarm)

    def resolvers(self):
        """Name servers that DHCP and routers named, as text."""
        return self._resolvers + ([] if self.ipv6 is None else self.ipv6.routers.resolvers())

    def _ipv6_address(self, text, is_ours):
        if text.startswith("fe80:"):
            self.log.debug(self._name, text)
            return
        self.log.info(self._name, text if is_ours else text + " is ours no more")
        self.has_ipv6 = self.ipv6.has_address()
        if is_ours:
            for alarm in self._alarms:
                alarm.wake()
        self._changed()

    def _ipv6_duplicate(self, text):
        self.log.warning(self._name, "%s is somebody else's: not used" % text)

    def release(self, now_ms):
        """The image ends in order: the address goes back to whom it came from."""
        self.client.stop(now_ms)

    def _set(self, address, gateway, origin, routes=()):
        self.ipv4.set_address(address, None if routes else gateway, routes)
        self.address = address
        self.is_up = self.is_settled = True
        for alarm in self._alarms:
            alarm.wake()
        if gateway:
            origin += ", gateway " + gateway
        others = len([route for route in routes if route[1]])
        if others:
            origin += ", %d other route%s" % (others, "s" if others > 1 else "")
        self.log.info(self._name, address + origin)
        self._changed()

    def _changed(self):
        if self.on_change is not None:
            self.on_change()

    def _bound(self, lease, _now_ms):
        old = self._lease
        self._lease = lease
        is_same = (
            old is not None
            and (old.ip, old.prefix_len, old.routes, old.mtu) == (lease.ip, lease.prefix_len, lease.routes, lease.mtu)
        )  # fmt: skip
        self._resolvers = [format_address(ip) for ip in lease.resolvers]
        if is_same:
            self.log.debug(self._name, "lease extended by %d s" % lease.duration_s)
            self._changed()
            return
        self.ipv4.set_mtu(self.ipv4.ethernet.mtu if lease.mtu is None else lease.mtu)
        gateway = None if lease.router is None else format_address(lease.router)
        self._refusals = []
        if lease.ignored:
            self.log.warning(self._name, "not used of what DHCP says: " + ", ".join(lease.ignored))
        self._set("%s/%d" % (format_address(lease.ip), lease.prefix_len), gateway, " by DHCP", lease.routes)

    def _refused(self, why, _now_ms):
        """Each reason once, and not many: whoever sends them is not to fill the console."""
        if why not in self._refusals and len(self._refusals) < MAX_REFUSALS:
            self._refusals.append(why)
            self.log.warning(self._name, "an answer by DHCP is refused: " + why)

    def _lost(self, reason, _now_ms):
        self.log.warning(self._name, "%s is lost: %s" % (self.address, reason))
        self._lease = None
        self._resolvers = []
        self.is_up = False
        self.address = None
        self.ipv4.set_mtu(self.ipv4.ethernet.mtu)
        self.ipv4.set_address(None)
        self._changed()

    def _silence(self, _now_ms):
        address, gateway = self._static
        what = "the default address " if self._is_default else ""
        why = self.client.refusal
        self.log.warning(
            self._name,
            "no %s: falling back to %s%s, and asking on (--no-dhcp: not at all)"
            % ("answer by DHCP" if why is None else "usable answer by DHCP (%s)" % why, what, address),
        )
        self._set(address, gateway, "")
