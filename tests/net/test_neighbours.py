# SPDX-License-Identifier: MIT
"""net.neighbours: what is the same for ARP and Neighbour Discovery, over both."""

import pytest

from libos.net import neighbours


@pytest.mark.parametrize(
    ("ours", "silent", "other"), [("10.0.0.2/24", "10.0.0.7", "10.0.0.8"), ("fd00::2/64", "fd00::7", "fd00::8")]
)
def test_failed_that_makes_its_listener_ask_another_leaves_that_its_deadline(world, ours, silent, other):
    host = world.host(ours)
    ip = host.ipv6 if ":" in ours else host.ipv4
    table = ip.neighbours
    world.run(for_ms=20_000)  # what is said at the start is over
    lost = []

    def on_failure(neighbour, now_ms):
        lost.append(ip.format_address(neighbour))
        if len(lost) == 1:
            host.udp.write(b"x", other, 9, 9, now_ms)

    table.on_failure = on_failure
    host.udp.write(b"x", silent, 9, 9, world.now_ms)
    world.run(for_ms=2 * neighbours.TRIES * neighbours.RETRANS_MS + 100)
    assert lost == [silent, other]
    world.run(for_ms=neighbours.FAILED_MS)
    assert table.entries() == []
    assert not host.device.in_use
    assert not host.ethernet.held
