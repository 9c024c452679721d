# SPDX-License-Identifier: MIT
"""What routers advertise (RFC 4861 section 6.3, RFC 4862, RFC 4191, RFC 8106): default routers, prefixes, addresses
made of them (RFC 7217), name servers. No I/O, no clock.

Everything has a lifetime and a bound. An advertisement can be forged by anybody on the link, so none of its values may
cut us off: the hop limit and the timers have bounds, the MTU stays between 1280 and the link's, and the lifetime of an
address is not shortened below two hours.
"""

import hashlib

from libos.net.timers import FAR_MS
from libos.wire import icmp6 as wire
from libos.wire import ipv6 as wire_ipv6

MAX_ROUTERS = 8
MAX_PREFIXES = 16
MAX_RESOLVERS = 4
SOLICITATIONS = 3  # RFC 4861 section 10
SOLICIT_INTERVAL_MS = 4000
FIRST_DELAY_MS = 1000
RETRIES = 3  # RFC 7217: IDGEN_RETRIES
RETRY_DELAY_MS = 1000
TWO_HOURS_MS = 7200000
INFINITE_S = 0xFFFFFFFF
MIN_HOP_LIMIT = 32  # fewer would be an attack; the Internet is not that wide
RETRANS_RANGE_MS = (100, 60000)
REACHABLE_RANGE_MS = (1000, 3600000)  # the upper one: RFC 4861 section 6.2.1

# Preferences (RFC 4191 section 2.1), by their two bits; the reserved one means the middle.
_PREFERENCES = (0, 1, 0, -1)


class Router:
    """A default router. is_lost: it did not answer when its MAC was asked for."""

    def __init__(self, ip):
        self.ip = ip
        self.preference = 0
        self.until_ms = 0
        self.is_lost = False


def interface_id(prefix, mac, counter, secret):
    """64 bits for an address with this prefix of 8 octets: stable, and telling nothing to other networks (RFC 7217)."""
    while True:
        octets = hashlib.sha256(prefix + mac + bytes([counter & 255, counter >> 8]) + secret).digest()[:8]
        if not _is_reserved(octets):
            return octets
        counter += 256


def _is_reserved(octets):
    """RFC 5453: anycast addresses of routers and others."""
    return (
        not any(octets)
        or octets[:5] == b"\x02\x00\x5e\xff\xfe"
        or (octets[:7] == b"\xfd\xff\xff\xff\xff\xff\xff" and octets[7] >= 0x80)
    )


class Routers:
    """The routers and prefixes that one Ipv6 knows of. is_listening: advertisements are accepted.

    secret: octets that make the addresses ours. resolvers(now_ms): name servers, as text.
    """

    def __init__(self, ipv6, random, secret, is_listening):
        self.ipv6 = ipv6
        self.is_listening = is_listening
        self.secret = secret
        self.on_change = None  # called when resolvers may be others than before
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._random = random
        self._timers = ipv6.ethernet.timers
        self._timers.restorers.append(self._rearm)
        self._routers = []  # in the order in which they were heard of
        self._prefixes = {}  # (prefix, length) -> end of its lifetime
        self._resolvers = {}  # address -> end of its lifetime
        self._retries = []  # (when, prefix, retries): addresses that were somebody else's, to be made anew
        self._solicitations = 0
        self._solicit_ms = FAR_MS

    def _ignored(self):
        """An advertisement, or a part of it: not listening, out of bounds, or tables full."""
        self.ipv6.counters["RouterIgnored"] += 1

    def start(self, now_ms):
        """Asks for advertisements, now that there is a link-local address."""
        if self.is_listening and not self._routers:
            self._solicitations = SOLICITATIONS
            self._solicit_ms = now_ms + self._random.u32() % FIRST_DELAY_MS
            self._rearm(now_ms)

    def default(self):
        """The address of the router for everything that is not on the link, or None."""
        best = best_rank = None
        for router in self._routers:
            rank = (not router.is_lost, router.preference)
            if best is None or rank > best_rank:
                best, best_rank = router.ip, rank
        return best

    def lost(self, ip):
        """A neighbour does not answer: another router is better, if it is one."""
        for router in self._routers:
            router.is_lost = router.is_lost or router.ip == ip

    def remove(self, ip, now_ms):
        """A router is none any longer."""
        self._routers = [router for router in self._routers if router.ip != ip]
        self._routes_changed(now_ms)

    def is_on_link(self, ip):
        """True for addresses of a prefix that a router declared to be on the link."""
        for prefix, prefix_len in self._prefixes:
            if wire_ipv6.network(ip, prefix_len) == prefix:
                return True
        return False

    def resolvers(self):
        """Addresses of name servers, as text."""
        return [wire_ipv6.format_address(ip) for ip in self._resolvers]

    def known(self):
        """([router's address], [(prefix, length)]), for who wants to look."""
        return ([router.ip for router in self._routers], list(self._prefixes))

    def input(self, message, options, src_ip, now_ms):
        """A router advertisement from a link-local address, with the hop limit that it must have."""
        if not self.is_listening:
            self._ignored()
            return
        hop_limit, flags, lifetime_s, reachable_ms, retrans_ms = wire.parse_router(message)
        self._solicit_ms = FAR_MS
        self._set_parameters(hop_limit, reachable_ms, retrans_ms)
        mac = wire.find_mac(options, wire.SOURCE_MAC)
        entry = None if mac is None else self.ipv6.neighbours.learn(src_ip, mac, now_ms)
        if entry is not None:
            entry.is_router = True
        self._set_router(src_ip, flags, lifetime_s, now_ms)
        for kind, value in options:
            if kind == wire.MTU:
                self._set_mtu(wire.parse_mtu(value))
            elif kind == wire.PREFIX_INFORMATION:
                self._set_prefix(wire.parse_prefix(value), now_ms)
            elif kind == wire.DNS_SERVERS:
                self._set_resolvers(wire.parse_dns_servers(value), now_ms)
        self._rearm(now_ms)

    def _set_parameters(self, hop_limit, reachable_ms, retrans_ms):
        neighbours = self.ipv6.neighbours
        if hop_limit >= MIN_HOP_LIMIT:
            self.ipv6.hop_limit = hop_limit
        elif hop_limit:
            self._ignored()
        if REACHABLE_RANGE_MS[0] <= reachable_ms <= REACHABLE_RANGE_MS[1]:
            neighbours.reachable_ms = reachable_ms
        elif reachable_ms:
            self._ignored()
        if RETRANS_RANGE_MS[0] <= retrans_ms <= RETRANS_RANGE_MS[1]:
            neighbours.retrans_ms = retrans_ms
        elif retrans_ms:
            self._ignored()

    def _set_router(self, ip, flags, lifetime_s, now_ms):
        for router in self._routers:
            if router.ip == ip:
                break
        else:
            if not lifetime_s:
                return
            if len(self._routers) >= MAX_ROUTERS:
                self._ignored()
                return
            router = Router(ip)
            self._routers.append(router)
        if not lifetime_s:
            self.remove(ip, now_ms)
            return
        preference = _PREFERENCES[flags >> 3 & 3]
        if preference != router.preference or router.is_lost or not router.until_ms:
            self._routes_changed(now_ms)
        router.preference = preference
        router.is_lost = False
        router.until_ms = now_ms + 1000 * lifetime_s

    def _routes_changed(self, now_ms):
        self.ipv6.neighbours.generation += 1
        self._rearm(now_ms)

    def _set_mtu(self, mtu):
        if mtu is not None and wire_ipv6.MIN_MTU <= mtu <= self.ipv6.ethernet.mtu:
            self.ipv6.mtu = mtu
        else:
            self._ignored()

    def _set_prefix(self, information, now_ms):
        if information is None:
            self._ignored()
            return
        prefix_len, flags, valid_s, preferred_s, prefix = information
        if wire_ipv6.scope(prefix) == wire_ipv6.SCOPE_LINK or not wire_ipv6.is_unicast(prefix):
            self._ignored()
            return
        if flags & wire.ON_LINK:
            self._set_on_link(wire_ipv6.network(prefix, prefix_len), prefix_len, valid_s, now_ms)
        if flags & wire.AUTONOMOUS:
            if prefix_len == 64:
                self._set_address(prefix[:8], _until(valid_s, now_ms), _until(preferred_s, now_ms), now_ms)
            else:
                self._ignored()

    def _set_on_link(self, prefix, prefix_len, valid_s, now_ms):
        key = (prefix, prefix_len)
        if not valid_s:
            if self._prefixes.pop(key, None) is not None:
                self._routes_changed(now_ms)
        elif key in self._prefixes or len(self._prefixes) < MAX_PREFIXES:
            if key not in self._prefixes:
                self._routes_changed(now_ms)
            self._prefixes[key] = _until(valid_s, now_ms)
        else:
            self._ignored()

    def _set_address(self, prefix, valid_ms, preferred_ms, now_ms):
        """RFC 4862 section 5.5.3, d and e."""
        addresses = self.ipv6.addresses
        is_known = False
        for address in addresses.all():
            if address.is_autoconf and address.ip[:8] == prefix:
                is_known = True
                left_ms = address.valid_ms - now_ms
                if valid_ms - now_ms <= TWO_HOURS_MS and valid_ms < address.valid_ms:
                    # Whoever wants to cut us off must go on for two hours.
                    valid_ms = address.valid_ms if left_ms <= TWO_HOURS_MS else now_ms + TWO_HOURS_MS
                addresses.set_lifetimes(address, valid_ms, preferred_ms, now_ms)
        if is_known or valid_ms <= now_ms:
            return
        for _when, waiting, _retries in self._retries:
            if waiting == prefix:
                return
        self._make_address(prefix, 0, valid_ms, preferred_ms, now_ms)

    def _make_address(self, prefix, retries, valid_ms, preferred_ms, now_ms):
        ip = prefix + interface_id(prefix, self.ipv6.ethernet.mac, retries, self.secret)
        if self.ipv6.addresses.add(ip, 64, now_ms, True, valid_ms, preferred_ms, retries) is None:
            self._ignored()

    def again(self, address, now_ms):
        """An address that we made is somebody else's: another one is tried after a while (RFC 7217 section 6)."""
        if address.retries < RETRIES:
            self._retries.append((now_ms + self._random.u32() % RETRY_DELAY_MS, address.ip[:8], address))
            self._rearm(now_ms)

    def _set_resolvers(self, information, now_ms):
        if information is None:
            self._ignored()
            return
        lifetime_s, servers = information
        for ip in servers:
            if not lifetime_s:
                self._resolvers.pop(ip, None)
            elif ip in self._resolvers or len(self._resolvers) < MAX_RESOLVERS:
                self._resolvers[ip] = _until(lifetime_s, now_ms)
            else:
                self._ignored()
        if self.on_change is not None:
            self.on_change()

    def _rearm(self, _now_ms):
        first_ms = self._solicit_ms
        for router in self._routers:
            first_ms = min(first_ms, router.until_ms)
        for until_ms in self._prefixes.values():
            first_ms = min(first_ms, until_ms)
        for until_ms in self._resolvers.values():
            first_ms = min(first_ms, until_ms)
        for when_ms, _prefix, _address in self._retries:
            first_ms = min(first_ms, when_ms)
        if first_ms == FAR_MS:
            self._timers.cancel(self)
        elif first_ms != self.timer_at:
            self._timers.schedule(self, first_ms)

    def on_timer(self, now_ms):
        if self._solicit_ms <= now_ms:
            self._solicit(now_ms)
        for router in list(self._routers):
            if router.until_ms <= now_ms:
                self.remove(router.ip, now_ms)
        for key, until_ms in list(self._prefixes.items()):
            if until_ms <= now_ms:
                del self._prefixes[key]
                self._routes_changed(now_ms)
        for ip, until_ms in list(self._resolvers.items()):
            if until_ms <= now_ms:
                del self._resolvers[ip]
        self._try_again(now_ms)
        self._rearm(now_ms)

    def _try_again(self, now_ms):
        due = [entry for entry in self._retries if entry[0] <= now_ms]
        self._retries = [entry for entry in self._retries if entry[0] > now_ms]
        for _when_ms, prefix, old in due:
            if self.ipv6.addresses.get(old.ip) is old:
                self.ipv6.addresses.remove(old, now_ms)
            if old.valid_ms > now_ms:
                self._make_address(prefix, old.retries + 1, old.valid_ms, old.preferred_ms, now_ms)

    def _solicit(self, now_ms):
        src_ip = self.ipv6.addresses.link_local()
        if src_ip is not None:
            self.ipv6.neighbours.solicit_routers(src_ip)
        self._solicitations -= 1
        self._solicit_ms = now_ms + SOLICIT_INTERVAL_MS if self._solicitations > 0 else FAR_MS


def _until(lifetime_s, now_ms):
    """When a lifetime ends."""
    return FAR_MS if lifetime_s == INFINITE_S else now_ms + 1000 * lifetime_s
