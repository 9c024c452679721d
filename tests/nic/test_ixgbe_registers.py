# SPDX-License-Identifier: MIT
"""Registers of the model: access rules, reset, semaphores, EEPROM by both ways, SFP over I2C, statistics."""

import logging

import pytest

from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.eeprom import CHECKSUM, checksum, image
from mirage_py.nic.ixgbe.phy import diagnostics_image, sfp_image
from tests.nic.host import MAC, Host


@pytest.fixture
def host() -> Host:
    return Host()


def test_read_only_register_keeps_its_value(host: Host) -> None:
    before = host[r.STATUS]
    host[r.STATUS] = 0x7FFF_F30F
    assert host[r.STATUS] == before == r.STATUS_MASTER_ENABLE


def test_writable_bits_and_no_others_change(host: Host) -> None:
    host[r.RDLEN] = 0xFFFF_FFFF
    assert host[r.RDLEN] == 0x000F_FF80
    host[r.RAH] = 0x800C_FFFF
    assert host[r.RAH] == 0x8000_FFFF


def test_low_and_high_addresses_of_arrays_are_one(host: Host) -> None:
    host[r.RAL + 8] = 0x1234_5678
    assert host[r.RAL_HIGH + 8] == 0x1234_5678
    host[r.SRRCTL_LOW + 4 * 3] = 0x0200_0002
    assert host[r.SRRCTL + 3 * 0x40] == 0x0200_0002


def test_unmodelled_register_is_storage_and_logged_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        host[0x1F000] = 0xABCD
        assert host[0x1F000] == 0xABCD
        assert host[0x1F004] == 0
    assert len(caplog.records) == 2


def test_index_outside_the_bar_is_an_error(host: Host) -> None:
    for index in (-1, r.BAR_BYTES // 4):
        with pytest.raises(IndexError):
            host.regs[index]
        with pytest.raises(IndexError):
            host.regs[index] = 0


def test_reset_bit_clears_itself_and_resets_all_but_semaphores(host: Host) -> None:
    host.start()
    host[r.SW_FW_SYNC] = 5
    host[r.RAL] = 0
    host[r.CTRL] = r.CTRL_RST
    assert host[r.CTRL] == 0
    assert host[r.TXDCTL] == 0
    assert host[r.SW_FW_SYNC] == 5
    assert host[r.RAL] == int.from_bytes(MAC[:4], "little")
    assert host[r.RAH] == int.from_bytes(MAC[4:], "little") | r.RAH_AV


def test_first_reader_of_smbi_has_the_semaphore(host: Host) -> None:
    assert not host[r.SWSM] & r.SWSM_SMBI
    assert host[r.SWSM] & r.SWSM_SMBI
    host[r.SWSM] = r.SWSM_SWESMBI
    assert host[r.SWSM] & r.SWSM_SWESMBI
    host[r.SWSM] = 0
    assert not host[r.SWSM] & (r.SWSM_SMBI | r.SWSM_SWESMBI)


def test_master_disable_shows_in_status(host: Host) -> None:
    host[r.CTRL] = r.CTRL_MASTER_DISABLE
    assert not host[r.STATUS] & r.STATUS_MASTER_ENABLE


def test_dead_device_reads_all_ones(host: Host) -> None:
    host.nic.faults.set("dead", 1)
    assert host[r.STATUS] == 0xFFFF_FFFF
    host[r.RDLEN] = 0x80
    host.nic.faults.set("dead", 0)
    assert host[r.RDLEN] == 0


def eerd(host: Host, word: int) -> int:
    host[r.EERD] = word << 2 | r.EERD_START
    value = host[r.EERD]
    assert value & r.EERD_DONE
    return value >> 16


def test_eeprom_sum_is_what_drivers_check(host: Host) -> None:
    words = [eerd(host, number) for number in range(0x400)]
    total = sum(words[:0x40])
    for pointer in words[3:0xF]:
        if pointer not in (0, 0xFFFF) and words[pointer] not in (0, 0xFFFF):
            total += sum(words[pointer + 1 : pointer + 1 + words[pointer]])
    assert total & 0xFFFF == CHECKSUM
    words = image(MAC)
    assert words[0x3F] == checksum(words)


def test_eeprom_names_the_mac_and_the_sfp_kinds(host: Host) -> None:
    core = eerd(host, 0x09)
    assert b"".join(eerd(host, core + 1 + i).to_bytes(2, "little") for i in range(3)) == MAC
    entry, kinds = eerd(host, 0x2B) + 1, []
    while (kind := eerd(host, entry)) != 0xFFFF:
        kinds.append(kind)
        assert eerd(host, entry + 1) not in (0, 0xFFFF)
        entry += 2
    assert 5 in kinds


class Spi:
    """A driver's bit-banging of the EEPROM port."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def _set(self, mask: int, on: bool) -> None:
        value = self.host[r.EEC]
        self.host[r.EEC] = value | mask if on else value & ~mask

    def transfer(self, out: bytes, answer: int = 0) -> bytes:
        self._set(r.EEC_REQ, True)
        assert self.host[r.EEC] & r.EEC_GNT
        self._set(r.EEC_CS | r.EEC_SK, False)
        for octet in out:
            for bit in range(7, -1, -1):
                self._set(r.EEC_DI, bool(octet >> bit & 1))
                self._set(r.EEC_SK, True)
                self._set(r.EEC_SK, False)
        value = 0
        for _ in range(8 * answer):
            self._set(r.EEC_SK, True)
            value = value << 1 | bool(self.host[r.EEC] & r.EEC_DO)
            self._set(r.EEC_SK, False)
        self._set(r.EEC_CS, True)
        self._set(r.EEC_REQ, False)
        return value.to_bytes(answer, "big")


def test_eeprom_is_read_and_written_by_its_pins(host: Host) -> None:
    spi = Spi(host)
    data = spi.transfer(bytes([3, 0, 0x12]), 4)
    assert data == eerd(host, 9).to_bytes(2, "little") + eerd(host, 10).to_bytes(2, "little")
    assert spi.transfer(bytes([5]), 1) == b"\0"
    spi.transfer(bytes([2, 0x10, 0x00, 1, 2]))
    assert eerd(host, 0x800) == 0xFFFF, "writing was not enabled"
    spi.transfer(bytes([6]))
    assert spi.transfer(bytes([5]), 1) == b"\2"
    spi.transfer(bytes([2, 0x10, 0x00, 1, 2, 3, 4]))
    assert (eerd(host, 0x800), eerd(host, 0x801)) == (0x0201, 0x0403)


class I2c:
    """A driver's bit-banging of the SFP's bus."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def _lines(self, scl: bool | None = None, sda: bool | None = None) -> None:
        value = self.host[r.I2CCTL]
        for mask, level in ((r.I2CCTL_DATA_OUT, sda), (r.I2CCTL_CLK_OUT, scl)):
            if level is not None:
                value = value | mask if level else value & ~mask
        self.host[r.I2CCTL] = value

    def start(self) -> None:
        self._lines(sda=True)
        self._lines(scl=True)
        self._lines(sda=False)
        self._lines(scl=False)

    def stop(self) -> None:
        self._lines(sda=False)
        self._lines(scl=True)
        self._lines(sda=True)

    def bit(self, level: bool) -> bool:
        self._lines(sda=level)
        self._lines(scl=True)
        assert self.host[r.I2CCTL] & r.I2CCTL_CLK_IN
        got = bool(self.host[r.I2CCTL] & r.I2CCTL_DATA_IN)
        self._lines(scl=False)
        return got

    def write(self, octet: int) -> bool:
        for bit in range(7, -1, -1):
            self.bit(bool(octet >> bit & 1))
        return not self.bit(True)

    def read(self, acknowledge: bool) -> int:
        value = 0
        for _ in range(8):
            value = value << 1 | self.bit(True)
        self.bit(not acknowledge)
        return value


@pytest.mark.parametrize(("address", "content"), [(0xA0, sfp_image()), (0xA2, diagnostics_image())])
def test_sfp_answers_on_its_bus(host: Host, address: int, content: bytes) -> None:
    bus = I2c(host)
    for start, count in ((0, 4), (37, 3), (254, 4)):
        bus.start()
        assert bus.write(address)
        assert bus.write(start)
        bus.start()
        assert bus.write(address | 1)
        got = bytes(bus.read(number < count - 1) for number in range(count))
        bus.stop()
        assert got == (content + content)[start : start + count]


def test_nobody_answers_at_other_addresses(host: Host) -> None:
    bus = I2c(host)
    bus.start()
    assert not bus.write(0xA4)
    bus.stop()


def test_mdio_finds_no_phy(host: Host) -> None:
    host[r.MSCA] = r.MSCA_COMMAND | 0x0C00_0000
    assert not host[r.MSCA] & r.MSCA_COMMAND
    assert host[r.MSRWD] >> 16 == 0xFFFF


def test_link_is_up_at_ten_gigabit_and_follows_laser_and_partner(host: Host) -> None:
    def is_up() -> bool:
        return bool(host[r.LINKS] & r.LINKS_UP)

    assert is_up()
    assert host[r.LINKS] & r.LINKS_SPEED_10G == r.LINKS_SPEED_10G
    host[r.ESDP] = r.ESDP_SDP3
    assert not is_up()
    host[r.ESDP] = 0
    assert is_up()
    host.nic.faults.set("link-down", 1)
    assert not is_up()
    host.nic.faults.set("link-down", 0)
    assert is_up()
    assert host[r.EICS] & r.EICR_LSC
    host[r.AUTOC] = host[r.AUTOC] | r.AUTOC_RESTART_AN
    assert not host[r.AUTOC] & r.AUTOC_RESTART_AN


def test_counters_clear_when_read(host: Host) -> None:
    host.start()
    host.arrive(bytes(60), bytes(1000))
    assert host[r.GPRC] == 2
    assert host[r.GPRC] == 0
    assert host[r.GORCL] == 60 + 1000 + 8
    assert host[r.GORCH] == 0
    assert host[r.GORCL] == 0
    assert [host[r.PRC64 + 4 * n] for n in range(6)] == [1, 0, 0, 0, 1, 0]
    host.nic.stats.gorc = 0x12_3456_789A
    assert (host[r.GORCL], host[r.GORCH]) == (0x3456_789A, 0x12)


def test_free_running_and_tcp_timer(host: Host) -> None:
    first = host[r.FRTIMER]
    host.timers.advance(5_000_000)
    assert host[r.FRTIMER] - first == 5000
    host[r.TCPTIMER] = r.TCPTIMER_ENABLE | r.TCPTIMER_LOOP | 10
    host.timers.advance(9_000_000)
    assert not host[r.EICS] & r.EICR_TCP_TIMER
    host.timers.advance(1_000_000)
    assert host[r.EICR] & r.EICR_TCP_TIMER
    host.timers.advance(10_000_000)
    assert host[r.EICR] & r.EICR_TCP_TIMER
    host[r.TCPTIMER] = 0
    host.timers.advance(50_000_000)
    assert not host[r.EICR] & r.EICR_TCP_TIMER
