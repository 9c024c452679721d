# SPDX-License-Identifier: MIT
"""driver.virtio_rng and hal.random over it, against the model in tests/fakes: short, wrong and absent answers."""

from errno import EIO

import _mirage
import pytest

from libos.driver.virtio_rng import VirtioRng
from libos.hal.dma import Dma
from libos.hal.mmio import DeviceError
from libos.hal.pci import PciBus
from libos.hal.random import Random
from tests.fakes.machine import Machine
from tests.fakes.virtio_rng import VirtioRngModel


@pytest.fixture(autouse=True)
def _no_rdrand(monkeypatch):
    def entropy(buf):
        raise OSError(EIO)

    monkeypatch.setattr(_mirage, "entropy", entropy)


def bring_up(**options):
    """(source, model)."""
    model = VirtioRngModel(**options)
    _mirage.reset(machine=Machine({0x20: model}))
    return VirtioRng(PciBus(), Dma()), model


def test_numbers_are_the_device_s_own_and_never_the_same():
    source, model = bring_up()
    drawn = bytearray(256)
    source.fill(drawn)
    assert model.given.startswith(drawn)
    again = bytearray(256)
    source.fill(again)
    assert model.given[256:].startswith(again)
    # The next answer is there before anybody asks.
    assert model.requests == 3


def test_random_draws_from_it():
    source, model = bring_up()
    random = Random(source)
    number = random.u32()
    assert int.from_bytes(model.given[4:8], "big") == number
    assert len({random.u32() for _ in range(1000)}) == 1000
    assert random.bytes(1000) in model.given
    assert 0 <= random.below(10) < 10


def test_device_is_left_alone_where_the_processor_has_numbers(monkeypatch):
    monkeypatch.undo()
    source, model = bring_up()
    Random(source)
    assert model.status == 0
    assert not model.is_master


def test_short_answers_are_added_up():
    source, model = bring_up(answers=[1, 7, 100])
    drawn = bytearray(300)
    source.fill(drawn)
    assert model.given.startswith(drawn)


def test_transitional_device():
    source, model = bring_up(device_id=0x1005)
    source.fill(bytearray(8))
    assert model.status == 15


@pytest.mark.parametrize(
    ("options", "state", "message"),
    [
        ({"answers": [None]}, {}, r"virtio-rng \(00:04.0\): random numbers: no answer within 2000000 us"),
        ({"answers": [256, 0]}, {}, "answers with 0 octets, asked for 256"),
        ({}, {"says": 257}, "answers with 257 octets, asked for 256"),
        ({}, {"says": 0xFFFFFFFF}, "answers with 4294967295 octets"),
        ({}, {"head_offset": 5}, "answers with 256 octets"),
        ({"queue_size": 0}, {}, "has no queue"),
        ({}, {"stuck_reset": True}, "virtio reset: no answer"),
        ({}, {"refuse_features": True}, "refuses the features"),
    ],
)
def test_broken_device_is_an_error_that_names_it(options, state, message):
    source, model = bring_up(**options)
    model.status = 4 if "stuck_reset" in state else 0
    for name, value in state.items():
        setattr(model, name, value)
    with pytest.raises(DeviceError, match=message):
        source.fill(bytearray(512))


def test_device_that_says_it_wrote_and_did_not():
    source, model = bring_up()
    model.dma_write_really, model.dma_write = (
        model.dma_write,
        lambda phys_addr, data: None if len(data) == 256 else model.dma_write_really(phys_addr, data),
    )
    with pytest.raises(DeviceError, match="wrote nothing"):
        source.fill(bytearray(256))


def test_no_device_names_what_is_missing_and_what_helps():
    _mirage.reset(machine=Machine())
    with pytest.raises(DeviceError, match=r"no RDRAND.*virtio-rng.*-cpu max or host.*-device virtio-rng-pci"):
        Random(VirtioRng(PciBus(), Dma()))
    with pytest.raises(DeviceError, match="no RDRAND"):
        Random()


def test_works_beside_a_network_card_that_takes_its_share():
    source, _ = bring_up()
    dma = source._dma
    dma.alloc(dma.share_bytes, 1)
    source.fill(bytearray(16))
