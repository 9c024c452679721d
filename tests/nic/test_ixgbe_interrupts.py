# SPDX-License-Identifier: MIT
"""Interrupts of the model: causes, masks, vectors, automatic clearing and masking, moderation, the pin."""

import pytest

from mirage_py.nic.ixgbe import registers as r
from tests.nic.host import Host


@pytest.fixture
def host() -> Host:
    host = Host()
    host[r.GPIE] = r.GPIE_MULTIPLE_MSIX
    return host


def test_cause_without_mask_sends_nothing_until_unmasked(host: Host) -> None:
    host[r.EICS] = 1 << 3
    assert host.sink.messages == []
    host[r.EIMS] = 1 << 3
    assert host.sink.messages == [3]
    assert host[r.EIMS] == 1 << 3


def test_cause_that_stays_sends_one_message(host: Host) -> None:
    host[r.EIMS] = 1
    host[r.EICS] = 1
    host[r.EICS] = 1
    assert host.sink.messages == [0]
    host[r.EICR] = 1
    host[r.EICS] = 1
    assert host.sink.messages == [0, 0]
    host[r.EIMC] = 1
    host[r.EIMS] = 1
    assert host.sink.messages == [0, 0, 0], "unmasked again with the cause still there"


def test_automatic_clear_lets_the_next_one_through(host: Host) -> None:
    host[r.EIAC] = 1
    host[r.EIMS] = 1
    for _ in range(3):
        host[r.EICS] = 1
    assert host.sink.messages == [0, 0, 0]
    assert host[r.EICR] & 1 == 0


def test_automatic_mask_holds_back_until_enabled_again(host: Host) -> None:
    host[r.GPIE] = r.GPIE_MULTIPLE_MSIX | r.GPIE_EIAME
    host[r.EIAM_EX] = 0xFFFF_FFFF
    host[r.EIAC] = 0xFFFF
    host[r.IVAR] = 0x8180
    host[r.EIMS_EX] = 2
    host.nic.interrupts.transmit(0)
    host.nic.interrupts.transmit(0)
    assert host.sink.messages == [1]
    assert host[r.EIMS_EX] == 0
    host[r.EIMS_EX] = 2
    assert host.sink.messages == [1, 1], "what came while masked is not lost"


def test_queues_map_to_vectors_by_ivar(host: Host) -> None:
    host[r.EIAC] = 0xFFFF
    host[r.IVAR + 4 * 2] = 0x8786_8584
    host[r.EIMS] = 0xFF
    for queue in (4, 5):
        host.nic.interrupts.receive(queue)
        host.nic.interrupts.transmit(queue)
    assert host.sink.messages == [4, 5, 6, 7]
    host.nic.interrupts.receive(6)
    assert len(host.sink.messages) == 4, "an entry that is not valid"


def test_vectors_beyond_sixteen_live_in_the_extended_registers(host: Host) -> None:
    host[r.IVAR] = 0x80 | 40
    host[r.EIMS_EX + 4] = 1 << 8
    host.nic.interrupts.receive(0)
    host.nic.interrupts.receive(0)
    assert host.sink.messages == [40, 40]


def test_other_cause_goes_to_its_vector_and_is_cleared_by_writing(host: Host) -> None:
    host[r.IVAR_MISC] = 0x8200
    host[r.GPIE] = r.GPIE_MULTIPLE_MSIX | r.GPIE_OCD
    host[r.EIMS] = r.EICR_LSC | r.EICR_OTHER
    host.nic.faults.set("link-down", 1)
    assert host.sink.messages == [2]
    assert host[r.EICS] & r.EICR_LSC, "reading EICS clears nothing"
    host[r.EICR] = host[r.EICS] & 0xFFFF_0000
    assert not host[r.EICS] & r.EICR_LSC
    host.nic.faults.set("link-down", 0)
    assert host.sink.messages == [2, 2]


def test_moderation_keeps_messages_apart(host: Host) -> None:
    host[r.EIAC] = 1
    host[r.EIMS] = 1
    host[r.EITR] = 50 << 3 | r.EITR_CNT_WDIS  # 100 microseconds
    for _ in range(10):
        host[r.EICS] = 1
        host.timers.advance(30_000)
    assert len(host.sink.messages) == 4, "at 0, 100, 200 and 300 microseconds"
    host.timers.advance(1_000_000)
    assert len(host.sink.messages) == 4


def test_pin_is_up_while_a_cause_is_unmasked() -> None:
    host = Host("intx")
    host[r.EIAM] = 0xFFFF
    host[r.EIMS] = 0x1 | r.EICR_LSC
    host[r.IVAR] = 0x80
    host.nic.interrupts.receive(0)
    assert host.sink.pin
    assert host[r.EICR] == 1
    assert not host.sink.pin
    assert host[r.EIMS] == r.EICR_LSC, "masked by reading"
    host.nic.interrupts.receive(0)
    assert not host.sink.pin
    host[r.EIMS] = 1
    assert host.sink.pin
    host[r.EICR] = 1
    assert not host.sink.pin


def test_single_message_for_all_causes() -> None:
    host = Host("msi")
    host[r.EIMS] = 0x3
    host[r.EICS] = 1
    host[r.EICS] = 2
    assert host.sink.messages == [0]
    assert host[r.EICR] == 3
    host[r.EICS] = 2
    assert host.sink.messages == [0, 0]


def test_no_mechanism_keeps_the_cause_for_later(host: Host) -> None:
    host.sink.mode = "none"
    host[r.EIMS] = 1
    host[r.EICS] = 1
    assert host.sink.messages == []
    host.sink.mode = "msix"
    host[r.EIMS] = 1
    assert host.sink.messages == [0]


def test_lost_interrupt_is_not_sent(host: Host) -> None:
    host.nic.faults.set("lost-interrupt", 2)
    host[r.EIAC] = 1
    host[r.EIMS] = 1
    for _ in range(6):
        host[r.EICS] = 1
    assert len(host.sink.messages) == 3
    assert host.nic.faults.counts["lost-interrupt"] == 3
