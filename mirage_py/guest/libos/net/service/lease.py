# SPDX-License-Identifier: MIT
"""What a DHCP server's offer or acknowledgement gives, and whether it makes sense (RFC 2131, 2132, 3442). No I/O."""

from libos.wire import dhcp as wire
from libos.wire import ipv4 as wire_ipv4

MIN_LEASE_S = 10  # shorter ones would only be renewed
MIN_MTU = 576  # RFC 2132 section 5.1 says 68, which is more often a mistake or an attack than a link
MAX_RESOLVERS = 3
MAX_ROUTES = 32
MAX_ROUTERS = 8  # that are looked at


class Lease:
    """What a server gave. Addresses are 32-bit numbers.

    router: the gateway, or None. routes: all of them, that to everywhere too: at most MAX_ROUTES of (network, netmask,
    router), router None for a network on this link. resolvers: at most MAX_RESOLVERS name servers. mtu: None where the
    server has none. duration_s: INFINITE_S for ever; renew_s, rebind_s: T1 and T2 of RFC 2131 section 4.4.5.
    ignored: what else was in it and is not used, as text.
    """

    def __init__(self, ip, prefix_len, routes, resolvers, mtu, server_ip, duration_s, renew_s, rebind_s, ignored):
        self.ip = ip
        self.prefix_len = prefix_len
        self.router = None
        for route in routes:
            if not route[1]:
                self.router = route[2]
                break
        self.routes = routes
        self.resolvers = resolvers
        self.mtu = mtu
        self.server_ip = server_ip
        self.duration_s = duration_s
        self.renew_s = renew_s
        self.rebind_s = rebind_s
        self.ignored = ignored


def read_lease(message):
    """The Lease in an OFFER or ACK. ValueError, with the reason, when it makes no sense.

    Refused: an address or a server that is no host's, a mask with holes, no lease time or one below MIN_LEASE_S. What
    else is wrong with it costs only what is wrong.
    """
    ip = message.yiaddr
    server_ip = message.number(wire.OPTION_SERVER, 4)
    duration_s = message.number(wire.OPTION_LEASE_TIME, 4)
    if server_ip is None:
        raise ValueError("no server identifier")
    if duration_s is None:
        raise ValueError("no lease time")
    if duration_s < MIN_LEASE_S:
        raise ValueError("a lease of %d s" % duration_s)
    prefix_len = _prefix_len(message, ip)
    if not wire_ipv4.is_unicast(ip) or not _is_host(ip, ip, prefix_len):
        raise ValueError("%s/%d is no host's address" % (wire_ipv4.format_address(ip), prefix_len))
    if server_ip == ip or not wire_ipv4.is_unicast(server_ip):
        raise ValueError("the server identifier %s" % wire_ipv4.format_address(server_ip))
    ignored = []
    routes = _read_routes(message, ip, prefix_len, ignored)
    resolvers = [other for other in message.addresses(wire.OPTION_DNS, MAX_RESOLVERS) if wire_ipv4.is_unicast(other)]
    mtu = message.number(wire.OPTION_MTU, 2)
    if mtu is not None and mtu < MIN_MTU:
        ignored.append("an MTU of %d" % mtu)
        mtu = None
    renew_s = message.number(wire.OPTION_T1, 4)
    rebind_s = message.number(wire.OPTION_T2, 4)
    if renew_s is None or rebind_s is None or not 0 < renew_s < rebind_s < duration_s:
        renew_s = duration_s // 2
        rebind_s = duration_s * 7 // 8
    return Lease(ip, prefix_len, routes, resolvers, mtu, server_ip, duration_s, renew_s, rebind_s, ignored)


def _read_routes(message, ip, prefix_len, ignored):
    """The routes as Lease has them. Where there are classless ones, the router option says nothing (RFC 3442).

    A router need not be on the network that the mask says: clouds give a /32. It is a neighbour all the same.
    """
    try:
        entries = message.routes()
    except ValueError:
        ignored.append("damaged routes")
        entries = None
    if entries is None:
        return _default_route(message, ip, prefix_len, ignored)
    routes = []
    # That to everywhere is not the one that there is no room for.
    entries = [entry for entry in entries if not entry[0]] + [entry for entry in entries if entry[0]]
    for route_len, network, router in entries:
        if router and not _is_router(router, ip, prefix_len):
            ignored.append("the router " + wire_ipv4.format_address(router))
        elif len(routes) >= MAX_ROUTES:
            ignored.append("more than %d routes" % MAX_ROUTES)
            break
        else:
            routes.append((network, wire_ipv4.netmask(route_len), router or None))
    return routes


def _default_route(message, ip, prefix_len, ignored):
    """From the router option: the first router on the link, else the first that can be one at all."""
    found = None
    routers = message.addresses(wire.OPTION_ROUTER, MAX_ROUTERS)
    for candidate in routers:
        if _is_router(candidate, ip, prefix_len):
            if _is_host(candidate, ip, prefix_len):
                found = candidate
                break
            if found is None:
                found = candidate
    if found is not None:
        return [(0, 0, found)]
    if wire.OPTION_ROUTER in message.options:
        ignored.append("the router " + wire_ipv4.format_address(routers[0]) if routers else "a damaged router")
    return []


def _is_router(candidate, ip, prefix_len):
    """Whether packets can be sent to `candidate` to be handed on."""
    if candidate == ip or not wire_ipv4.is_unicast(candidate):
        return False
    return (candidate ^ ip) & wire_ipv4.netmask(prefix_len) != 0 or _is_host(candidate, ip, prefix_len)


def _prefix_len(message, ip):
    """From the mask; without one from the address's class, as RFC 950 has it. ValueError for a mask with holes."""
    if wire.OPTION_MASK not in message.options:
        top = ip >> 24
        return 8 if top < 128 else 16 if top < 192 else 24
    mask = message.number(wire.OPTION_MASK, 4)
    if not mask:
        raise ValueError("an empty netmask")
    host_bits = mask ^ 0xFFFFFFFF
    if host_bits & (host_bits + 1):
        raise ValueError("the netmask " + wire_ipv4.format_address(mask))
    prefix_len = 32
    while host_bits:
        host_bits >>= 1
        prefix_len -= 1
    return prefix_len


def _is_host(candidate, ip, prefix_len):
    """Whether `candidate` is the address of a host on the network of `ip`."""
    netmask = wire_ipv4.netmask(prefix_len)
    if candidate & netmask != ip & netmask:
        return False
    host = candidate & (netmask ^ 0xFFFFFFFF)
    return prefix_len > 30 or 0 < host < netmask ^ 0xFFFFFFFF
