# SPDX-License-Identifier: MIT
"""wire.dhcp: round trips, truncations, overloaded and split options; scapy as a second opinion."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from libos.wire import dhcp

MAC = b"\x52\x54\x00\x00\x00\x01"


def message(options, xid=7, op=dhcp.REPLY, yiaddr=0x0A00020F):
    return dhcp.emit(op, xid, 3, dhcp.BROADCAST, 0, yiaddr, MAC, options)


def parse(data):
    return dhcp.parse(data, 0, len(data))


def test_discover_is_what_scapy_reads():
    data = dhcp.emit(
        dhcp.REQUEST, 0x12345678, 9, dhcp.BROADCAST, 0, 0, MAC,
        [
            (dhcp.OPTION_TYPE, b"\x01"),
            (dhcp.OPTION_CLIENT_ID, b"\x01" + MAC),
            (dhcp.OPTION_PARAMETERS, bytes((1, 3, 6, 26))),
            (dhcp.OPTION_HOST_NAME, b"echo"),
        ],
    )  # fmt: skip
    seen = BOOTP(data)
    assert (seen.op, seen.htype, seen.hlen, seen.xid, seen.secs, int(seen.flags)) == (1, 1, 6, 0x12345678, 9, 0x8000)
    assert (seen.ciaddr, seen.yiaddr, seen.chaddr[:6]) == ("0.0.0.0", "0.0.0.0", MAC)
    options = seen[DHCP].options
    assert options[0] == ("message-type", 1)
    assert options[1] == ("client_id", b"\x01" + MAC)
    assert options[2] == ("param_req_list", [1, 3, 6, 26])
    assert options[3] == ("hostname", b"echo")
    assert options[4] == "end"
    assert len(data) >= 300


def test_offer_by_scapy_is_read():
    data = bytes(
        BOOTP(op=2, xid=0xDEADBEEF, yiaddr="10.0.2.15", siaddr="10.0.2.2", chaddr=MAC)
        / DHCP(
            options=[
                ("message-type", "offer"),
                ("server_id", "10.0.2.2"),
                ("lease_time", 86400),
                ("subnet_mask", "255.255.255.0"),
                ("router", "10.0.2.2"),
                ("name_server", "10.0.2.3", "10.0.2.4"),
                "end",
            ]
        )
    )
    seen = parse(data)
    assert (seen.op, seen.xid, seen.yiaddr, seen.chaddr) == (2, 0xDEADBEEF, 0x0A00020F, MAC)
    assert seen.number(dhcp.OPTION_TYPE, 1) == dhcp.OFFER
    assert seen.number(dhcp.OPTION_LEASE_TIME, 4) == 86400
    assert seen.number(dhcp.OPTION_MASK, 4) == 0xFFFFFF00
    assert seen.addresses(dhcp.OPTION_ROUTER, 4) == [0x0A000202]


@given(
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.dictionaries(st.integers(1, 254).filter(lambda code: code != 52), st.binary(max_size=600), max_size=4),
)
def test_round_trip_of_any_options(xid, yiaddr, options):
    data = message(list(options.items()), xid=xid, yiaddr=yiaddr)
    seen = parse(data)
    if len(data) > dhcp.MAX_BYTES:
        assert seen is None
    else:
        assert (seen.xid, seen.yiaddr, seen.chaddr, seen.options) == (xid, yiaddr, MAC, options)


def test_long_option_is_split_and_joined():
    value = bytes(range(256)) * 2
    data = message([(dhcp.OPTION_DNS, value), (dhcp.OPTION_TYPE, b"\x02")])
    assert data[240:242] == bytes((dhcp.OPTION_DNS, 255))
    assert parse(data).options == {dhcp.OPTION_DNS: value, dhcp.OPTION_TYPE: b"\x02"}


def overloaded(which, file=b"", sname=b"", options=b""):
    data = bytearray(message([]))
    tail = bytes((dhcp.OPTION_OVERLOAD, 1, which)) + options + b"\xff"
    data[44 : 44 + len(sname)] = sname
    data[108 : 108 + len(file)] = file
    data[240 : 240 + len(tail)] = tail
    return bytes(data)


def test_overload_takes_options_from_file_and_sname():
    file, sname = b"\x06\x04\x01\x02\x03\x04\xff", b"\x03\x04\x0a\x00\x00\x01\xff"
    assert set(parse(overloaded(1, file, sname)).options) == {52, 6}
    assert set(parse(overloaded(2, file, sname)).options) == {52, 3}
    assert set(parse(overloaded(3, file, sname)).options) == {52, 6, 3}
    assert set(parse(overloaded(1, file, b"\x06\x7f")).options) == {52, 6}  # sname is a name then, not options


def test_option_split_over_all_three_fields_is_joined_in_their_order():
    seen = parse(overloaded(3, b"\x06\x02\x03\x04\xff", b"\x06\x02\x05\x06\xff", b"\x06\x02\x01\x02"))
    assert seen.options[6] == b"\x01\x02\x03\x04\x05\x06"


@pytest.mark.parametrize("which", [0, 4, 255])
def test_overload_that_is_none_is_refused(which):
    assert parse(overloaded(which)) is None


def test_overloaded_field_whose_option_leaves_it_is_refused():
    assert parse(overloaded(1, b"\x06\x81" + b"x" * 126)) is None
    assert parse(overloaded(2, b"", b"\x00" * 62 + b"\x06\x01")) is None


@pytest.mark.parametrize("length", range(240))
def test_truncated_header_is_refused(length):
    assert dhcp.parse(message([(53, b"\x02")]), 0, length) is None


def test_every_truncation_of_options_is_refused_or_shorter():
    whole = [(53, b"\x02"), (54, b"\x0a\x00\x02\x02"), (6, b"\x01\x02\x03\x04" * 20)]
    data = message(whole)
    ends = {240, 243, 249, 331}
    for length in range(240, 331):
        seen = dhcp.parse(data, 0, length)
        assert (seen is not None) == (length in ends), length


@pytest.mark.parametrize(("at", "value"), [(0, 0), (0, 3), (1, 6), (2, 16), (236, 0), (239, 0)])
def test_other_hardware_op_and_cookie_are_refused(at, value):
    data = bytearray(message([(53, b"\x02")]))
    data[at] = value
    assert parse(data) is None


def test_too_long_a_message_is_refused():
    data = message([(6, b"\x01" * 1200)])
    assert parse(data) is not None
    assert parse(data + bytes(dhcp.MAX_BYTES)) is None


def test_option_of_the_wrong_length_is_as_if_it_were_not_there():
    seen = parse(message([(51, b"\x00\x00\x01"), (6, b"\x01\x02\x03\x04\x05"), (26, struct.pack(">H", 1400))]))
    assert seen.number(51, 4) is None
    assert seen.addresses(6, 3) == []
    assert seen.number(26, 2) == 1400


def test_list_of_addresses_is_bounded():
    assert parse(message([(6, b"\x01\x02\x03\x04" * 60)])).addresses(6, 3) == [0x01020304] * 3
