# SPDX-License-Identifier: MIT
"""Is an IPv4 address in use, whose is it, and who says so (RFC 5227)."""

import pytest

from libos.net.link import address_probe
from libos.net.link import arp as net_arp
from libos.wire import arp, ethernet
from tests.net import arp_frames

WANTED = 0x0A000014  # 10.0.0.20
OTHER_MAC = b"\x52\x54\x00\x00\x00\x66"


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    world.run(for_ms=3000)
    host.device.tx_log = []
    host.results = []
    return host


def inject(world, host, operation, mac, ip, target_ip, dst=ethernet.BROADCAST):
    arp_frames.inject(world, host, operation, mac, ip, target_ip, dst)


def sent(host):
    """(operation, sender_ip, target_ip) of ARP frames that went out."""
    return [(operation, sender_ip, target_ip) for operation, _dst, sender_ip, target_ip in arp_frames.sent(host)]


def ask(host):
    host.arp.probe(WANTED, lambda ip, mac, now_ms: host.results.append((ip, mac)))


def test_probe_of_a_free_address(world, host):
    ask(host)
    start = world.now_ms
    times = []
    while not host.results:
        world.run(for_ms=10)
        times.extend([world.now_ms - start for _ in sent(host)])
        assert world.now_ms - start < 10_000
    assert host.results == [(WANTED, None)]
    assert len(times) == address_probe.PROBE_NUM
    assert times[0] <= 1010
    assert all(990 <= times[at + 1] - times[at] <= 2010 for at in range(2))
    assert 1990 <= world.now_ms - start - times[-1] <= 2010
    assert host.arp.counters["OutProbes"] == 3
    assert not len(host.ethernet.timers)


def test_probes_have_no_sender_address_and_change_no_table(world, host):
    other = world.host("10.0.0.3/24")
    world.run(for_ms=3000)
    host.device.tx_log.clear()
    ask(host)
    world.run(for_ms=1100)
    assert sent(host)[0] == (arp.REQUEST, 0, WANTED)
    assert other.arp.entries() == []


@pytest.mark.parametrize(
    ("operation", "ip", "target_ip"),
    [
        (arp.REPLY, WANTED, 0),
        (arp.REQUEST, WANTED, WANTED),
        (arp.REQUEST, WANTED, 0x0A000077),
        (arp.REQUEST, 0, WANTED),  # it is being probed by another
    ],
)
def test_probe_of_an_address_in_use(world, host, operation, ip, target_ip):
    ask(host)
    world.run(for_ms=1500)
    inject(world, host, operation, OTHER_MAC, ip, target_ip)
    assert host.results == [(WANTED, OTHER_MAC)]
    sent(host)
    world.run(for_ms=20_000)
    assert sent(host) == []
    assert host.results == [(WANTED, OTHER_MAC)]
    assert host.arp.entries() == []


def test_probe_is_not_settled_by_others(world, host):
    ask(host)
    world.run(for_ms=500)
    inject(world, host, arp.REQUEST, OTHER_MAC, 0x0A000009, WANTED)  # somebody looks for it too
    inject(world, host, arp.REQUEST, host.device.mac, 0, WANTED)  # our own probe, come back
    inject(world, host, arp.REPLY, OTHER_MAC, 0x0A000009, WANTED)
    assert host.results == []
    world.run(for_ms=8000)
    assert host.results == [(WANTED, None)]


def test_probe_cancelled(world, host):
    ask(host)
    world.run(for_ms=500)
    host.arp.cancel_probe(WANTED)
    world.run(for_ms=20_000)
    assert host.results == []


def test_probes_are_bounded(host):
    for number in range(net_arp.MAX_PROBES):
        host.arp.probe(WANTED + number, print)
    with pytest.raises(ValueError, match="more than"):
        ask(host)


def test_claim_takes_a_free_address_and_announces_it_twice(world, host):
    host.ipv4.claim("10.0.0.20/24", on_result=lambda ip, mac, now_ms: host.results.append((ip, mac)))
    world.run(until=lambda: host.results)
    assert host.results == [(WANTED, None)]
    assert host.ipv4.ip == WANTED
    world.run(for_ms=20_000)
    assert sent(host) == [(arp.REQUEST, 0, WANTED)] * 3 + [(arp.REQUEST, WANTED, WANTED)] * 2


def test_claim_of_an_address_in_use_changes_nothing(world, host):
    world.host("10.0.0.20/24")
    host.ipv4.claim("10.0.0.20/24", on_result=lambda ip, mac, now_ms: host.results.append((ip, mac)))
    world.run(for_ms=20_000)
    assert host.results == [(WANTED, world.hosts[1].device.mac)]
    assert host.ipv4.ip == 0x0A000002


def test_conflict_is_told_and_every_address_is_defended(world, host):
    host.ipv4.add_address("10.0.0.20/24")
    world.run(for_ms=3000)
    sent(host)
    told = []
    host.arp.on_conflict = lambda ip, mac, now_ms: told.append((ip, mac))
    for ip in (WANTED, 0x0A000002):
        for _ in range(20):
            inject(world, host, arp.REQUEST, OTHER_MAC, ip, ip)
    assert sent(host) == [(arp.REQUEST, WANTED, WANTED), (arp.REQUEST, 0x0A000002, 0x0A000002)]
    assert len(told) == 40
    assert host.arp.counters["Conflicts"] == 40


@pytest.mark.parametrize("ip", [0x7F000001, 0, 0xFFFFFFFF, 0xE0000001])
def test_claims_of_what_is_no_hosts_address(world, host, ip):
    for operation in (arp.REQUEST, arp.REPLY):
        inject(world, host, operation, OTHER_MAC, ip, 0x0A000002)
    assert host.arp.entries() == []
    assert host.arp.counters["Conflicts"] == 0
    # A probe for our address is answered (section 2.1.1); the rest is nonsense.
    assert sent(host) == ([] if ip else [(arp.REPLY, 0x0A000002, 0)])
    assert host.arp.counters["InErrors"] == (2 if ip else 0)


def test_probe_with_no_buffer_goes_on_later(world, host):
    ask(host)
    held = [host.device.tx_pool.alloc() for _ in range(host.device.tx_pool.free)]
    world.run(for_ms=10_000)
    assert host.results == []
    for frame in held:
        frame.release()
    world.run(for_ms=10_000)
    assert host.results == [(WANTED, None)]
    assert host.arp.counters["OutProbes"] == 3
