# SPDX-License-Identifier: MIT
"""The IPv6 addresses of an interface: duplicate address detection and lifetimes (RFC 4862), and which one to send from
(RFC 6724). No I/O, no clock.

Every address is tentative until nobody has claimed it for a while; then it is preferred, deprecated
when its preferred lifetime is over, and gone when its valid lifetime is.
"""

from libos.net.timers import FAR_MS
from libos.wire import ipv6 as wire

MAX_ADDRESSES = 16  # routers can make us have so many
FIRST_DELAY_MS = 1000  # RFC 4861: MAX_RTR_SOLICITATION_DELAY, so that hosts which start together do not speak together

TENTATIVE = 1
PREFERRED = 2
DEPRECATED = 3
DUPLICATE = 4  # somebody else has it

# RFC 6724 section 2.1: prefix, its length, label. The longest comes first.
_LABELS = (
    (wire.LOOPBACK, 128, 0),
    (bytes(10) + b"\xff\xff" + bytes(4), 96, 4),
    (bytes(16), 96, 3),
    (b"\x20\x01" + bytes(14), 32, 5),
    (b"\x20\x02" + bytes(14), 16, 2),
    (b"\x3f\xfe" + bytes(14), 16, 12),
    (b"\xfe\xc0" + bytes(14), 10, 11),
    (b"\xfc" + bytes(15), 7, 13),
)


def label(ip):
    """The label of an address: what is to be sent from and to the same kind (RFC 6724 section 2.1)."""
    for prefix, prefix_len, number in _LABELS:
        if wire.common_prefix_len(ip, prefix) >= prefix_len:
            return number
    return 1


class Address:
    """One address. is_autoconf: made from a router's prefix; retries: how often it had to be made anew.

    valid_ms, preferred_ms: when these lifetimes end.
    """

    def __init__(self, ip, prefix_len, is_autoconf, valid_ms, preferred_ms, retries):
        self.ip = ip
        self.prefix_len = prefix_len
        self.is_autoconf = is_autoconf
        self.valid_ms = valid_ms
        self.preferred_ms = preferred_ms
        self.retries = retries
        self.state = TENTATIVE
        self.scope = wire.scope(ip)
        self.solicits_left = 0
        self.next_ms = FAR_MS  # of duplicate address detection

    def deadline_ms(self):
        if self.state == TENTATIVE:
            return min(self.next_ms, self.valid_ms)
        # Only a preferred one becomes deprecated: one that is somebody else's waits for its end alone.
        return min(self.preferred_ms, self.valid_ms) if self.state == PREFERRED else self.valid_ms


class Addresses:
    """The addresses of one Ipv6. dad_transmits: solicitations before an address is used (RFC 4862); 0: used at once.

    on_usable(address, now_ms), on_duplicate(address, now_ms): called when it is decided which one an address is.
    on_lost(address): called when one that was usable has gone.
    """

    def __init__(self, ipv6, random, dad_transmits):
        self.ipv6 = ipv6
        self.dad_transmits = dad_transmits
        self.on_usable = None
        self.on_duplicate = None
        self.on_lost = None
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._random = random
        self._timers = ipv6.ethernet.timers
        self._timers.restorers.append(self._rearm)
        self._table = {}
        self._usable = {}
        self._is_started = False

    def all(self):
        """Every Address, tentative and duplicate ones as well."""
        return list(self._table.values())

    def get(self, ip):
        """The Address, in whatever state, or None."""
        return self._table.get(ip)

    def is_usable(self, ip):
        """True for an address that is ours to send from and to be reached at."""
        return ip in self._usable

    def add(self, ip, prefix_len, now_ms, is_autoconf=False, valid_ms=FAR_MS, preferred_ms=FAR_MS, retries=0):
        """Begins to have an address. Returns the Address, or None when there are enough already."""
        if ip in self._table or len(self._table) >= MAX_ADDRESSES:
            return None
        address = Address(ip, prefix_len, is_autoconf, valid_ms, preferred_ms, retries)
        self._table[ip] = address
        self.ipv6.mld.join(wire.solicited_node(ip))
        if not self.dad_transmits:
            self._make_usable(address, now_ms)
        elif self._is_started:
            self._detect(address, now_ms)
        self._rearm(now_ms)
        return address

    def start(self, now_ms):
        """Begins duplicate address detection for what was added before there was time."""
        self._is_started = True
        for address in self.all():
            if address.state == TENTATIVE:
                self._detect(address, now_ms)
        self._rearm(now_ms)

    def _detect(self, address, now_ms):
        address.solicits_left = self.dad_transmits
        address.next_ms = now_ms + self._random.u32() % FIRST_DELAY_MS

    def remove(self, address, now_ms):
        """Gives an address up."""
        del self._table[address.ip]
        was_usable = self._usable.pop(address.ip, None) is not None
        self.ipv6.mld.leave(wire.solicited_node(address.ip))
        self.ipv6.neighbours.generation += 1
        self._rearm(now_ms)
        if was_usable and self.on_lost is not None:
            self.on_lost(address)

    def _make_usable(self, address, now_ms):
        address.next_ms = FAR_MS
        address.state = PREFERRED if now_ms < address.preferred_ms else DEPRECATED
        self._usable[address.ip] = address
        if self.on_usable is not None:
            self.on_usable(address, now_ms)

    def claimed(self, ip, now_ms):
        """Somebody else has, or wants, an address. A tentative one of ours is given up (RFC 4862 section 5.4)."""
        address = self._table.get(ip)
        if address is None or address.state != TENTATIVE:
            return
        self.ipv6.counters["DuplicateAddresses"] += 1
        address.state = DUPLICATE
        address.next_ms = FAR_MS
        if self.on_duplicate is not None:
            self.on_duplicate(address, now_ms)

    def _rearm(self, _now_ms):
        first_ms = FAR_MS
        for address in self._table.values():
            first_ms = min(first_ms, address.deadline_ms())
        if first_ms == FAR_MS:
            self._timers.cancel(self)
        elif first_ms != self.timer_at:
            self._timers.schedule(self, first_ms)

    def on_timer(self, now_ms):
        for address in self.all():
            if address.valid_ms <= now_ms:
                self.remove(address, now_ms)
            elif address.state == PREFERRED and address.preferred_ms <= now_ms:
                address.state = DEPRECATED
            elif address.next_ms <= now_ms:
                self._ask(address, now_ms)
        self._rearm(now_ms)

    def _ask(self, address, now_ms):
        if not address.solicits_left:
            self._make_usable(address, now_ms)
            return
        address.solicits_left -= 1
        address.next_ms = now_ms + self.ipv6.neighbours.retrans_ms
        group = wire.solicited_node(address.ip)
        self.ipv6.neighbours.solicit(wire.UNSPECIFIED, group, address.ip, wire.multicast_mac(group))

    def set_lifetimes(self, address, valid_ms, preferred_ms, now_ms):
        """Other ends of the lifetimes of an address."""
        address.valid_ms = valid_ms
        address.preferred_ms = preferred_ms
        if address.state == PREFERRED or address.state == DEPRECATED:
            address.state = PREFERRED if now_ms < preferred_ms else DEPRECATED
        self._rearm(now_ms)

    def link_local(self):
        """Our usable link-local address, or None."""
        for address in self._usable.values():
            if address.scope == wire.SCOPE_LINK:
                return address.ip
        return None

    def select(self, dst_ip):
        """The address to send to `dst_ip` from (RFC 6724 section 5), or None when there is none."""
        if dst_ip in self._usable:
            return dst_ip  # rule 1
        best = best_rank = None
        scope = wire.scope(dst_ip)
        dst_label = label(dst_ip)
        for address in self._usable.values():
            # Rule 2: the smallest scope that reaches, else the largest. Rules 3, 6 and 8.
            reach = -address.scope if address.scope >= scope else address.scope - 32
            common = min(wire.common_prefix_len(address.ip, dst_ip), address.prefix_len)
            rank = (reach, address.state == PREFERRED, label(address.ip) == dst_label, common)
            if best is None or rank > best_rank:
                best, best_rank = address.ip, rank
        return best
