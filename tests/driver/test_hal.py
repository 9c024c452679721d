# SPDX-License-Identifier: MIT
"""hal.dma, hal.random, hal.mmio over the fake C module; and that what drivers re-declare is what hal declares."""

import _mirage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libos.driver import tap, virtio_net, virtio_pci, vnet
from libos.driver import virtio_net_hw as hw
from libos.hal import dma
from libos.hal.dma import Dma, FramePool
from libos.hal.mmio import DeviceError, wait_clear, wait_set
from libos.hal.random import Random


def chain(pool, parts):
    """A frame over several buffers that holds these parts."""
    first = last = None
    for part in parts:
        frame = pool.alloc()
        frame.put(0, part, 0, len(part))
        frame.length = len(part)
        if first is None:
            first = frame
        else:
            last.next = frame
        last = frame
    return first


def test_dma_pieces_are_aligned_apart_and_counted():
    _mirage.reset(dma_bytes=1 << 16)
    memory = Dma()
    seen = []
    for size, align in ((100, 1), (16, 4096), (1, 64), (4096, 16)):
        view, phys_addr = memory.alloc(size, align)
        assert phys_addr % align == 0
        assert len(view) == size
        assert all(end <= phys_addr or phys_addr + size <= start for start, end in seen)
        seen.append((phys_addr, phys_addr + size))
        view[0] = 7
        assert _mirage.world.read_physical(phys_addr, 1) == b"\7"
    assert memory.used_bytes + memory.free_bytes == memory.size_bytes == 1 << 16
    with pytest.raises(MemoryError, match="octets wanted"):
        memory.alloc(1 << 16)
    for size, align in ((0, 16), (-1, 16), (16, 3), (16, 0)):
        with pytest.raises(ValueError, match="bad size"):
            memory.alloc(size, align)


def test_dma_is_shared_by_its_users():
    _mirage.reset(dma_bytes=1 << 16)
    assert Dma().share_bytes == (1 << 16) - 1024
    assert Dma(2).share_bytes == (1 << 15) - 512


def test_pool_runs_empty_and_fills_again():
    _mirage.reset()
    pool = FramePool(Dma(), 2048, 3, 16)
    frames = [pool.alloc() for _ in range(3)]
    assert len({frame.phys_addr for frame in frames}) == 3
    assert pool.alloc() is None
    assert (pool.free, pool.empty) == (0, 1)
    frames[1].release()
    again = pool.alloc()
    assert again is frames[1]
    assert (again.start, again.length, again.flags, again.gso_size) == (16, 0, 0, 0)


def test_release_twice_is_an_error_and_frees_once():
    _mirage.reset()
    pool = FramePool(Dma(), 2048, 3, 0)
    frame = chain(pool, [b"a", b"b", b"c"])
    frame.release()
    assert pool.free == 3
    with pytest.raises(ValueError, match="own"):
        frame.release()
    assert pool.free == 3


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=6), st.integers(0, 300), st.integers(0, 300))
def test_chain_reads_as_one_piece(parts, start, length):
    _mirage.reset()
    frame = chain(FramePool(Dma(), 128, 6, 4), parts)
    whole = b"".join(parts)
    assert frame.total() == len(whole)
    if start + length <= len(whole):
        assert frame.take(start, length) == whole[start : start + length]
        assert frame.checksum(start, length, 99) == _mirage.checksum(whole, start, length, 99)
    else:
        with pytest.raises(ValueError, match="bounds"):
            frame.take(start, length)
        with pytest.raises(ValueError, match="bounds"):
            frame.checksum(start, length, 0)


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, -1), (-5, 5), (3, 6)])
def test_ranges_outside_a_frame_are_refused(start, length):
    _mirage.reset()
    pool = FramePool(Dma(), 128, 4, 16)
    for parts in ([b"12345678"], [b"1234", b"5678"]):
        frame = chain(pool, parts)
        with pytest.raises(ValueError, match="bounds"):
            frame.take(start, length)
        with pytest.raises(ValueError, match="bounds"):
            frame.checksum(start, length, 0)
        frame.release()


def test_put_ends_at_the_buffer():
    _mirage.reset()
    frame = FramePool(Dma(), 128, 1, 16).alloc()
    frame.put(0, b"x" * 112, 0, 112)
    for start, data_start, length in ((1, 0, 112), (-1, 0, 4), (0, 100, 13), (0, -1, 4)):
        with pytest.raises(ValueError, match="bounds"):
            frame.put(start, b"x" * 112, data_start, length)


def test_random_numbers_spread_and_keep_their_limit():
    _mirage.reset()
    random = Random()
    numbers = [random.below(6) for _ in range(600)]
    assert set(numbers) == set(range(6))
    assert random.below(1) == 0
    assert len({random.u32() for _ in range(100)}) == 100
    assert len(random.bytes(16)) == 16
    assert random.bytes(16) != random.bytes(16)
    assert len(random.bytes(1000)) == 1000
    for limit in (0, -1, (1 << 32) + 1):
        with pytest.raises(ValueError, match="limit"):
            random.below(limit)


def test_wait_ends_with_what_it_waited_for():
    _mirage.reset()
    assert wait_set([0b110], 0, 0b010, 100, "link up") == 0b110
    assert wait_clear([0b100], 0, 0b011, 100, "reset") == 0b100
    before = _mirage.world.now_ns
    with pytest.raises(DeviceError, match=r"link up: no answer within 500 us \(register is 0x4\)"):
        wait_set([0b100], 0, 0b010, 500, "link up")
    assert 500_000 <= _mirage.world.now_ns - before < 1_000_000


def test_redeclared_constants_are_equal():
    """const() does not cross modules on MicroPython, so the hot files repeat what others declare."""
    for module in (tap, virtio_net):
        assert module._HEADER == vnet.HEADER_BYTES
        assert module._NEEDS_CSUM == vnet.NEEDS_CSUM
        assert module._DATA_VALID == vnet.DATA_VALID
        assert module._HOLDER == dma.OWNER_HOLDER
        assert module._POOL == dma.OWNER_POOL
        assert module._CSUM_VALID == dma.CSUM_VALID
        assert module._CSUM_PARTIAL == dma.CSUM_PARTIAL
        assert module._CSUM_LEFT == dma.CSUM_VALID | dma.CSUM_PARTIAL
        assert module._GSO_FRAME_MAX == 14 + 65535
    assert virtio_net._DEVICE == dma.OWNER_DEVICE
    assert (virtio_net._TX_CSUM, virtio_net._GSO_FRAME_MAX) == (hw.TX_CSUM, hw.GSO_FRAME_MAX)
    assert hw._HEADER == virtio_net._HEADER == vnet.HEADER_BYTES
    assert virtio_net._DESC_WRITE == virtio_pci.DESC_WRITE
    assert virtio_net._NO_INTERRUPT == virtio_pci.NO_INTERRUPT
    assert virtio_net._NO_NOTIFY == virtio_pci.NO_NOTIFY
    assert (tap._TX_CSUM, tap._TX_TSO4, tap._TX_TSO6) == (hw.TX_CSUM, hw.TX_TSO4, hw.TX_TSO6)
    assert (tap._RX_CSUM, tap._RX_LRO) == (hw.RX_CSUM, hw.RX_LRO)
