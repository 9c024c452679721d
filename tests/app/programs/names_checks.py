# SPDX-License-Identifier: MIT
"""DHCP, DNS and happy eyeballs for an application: a client's stack on a cable, with servers at the other end."""

import asyncio
from errno import EAGAIN, EHOSTUNREACH, EIO, ENOENT, ETIMEDOUT

from cable import Link
from harness import raises, run_all
from servers import CLIENT_MAC, SERVER, DhcpServer, NameServer, Recorder

from libos.app.addressing import Addressing
from libos.app.dns import DnsClient
from libos.app.happy_eyeballs import HappyEyeballs
from libos.app.log import Log
from libos.app.stack import Stack
from libos.app.stats import Stats
from libos.app.streams import install
from libos.hal.console import Console
from libos.hal.dma import Dma
from libos.hal.loop import EventLoop
from libos.hal.random import Random
from libos.net.ip.icmp import Icmp
from libos.net.ip.icmp6 import Icmp6
from libos.net.ip.ipv4 import Ipv4
from libos.net.ip.ipv6 import Ipv6
from libos.net.link.arp import Arp
from libos.net.link.ethernet import Ethernet
from libos.net.link.ndp import Ndp
from libos.net.service import dhcp as net_dhcp
from libos.net.service.dhcp import Dhcp
from libos.net.service.dns import Resolver
from libos.net.stack import NetStack
from libos.net.tcp import Tcp
from libos.net.tcp.cubic import Cubic
from libos.net.udp import Udp
from libos.wire import dhcp as wire
from libos.wire import dns as wire_dns
from libos.wire import ipv6 as wire_ipv6

loop = EventLoop()
dma = Dma()
random = Random()


def dual_parts(mac, address, address6):
    """A stack of both families, without waiting for anybody to object to its address."""
    link = Link(dma, mac, False)
    ethernet = Ethernet(link)
    ipv4 = Ipv4(ethernet, Arp(ethernet, random), random, address)
    ipv6 = Ipv6(
        ethernet, Ndp(ethernet, random), random, address6, accept_router_advertisements=False, dad_transmits=0
    )  # fmt: skip
    udp = Udp(ipv4, ipv6)
    netstack = NetStack(ethernet, Tcp(random, Cubic(), ipv4, ipv6), udp, Icmp(ipv4), Icmp6(ipv6))
    loop.attach(netstack)
    return link, Stack(netstack, loop, Log("error", Console()))


def parts(mac, address=None):
    link = Link(dma, mac, False)
    ethernet = Ethernet(link)
    ipv4 = Ipv4(ethernet, Arp(ethernet, random), random, address)
    udp = Udp(ipv4)
    netstack = NetStack(ethernet, Tcp(random, Cubic(), ipv4), udp, Icmp(ipv4))
    return link, ipv4, udp, netstack


server_link, server_ipv4, _, server_netstack = parts(b"\x02\0\0\0\0\1", "10.0.0.1/24")
loop.attach(server_netstack)
server = Stack(server_netstack, loop, Log("error", Console()))
console = Recorder()
client_link, client_ipv4, client_udp, client_netstack = parts(CLIENT_MAC)
loop.attach(client_netstack)
log = Log("info", console)
dhcp_server = DhcpServer(client_link, server_link)
client_link.peer = dhcp_server
server_link.peer = client_link
addressing = Addressing(client_ipv4, Dhcp(client_ipv4, client_udp, random), log)
client = Stack(client_netstack, loop, log, addressing)
resolver = Resolver(random)
dns = DnsClient(client, resolver, random)
happy = HappyEyeballs(client, dns)
names = NameServer(server)
server6_link, server6 = dual_parts(b"\x02\0\0\0\0\6", "10.6.0.1/24", "fd00::1/64")
client6_link, client6 = dual_parts(b"\x02\0\0\0\0\7", "10.6.0.2/24", "fd00::2/64")
server6_link.peer = client6_link
client6_link.peer = server6_link
names6 = NameServer(server6)
dns6 = DnsClient(client6, Resolver(random), random, ["10.6.0.1"])
happy6 = HappyEyeballs(client6, dns6)


def ipv4(text):
    return bytes([int(part) for part in text.split(".")])


def zone(**hosts):
    """Names under .test with A records; '_' is '.'."""
    resolver.flush()
    names.zone = {
        name.replace("_", ".") + ".test": [(wire_dns.A, ipv4(ip), 60) for ip in ips] for name, ips in hosts.items()
    }


async def echo(flow):
    while data := await flow.read():
        await flow.write(data)


# --- DHCP ---


async def connect_waits_for_the_address():
    server.tcp.listen(7001, echo)
    assert not addressing.is_up
    assert await client.wait_until_up(1) is False or addressing.is_up
    flow = await client.tcp.connect(SERVER, 7001)
    assert flow.local[0] == "10.0.0.9"
    await flow.close()
    assert await client.wait_until_up()
    assert console.text == "link: 10.0.0.9/24 by DHCP, gateway 10.0.0.1\n", console.text
    assert addressing.address == "10.0.0.9/24"
    assert client.resolvers() == [SERVER]
    assert client_ipv4.mtu == 1400


async def lease_is_renewed_in_silence():
    before = console.text
    count = client.counters["dhcp"]["Bound"]
    flow = await client.tcp.connect(SERVER, 7001)
    await asyncio.sleep_ms(1200)
    assert client.counters["dhcp"]["Bound"] > count
    await flow.write(b"still there")
    assert await flow.read() == b"still there"
    await flow.close()
    assert console.text == before


async def refusal_takes_the_address_and_the_connections_over_it():
    flow = await client.tcp.connect(SERVER, 7001)
    reader = asyncio.create_task(flow.read())
    dhcp_server.refuses = True
    dhcp_server.address = 0x0A00000A
    try:
        await asyncio.wait_for(reader, 5)
        raise AssertionError("no error")
    except OSError:
        pass
    assert "10.0.0.9/24 is lost: the server took it back" in console.text, console.text
    dhcp_server.refuses = False
    assert await client.wait_until_up(10000)
    flow = await client.tcp.connect(SERVER, 7001)
    assert flow.local[0] == "10.0.0.10"
    await flow.close()


async def address_that_is_in_use_is_declined():
    net_dhcp.DECLINED_MS = 300
    server_ipv4.add_address("10.0.0.11/24")
    dhcp_server.address = 0x0A00000B
    dhcp_server.refuses = True
    while addressing.is_up:
        await asyncio.sleep_ms(20)
    dhcp_server.refuses = False
    while wire.DECLINE not in dhcp_server.seen:
        await asyncio.sleep_ms(5)
    dhcp_server.address = 0x0A00000A
    while addressing.address != "10.0.0.10/24":
        await asyncio.sleep_ms(20)
    server_ipv4.remove_address("10.0.0.11")
    assert client.counters["dhcp"]["Declined"] == 1


async def silence_falls_back_aloud_and_asks_on():
    # A second client, on a cable that ends nowhere.
    recorder = Recorder()
    link, ipv4_layer, udp, netstack = parts(b"\x02\0\0\0\0\3")
    quiet = DhcpServer(link, None)
    quiet.is_silent = True
    link.peer = quiet
    alone = Addressing(ipv4_layer, Dhcp(ipv4_layer, udp, random), Log("info", recorder))
    loop.attach(netstack)
    changes = []
    alone.on_change = lambda: changes.append(alone.address)
    assert await alone.wait_until_up(8000)
    assert alone.address == "10.0.0.2/24"
    assert "warning: no answer by DHCP: falling back to the default address 10.0.0.2/24" in recorder.text
    count = len(quiet.seen)
    await asyncio.sleep_ms(5000)
    assert len(quiet.seen) > count
    loop.detach(netstack)
    assert changes == ["10.0.0.2/24"]


async def refused_answers_are_said_with_the_reason_once():
    recorder = Recorder()
    link, ipv4_layer, udp, netstack = parts(CLIENT_MAC)
    link.peer = odd = DhcpServer(link, server_link)
    odd.lease_s = 0
    alone = Addressing(ipv4_layer, Dhcp(ipv4_layer, udp, random), Log("info", recorder))
    loop.attach(netstack)
    # Where this process was held up for long, it falls back before it asks again.
    while not alone.is_up or len(odd.seen) < 2:
        await asyncio.sleep_ms(20)
    why = "10.0.0.1: a lease of 0 s"
    assert recorder.text.count("warning: an answer by DHCP is refused: " + why + "\n") == 1, recorder.text
    assert "warning: no usable answer by DHCP (" + why + "): falling back" in recorder.text, recorder.text
    # What is wrong with a lease that can be used costs only that.
    odd.lease_s = 3600
    odd.router = 0
    while alone.address == "10.0.0.2/24":
        await asyncio.sleep_ms(20)
    assert recorder.text.endswith(
        "link: warning: not used of what DHCP says: the router 0.0.0.0\nlink: 10.0.0.9/24 by DHCP\n"
    ), recorder.text
    alone.release(loop.now_ms())
    loop.detach(netstack)


async def classless_routes_are_used():
    recorder = Recorder()
    link, ipv4_layer, udp, netstack = parts(CLIENT_MAC)
    link.peer = cloud = DhcpServer(link, server_link)
    router = b"\x0a\x80\0\1"
    cloud.more = [(wire.OPTION_ROUTES, b"\x20" + router + b"\0\0\0\0" + b"\0" + router + b"\x08\x0b" + router)]
    alone = Addressing(ipv4_layer, Dhcp(ipv4_layer, udp, random), Log("info", recorder))
    loop.attach(netstack)
    assert await alone.wait_until_up(3000)
    assert recorder.text == "link: 10.0.0.9/24 by DHCP, gateway 10.128.0.1, 2 other routes\n", recorder.text
    assert ipv4_layer.next_hop(0x08080808) == 0x0A800001
    alone.release(loop.now_ms())
    loop.detach(netstack)


async def static_addresses_ask_nobody():
    for options in (
        {"address": "10.9.0.2/24", "gateway": "10.9.0.1"},
        {"target": "unix"},
        {"dhcp": False},
    ):
        recorder = Recorder()
        link, ipv4_layer, udp, netstack = parts(b"\x02\0\0\0\0\4")
        link.peer = quiet = DhcpServer(link, None)
        static = Addressing(ipv4_layer, Dhcp(ipv4_layer, udp, random), Log("info", recorder), **options)
        assert static.is_up
        assert static.address == options.get("address", "10.0.0.2/24")
        assert recorder.text.startswith("link: " + static.address), recorder.text
        assert quiet.seen == []
        assert len(netstack.ethernet.timers.owners()) <= 1  # ARP's


async def static_addresses_that_do_not_fit_are_refused():
    for options in ({"address": "10.9.0.0/24"}, {"address": "10.9.0.2/24", "gateway": "10.8.0.1"}):
        _, ipv4_layer, udp, _ = parts(b"\x02\0\0\0\0\5")
        try:
            Addressing(ipv4_layer, Dhcp(ipv4_layer, udp, random), log, **options)
        except SystemExit as error:
            assert error.args[0] == 64
        else:
            raise AssertionError("taken")


# --- IPv6 beside it ---


def both(mac, ipv6_address, **options):
    """A stack that has IPv6 as well, its addressing, and what that logs."""
    recorder = Recorder()
    link = Link(dma, mac, False)
    ethernet = Ethernet(link)
    ipv4_layer = Ipv4(ethernet, Arp(ethernet, random), random)
    ipv6_layer = Ipv6(ethernet, Ndp(ethernet, random), random, ipv6_address, ipv4_only=options.pop("ipv4_only", False))
    Icmp6(ipv6_layer)
    udp = Udp(ipv4_layer, ipv6_layer)
    netstack = NetStack(ethernet, Tcp(random, Cubic(), ipv4_layer, ipv6_layer), udp, Icmp(ipv4_layer))
    its_log = Log("info", recorder)
    its_addressing = Addressing(ipv4_layer, Dhcp(ipv4_layer, udp, random), its_log, ipv6_layer, **options)
    loop.attach(netstack)
    return link, Stack(netstack, loop, its_log, its_addressing), recorder


async def connect_waits_for_the_address_of_ipv6():
    near, one, near_log = both(b"\x02\0\0\0\0\6", "fd00::1/64", ipv6_only=True)
    far, other, far_log = both(b"\x02\0\0\0\0\7", "fd00::2/64", address="10.7.0.2/24")
    near.peer, far.peer = far, near
    other.tcp.listen(7001, echo)
    assert (one.families(), other.families()) == ([6], [4, 6])
    flow = await one.tcp.connect("fd00::2", 7001)
    await flow.write(b"over IPv6")
    assert await flow.read() == b"over IPv6"
    assert flow.local[0] == "fd00::1"
    await flow.close()
    assert await one.wait_until_up(1)
    assert near_log.text == "link: fd00::1\n", near_log.text
    assert "link: fd00::2\n" in far_log.text, far_log.text
    try:
        await one.tcp.connect("10.7.0.2", 7001)
        raise AssertionError("connected without an address")
    except OSError as error:
        assert error.errno == EHOSTUNREACH
    # A third one wants an address that is there already.
    third, _, third_log = both(b"\x02\0\0\0\0\x08", "fd00::1/64", ipv6_only=True)
    near.peer, third.peer = third, near
    await asyncio.sleep_ms(2500)
    assert "warning: fd00::1 is somebody else's: not used" in third_log.text, third_log.text
    for netstack in (one.netstack, other.netstack):
        loop.detach(netstack)


async def both_families_switched_off_are_refused():
    try:
        both(b"\x02\0\0\0\0\x09", None, ipv6_only=True, ipv4_only=True)
    except SystemExit as error:
        assert error.args[0] == 64
    else:
        raise AssertionError("taken")


# --- DNS ---


async def names_have_addresses():
    zone(www=["10.0.0.1", "10.0.0.77"])
    assert await dns.resolve("www.test") == ["10.0.0.1", "10.0.0.77"]
    asked = len(names.ports)
    assert await dns.resolve("WWW.test.") == ["10.0.0.1", "10.0.0.77"]
    assert len(names.ports) == asked


async def numbers_are_their_own_addresses():
    asked = len(names.ports)
    assert await dns.resolve("10.1.2.3") == ["10.1.2.3"]
    assert await dns.resolve("fd00::1") == ["fd00::1"]
    assert len(names.ports) == asked


async def unknown_names_are_an_oserror_that_says_so():
    zone()
    await raises(ENOENT, dns.resolve("nowhere.test"))
    try:
        await dns.resolve("nowhere.test")
    except OSError as error:
        assert str(error) == "nowhere.test: there is no such name", str(error)
    try:
        await dns.resolve("no name")
    except ValueError:
        pass
    else:
        raise AssertionError("resolved")


async def every_question_has_a_port_and_an_identifier_of_its_own():
    zone(**{"n%d" % number: ["10.0.0.1"] for number in range(40)})
    names.ports = []
    names.idents = []
    tasks = [asyncio.create_task(dns.resolve("n%d.test" % number)) for number in range(40)]
    for task in tasks:
        assert await task == ["10.0.0.1"]
    assert len(names.ports) == 40
    assert len(set(names.ports)) > 36, names.ports
    assert len(set(names.idents)) > 36
    assert len(client_udp._ports) == 1  # DHCP's


async def too_many_questions_are_refused_not_queued():
    zone()
    names.is_silent = True
    tasks = [asyncio.create_task(dns.resolve("n%d.test" % number)) for number in range(64)]
    await asyncio.sleep_ms(100)
    for _ in range(6):
        await raises(EAGAIN, dns.resolve("one.more.test"))
    for task in tasks:
        task.cancel()
    await asyncio.sleep_ms(10)
    names.is_silent = False
    assert len(client_udp._ports) == 1, client_udp._ports


async def forged_answers_are_not_believed():
    zone(bank=["10.0.0.1"])
    names.forges = True
    before = resolver.counters["InWrongSource"], resolver.counters["InWrongQuestion"]
    assert await dns.resolve("bank.test") == ["10.0.0.1"]
    names.forges = False
    assert (resolver.counters["InWrongSource"], resolver.counters["InWrongQuestion"]) == (before[0] + 1, before[1] + 1)


async def answer_that_is_cut_comes_by_tcp():
    zone(many=["10.0.0.%d" % number for number in range(1, 15)])
    names.truncates = True
    assert len(await dns.resolve("many.test")) == 14
    names.truncates = False
    assert names.streams == 1


async def silent_server_is_a_timeout_and_the_next_one_is_asked():
    zone(www=["10.0.0.5"])
    two = DnsClient(client, resolver, random, ["10.0.0.99", SERVER])
    assert await two.resolve("www.test") == ["10.0.0.5"]
    resolver.flush()
    one = DnsClient(client, resolver, random, ["10.0.0.99"])
    await raises(ETIMEDOUT, one.resolve("www.test"))
    none = DnsClient(client, resolver, random, [])
    try:
        await none.resolve("www.test")
    except OSError as error:
        assert error.errno == EHOSTUNREACH
        assert "--resolver" in str(error)


# --- happy eyeballs, streams ---


async def timed(coroutine):
    start = loop.now_ms()
    value = await coroutine
    return value, loop.now_ms() - start


async def unless_held_up(attempt, *args):
    """attempt(*args), which measures time: once more where this process did not run for a while meanwhile."""
    held = []

    async def watch():
        while True:
            start_ms = loop.now_ms()
            await asyncio.sleep_ms(5)
            if loop.now_ms() - start_ms > 20:
                held.append(loop.now_ms() - start_ms)

    watcher = asyncio.create_task(watch())
    try:
        for _ in range(5):
            count = len(held)
            try:
                return await attempt(*args)
            except AssertionError:
                await asyncio.sleep_ms(10)  # the watcher's turn
                if len(held) == count:
                    raise
        raise AssertionError("held up too often")
    finally:
        watcher.cancel()


async def name_is_connected_to():
    zone(www=[SERVER])
    flow = await happy.connect("www.test", 7001)
    assert flow.remote == (SERVER, 7001)
    await flow.close()
    flow = await happy.connect(SERVER, 7001)
    await flow.close()
    flow = await dns.connect("www.test", 7001)
    await flow.close()


async def silent_address_costs_250_ms():
    zone(www=["10.0.0.99", SERVER])
    flow, elapsed_ms = await timed(happy.connect("www.test", 7001))
    assert flow.remote == (SERVER, 7001)
    assert 200 <= elapsed_ms < 1000, elapsed_ms
    await flow.close()
    await asyncio.sleep_ms(50)
    assert not [conn for conn in client_netstack.tcp.by_key.values() if conn.remote_port == 7001 and conn.state == 2]


async def refused_address_costs_nothing():
    server.tcp.listen(7003, echo)
    zone(www=["10.0.0.10", SERVER])  # the first is our own: no way there
    flow, elapsed_ms = await timed(happy.connect("www.test", 7003))
    assert flow.remote == (SERVER, 7003)
    assert elapsed_ms < 200, elapsed_ms
    await flow.close()


async def nobody_there_is_the_error_of_the_last():
    zone(www=[SERVER])
    try:
        await happy.connect("www.test", 7999)
    except OSError as error:
        assert error.errno != ETIMEDOUT
    else:
        raise AssertionError("connected")
    await raises(ENOENT, happy.connect("nowhere.test", 7001))
    zone(www=["10.0.0.98", "10.0.0.99"])
    _, elapsed_ms = await timed(raises(ETIMEDOUT, happy.connect("www.test", 7001, 600)))
    assert 550 <= elapsed_ms < 1500, elapsed_ms


def zone6(addresses6, addresses, delay6_ms=0):
    """www.test with AAAA and A records; delay6_ms: how late the answer about IPv6 is."""
    dns6.resolver.flush()
    records = [(wire_dns.AAAA, wire_ipv6.parse_address(ip), 60) for ip in addresses6]
    names6.zone = {"www.test": records + [(wire_dns.A, ipv4(ip), 60) for ip in addresses]}
    names6.delays_ms = {wire_dns.AAAA: delay6_ms} if delay6_ms else {}


async def ipv6_is_preferred():
    server6.tcp.listen(7001, echo)
    zone6(["fd00::1"], ["10.6.0.1"])
    assert await dns6.resolve("www.test") == ["fd00::1", "10.6.0.1"]
    for delay_ms, peer in ((0, "fd00::1"), (20, "fd00::1"), (400, "10.6.0.1")):
        await unless_held_up(peer_after, delay_ms, peer)


async def peer_after(delay_ms, peer):
    zone6(["fd00::1"], ["10.6.0.1"], delay_ms)
    flow, elapsed_ms = await timed(happy6.connect("www.test", 7001))
    remote = flow.remote
    await flow.close()
    assert remote == (peer, 7001), (delay_ms, remote)
    assert elapsed_ms < 250, elapsed_ms


async def families_take_turns():
    zone6(["fd00::98", "fd00::99", "fd00::1"], ["10.6.0.99"])
    flow, elapsed_ms = await timed(happy6.connect("www.test", 7001))
    assert flow.remote == ("fd00::1", 7001)
    assert 700 <= elapsed_ms < 1500, elapsed_ms
    await flow.close()
    zone6(["fd00::98", "fd00::99"], ["10.6.0.1"])
    flow, elapsed_ms = await timed(happy6.connect("www.test", 7001))
    assert flow.remote == ("10.6.0.1", 7001)
    assert 200 <= elapsed_ms < 700, elapsed_ms
    await flow.close()


async def family_that_the_name_does_not_have_is_not_waited_for():
    zone6([], ["10.6.0.1"])
    flow, elapsed_ms = await timed(happy6.connect("www.test", 7001))
    assert flow.remote == ("10.6.0.1", 7001)
    assert elapsed_ms < 50 + 150, elapsed_ms
    await flow.close()
    zone6(["fd00::1"], [])
    flow = await happy6.connect("www.test", 7001)
    assert flow.remote == ("fd00::1", 7001)
    await flow.close()


async def silence_about_one_family_does_not_hold_up_the_other():
    for silent, most_ms in ((wire_dns.AAAA, 50), (wire_dns.A, 250)):
        zone6(["fd00::1"], ["10.6.0.1"])
        names6.silent = (silent,)
        found, elapsed_ms = await timed(dns6.resolve("www.test"))
        assert found == (["10.6.0.1"] if silent == wire_dns.AAAA else ["fd00::1"]), found
        assert most_ms - 10 <= elapsed_ms < most_ms + 150, elapsed_ms
        for connect in (dns6.connect, happy6.connect):
            dns6.resolver.flush()
            flow, elapsed_ms = await timed(connect("www.test", 7001))
            assert elapsed_ms < most_ms + 150, (connect, elapsed_ms)
            await flow.close()
        await asyncio.sleep_ms(10)
        assert dns6._count == 0, dns6._count  # no lookup goes on
    names6.silent = ()


async def refusal_for_one_family_is_as_having_none():
    for code in (2, 3, 5):
        for kind in (wire_dns.AAAA, wire_dns.A):
            zone6(["fd00::1"], ["10.6.0.1"])
            names6.codes = {kind: code}
            found, elapsed_ms = await timed(dns6.resolve("www.test"))
            assert found == (["10.6.0.1"] if kind == wire_dns.AAAA else ["fd00::1"]), (code, kind, found)
            assert elapsed_ms < 150, (code, kind, elapsed_ms)
            flow, elapsed_ms = await timed(happy6.connect("www.test", 7001))
            assert elapsed_ms < 200, (code, kind, elapsed_ms)
            await flow.close()
    names6.codes = {wire_dns.AAAA: 2, wire_dns.A: 2}
    zone6([], [])
    await raises(EIO, dns6.resolve("www.test"))
    names6.codes = {}


async def late_answer_within_its_time_is_first():
    zone6(["fd00::1"], ["10.6.0.1"], 25)
    assert await dns6.resolve("www.test") == ["fd00::1", "10.6.0.1"]
    names6.delays_ms = {}


async def silent_server_is_asked_last_from_then_on():
    two = DnsClient(client, Resolver(random), random, ["10.0.0.99", SERVER])
    zone(www=["10.0.0.5"], web=["10.0.0.6"])
    found, elapsed_ms = await timed(two.resolve("www.test"))
    assert elapsed_ms >= 900
    found, elapsed_ms = await timed(two.resolve("web.test"))
    assert (found, elapsed_ms < 200) == (["10.0.0.6"], True), elapsed_ms


async def name_server_may_be_an_ipv6_address_however_it_is_written():
    zone6(["fd00::1"], ["10.6.0.1"])
    other = DnsClient(client6, Resolver(random), random, ["FD00:0:0::0001"])
    assert await other.resolve("www.test") == ["fd00::1", "10.6.0.1"]


async def cancelled_connect_leaves_nothing():
    zone(www=["10.0.0.98", "10.0.0.99"])
    task = asyncio.create_task(happy.connect("www.test", 7001))
    await asyncio.sleep_ms(400)
    task.cancel()
    await asyncio.sleep_ms(50)
    assert not [conn for conn in client_netstack.tcp.by_key.values() if conn.remote_port == 7001]


async def open_connection_takes_names():
    zone(www=[SERVER])
    install(client, happy)
    reader, writer = await asyncio.open_connection("www.test", 7001)
    writer.write(b"by name")
    await writer.drain()
    assert await reader.read(100) == b"by name"
    await writer.aclose()


async def counters_are_printed_now_and_then_and_at_the_end():
    recorder = Recorder()
    Stats(client, loop, recorder, 50)
    await asyncio.sleep_ms(120)
    assert recorder.text.count("--- counters ---") == 2, recorder.text
    assert "dhcp.Bound " in recorder.text
    assert "dns.Lookups " in recorder.text
    assert "tcp.ActiveOpens " in recorder.text
    assert " 0\n" not in recorder.text
    loop.exits.pop()(loop.now_ms())
    assert recorder.text.count("--- counters ---") == 3


async def end_gives_the_address_back():
    for leave in loop.exits:
        leave(loop.now_ms())
    await asyncio.sleep_ms(20)
    assert dhcp_server.seen[-1] == wire.RELEASE


loop.run(
    run_all(
        (
            connect_waits_for_the_address,
            lease_is_renewed_in_silence,
            refusal_takes_the_address_and_the_connections_over_it,
            address_that_is_in_use_is_declined,
            silence_falls_back_aloud_and_asks_on,
            refused_answers_are_said_with_the_reason_once,
            classless_routes_are_used,
            static_addresses_ask_nobody,
            static_addresses_that_do_not_fit_are_refused,
            connect_waits_for_the_address_of_ipv6,
            both_families_switched_off_are_refused,
            names_have_addresses,
            numbers_are_their_own_addresses,
            unknown_names_are_an_oserror_that_says_so,
            every_question_has_a_port_and_an_identifier_of_its_own,
            too_many_questions_are_refused_not_queued,
            forged_answers_are_not_believed,
            answer_that_is_cut_comes_by_tcp,
            silent_server_is_a_timeout_and_the_next_one_is_asked,
            name_is_connected_to,
            silent_address_costs_250_ms,
            refused_address_costs_nothing,
            nobody_there_is_the_error_of_the_last,
            ipv6_is_preferred,
            families_take_turns,
            family_that_the_name_does_not_have_is_not_waited_for,
            silence_about_one_family_does_not_hold_up_the_other,
            refusal_for_one_family_is_as_having_none,
            late_answer_within_its_time_is_first,
            silent_server_is_asked_last_from_then_on,
            name_server_may_be_an_ipv6_address_however_it_is_written,
            cancelled_connect_leaves_nothing,
            open_connection_takes_names,
            counters_are_printed_now_and_then_and_at_the_end,
            end_gives_the_address_back,
        )
    )
)
