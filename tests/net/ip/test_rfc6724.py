# SPDX-License-Identifier: MIT
"""Which address a packet is sent from (RFC 6724 section 5)."""

import pytest

from libos.net.ip.addresses import DEPRECATED, label
from libos.wire import ipv6
from tests.net.world import World

LINK = "link-local"


@pytest.fixture
def host():
    return World(seed=1).host("fe80::2/64", ipv6={"gateway": "fe80::1"})


def chosen(host, dst, *addresses):
    for address in addresses:
        host.ipv6.add_address(address, 0)
    src_ip = host.ipv6.source_for(ipv6.parse_address(dst))
    if src_ip == ipv6.parse_address("fe80::2") or src_ip == host.ipv6.addresses.link_local():
        return LINK
    return None if src_ip is None else ipv6.format_address(src_ip)


@pytest.mark.parametrize(
    ("dst", "addresses", "expected"),
    [
        # Section 10.1's examples, where they are about addresses that we can have.
        ("2001:db8:1::1", ["2001:db8:3::1/64"], "2001:db8:3::1"),
        ("ff05::1", ["2001:db8:3::1/64"], "2001:db8:3::1"),
        ("2001:db8:1::1", ["2001:db8:1::1:1/48", "2001:db8:3::2/64"], "2001:db8:1::1:1"),
        ("fe80::1", ["2001:db8:2::1/64"], LINK),
        ("2001:db8:1::1", ["2001:db8:1::2/64", "2001:db8:3::2/64"], "2001:db8:1::2"),
        ("2002:c633:6401::1", ["2002:c633:6401::d5e3:7953:13eb:22e8/64", "2001:db8:1::2/64"],
         "2002:c633:6401:0:d5e3:7953:13eb:22e8"),
        # A unique local destination is spoken to from a unique local address, and the Internet not.
        ("fd00:1::1", ["2001:db8::2/64", "fd00:2::2/64"], "fd00:2::2"),
        ("2001:db8:9::1", ["fd00:2::2/64", "2001:db8::2/64"], "2001:db8::2"),
        ("ff02::1", ["2001:db8::2/64"], LINK),
        # A router would not forward a link-local address.
        ("2001:db8:9::1", [], None),
    ],
)  # fmt: skip
def test_source_address(host, dst, addresses, expected):
    assert chosen(host, dst, *addresses) == expected


def test_deprecated_address_only_when_there_is_no_other(host):
    host.ipv6.add_address("2001:db8:1::2/64", 0)
    old = host.ipv6.addresses.get(ipv6.parse_address("2001:db8:1::2"))
    host.ipv6.addresses.set_lifetimes(old, 1 << 60, 0, 1)
    assert old.state == DEPRECATED
    assert chosen(host, "2001:db8:1::1") == "2001:db8:1::2"
    assert chosen(host, "2001:db8:1::1", "2001:db8:8::2/64") == "2001:db8:8::2"


@pytest.mark.parametrize(
    ("text", "number"),
    [("::1", 0), ("::", 3), ("::10.0.0.1", 3), ("::ffff:10.0.0.1", 4), ("2001::1", 5), ("2001:db8::1", 1),
     ("2002::1", 2), ("3ffe::1", 12), ("fec0::1", 11), ("fc00::1", 13), ("fd00::1", 13), ("fe80::1", 1)],
)  # fmt: skip
def test_label(text, number):
    assert label(ipv6.parse_address(text)) == number
