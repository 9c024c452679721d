# SPDX-License-Identifier: MIT
"""wire.checksum: the reference against RFC 1071's example, scapy, and the ways in which it is used."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import checksum as scapy_checksum

from libos.wire.checksum import checksum, fold, patch, pseudo_sum, total


def test_example_of_rfc_1071():
    assert checksum(bytes.fromhex("0001f203f4f5f6f7"), 0, 8) == 0xDDF2


@given(st.binary(max_size=200))
def test_agrees_with_scapy(data):
    assert checksum(data, 0, len(data)) ^ 0xFFFF == scapy_checksum(data)


@given(st.binary(max_size=100), st.binary(max_size=100), st.integers(0, 0xFFFF))
def test_is_a_sum_of_its_parts(first, second, initial):
    if len(first) & 1:
        first += b"\0"
    data = first + second
    part = checksum(first, 0, len(first), initial)
    assert checksum(data, len(first), len(second), part) == checksum(data, 0, len(data), initial)


@given(st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=20))
def test_numbers_may_be_added_modulo_0xffff(numbers):
    """What the header templates of net.tcp rely on."""
    data = b"".join([struct.pack(">I", number) for number in numbers])
    assert sum(numbers) % 0xFFFF == checksum(data, 0, len(data)) % 0xFFFF
    inverse = -sum(numbers) % 0xFFFF
    assert checksum(data + struct.pack(">H", inverse), 0, len(data) + 2) % 0xFFFF == 0


@given(st.binary(min_size=4, max_size=60))
def test_patch_makes_the_sum_right(data):
    buf = bytearray(data)
    buf[0:2] = b"\0\0"
    patch(buf, 0, len(buf), 0)
    assert checksum(buf, 0, len(buf)) == 0xFFFF


def test_fold_and_pseudo_sum():
    assert fold(0x1FFFE) == 0xFFFF
    assert fold(0) == 0
    data = struct.pack(">IIBBH", 0x0A000001, 0x0A000002, 0, 6, 1234)
    assert pseudo_sum(0x0A000001, 0x0A000002, 6, 1234) == checksum(data, 0, 12)


@given(st.binary(max_size=5000), st.data())
def test_total_is_the_same_sum(data, draw):
    start = draw.draw(st.integers(0, len(data)))
    length = draw.draw(st.integers(0, len(data) - start))
    assert total(data, start, length) == checksum(data, start, length)
    assert total(b"\xff" * length, 0, length) == checksum(b"\xff" * length, 0, length)
