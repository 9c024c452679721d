# SPDX-License-Identifier: MIT
"""Where the IPv4 address comes from: boot arguments, DHCP, or, when nobody answers, a default that is said aloud.

The application starts at once: what listens needs no address, and answers as soon as there is one. Who connects waits
for it: `await stack.wait_until_up()`, which `stack.tcp.connect` does by itself.
"""

import sys
from time import ticks_add, ticks_ms

from libos.wire.ipv4 import format_address

from .args import EXIT_USAGE
from .flow import Alarm

DEFAULT_ADDRESS = "10.0.0.2/24"
_FAR_MS = 1 << 29  # longer than anybody waits
DHCP_TARGET = "hvt"  # a machine of its own asks by itself; a process among others is told


class Addressing:
    """ipv4: net.ipv4.Ipv4 without an address; client: net.dhcp.Dhcp for it; log: app.log.Log.

    dhcp: whether to ask; None: on hvt, unless there is an address. address ("10.0.0.2/24"), gateway: static ones; with
    `dhcp` what to fall back to. Leaves with exit code 64, and a line that says why, when they do not fit together.

    is_up: there is an address. address: "10.0.0.2/24", or None. resolvers: name servers that DHCP named, as text.
    on_change: called after all these have changed.
    """

    def __init__(self, ipv4, client, log, dhcp=None, address=None, gateway=None, target=DHCP_TARGET):
        self.ipv4 = ipv4
        self.client = client
        self.log = log
        self.address = None
        self.is_up = False
        self.resolvers = []
        self.on_change = None
        self._name = ipv4.ethernet.device.name
        self._static = (address or DEFAULT_ADDRESS, gateway)
        self._is_default = address is None
        self._lease = None
        self._alarms = []  # of the tasks that wait
        if dhcp is None:
            dhcp = address is None and target == DHCP_TARGET
        if not dhcp or address is not None or gateway is not None:
            self._check_static()
        if dhcp:
            client.on_bound = self._bound
            client.on_lost = self._lost
            client.on_silence = self._silence
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
        """Returns True as soon as there is an address; False when timeout_ms have passed without one."""
        if not self.is_up:
            alarm = Alarm()
            self._alarms.append(alarm)
            try:
                await alarm.sleep_until(ticks_add(ticks_ms(), _FAR_MS if timeout_ms is None else timeout_ms))
            finally:
                self._alarms.remove(alarm)
        return self.is_up

    def release(self, now_ms):
        """The image ends in order: the address goes back to whom it came from."""
        self.client.stop(now_ms)

    def _set(self, address, gateway, origin):
        self.ipv4.set_address(address, gateway)
        self.address = address
        self.is_up = True
        for alarm in self._alarms:
            alarm.wake()
        self.log.info(self._name, address + origin + (", gateway " + gateway if gateway else ""))
        self._changed()

    def _changed(self):
        if self.on_change is not None:
            self.on_change()

    def _bound(self, lease, _now_ms):
        old = self._lease
        self._lease = lease
        is_same = (
            old is not None
            and (old.ip, old.prefix_len, old.router, old.mtu) == (lease.ip, lease.prefix_len, lease.router, lease.mtu)
        )  # fmt: skip
        self.resolvers = [format_address(ip) for ip in lease.resolvers]
        if is_same:
            self.log.debug(self._name, "lease extended by %d s" % lease.duration_s)
            self._changed()
            return
        link_mtu = self.ipv4.ethernet.mtu
        self.ipv4.mtu = link_mtu if lease.mtu is None else min(lease.mtu, link_mtu)
        gateway = None if lease.router is None else format_address(lease.router)
        self._set("%s/%d" % (format_address(lease.ip), lease.prefix_len), gateway, " by DHCP")

    def _lost(self, reason, _now_ms):
        self.log.warning(self._name, "%s is lost: %s" % (self.address, reason))
        self._lease = None
        self.resolvers = []
        self.is_up = False
        self.address = None
        self.ipv4.mtu = self.ipv4.ethernet.mtu
        self.ipv4.set_address(None)
        self._changed()

    def _silence(self, _now_ms):
        address, gateway = self._static
        what = "the default address " if self._is_default else ""
        self.log.warning(
            self._name,
            "no answer by DHCP: falling back to %s%s, and asking on (--no-dhcp: not at all)" % (what, address),
        )
        self._set(address, gateway, "")
