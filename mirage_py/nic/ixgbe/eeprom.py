# SPDX-License-Identifier: MIT
"""The EEPROM: its image with checksum, MAC, firmware section and SFP list, and the two ways to read it.

Source: 82599 datasheet chapter 6 (the words), 8.2.3.2 (EEC, EERD). The SPI port takes the commands of a 25-type EEPROM.
"""

from __future__ import annotations

from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.register_file import RegisterFile

WORDS = 8192
CHECKSUM_WORD = 0x3F
CHECKSUM = 0xBABA
SFP_LIST_WORD = 0x2B
CAPABILITIES_WORD = 0x2C
FIRMWARE_WORD = 0x0F
PBA_WORD = 0x15
NOWHERE = 0xFFFF

# The words that point to sections which the checksum covers (6.1.7).
_SECTION_POINTERS = range(0x03, 0x0F)
# Any SFP may be used; and no FCoE offloads, which is what a set bit 1 says.
_CAPABILITIES = 0x3
# SFP kinds that the list offers: direct attach copper and 10GBASE-SR/LR, on either port.
_SFP_KINDS = (3, 4, 5, 6)

_SPI_WRITE_STATUS, _SPI_WRITE, _SPI_READ, _SPI_WRITE_DISABLE, _SPI_READ_STATUS, _SPI_WRITE_ENABLE = 1, 2, 3, 4, 5, 6
_SPI_WRITE_ENABLED = 0x02


def checksum(words: list[int]) -> int:
    """What word 0x3F has to be so that words 0 to 0x3F and the sections sum up to 0xBABA."""
    total = sum(words[:CHECKSUM_WORD])
    for pointer in _SECTION_POINTERS:
        start = words[pointer]
        if start not in (0, NOWHERE) and start < len(words):
            length = words[start]
            if length not in (0, NOWHERE):
                total += sum(words[start + 1 : start + 1 + length])
    return CHECKSUM - total & 0xFFFF


def image(mac: bytes) -> list[int]:
    """The words of an adapter with this MAC address (6 octets)."""
    words = [0xFFFF] * WORDS
    words[0:0x40] = [0] * 0x40
    words[0x00] = 0x3A03
    for pointer in (*_SECTION_POINTERS, 0x26, 0x27, 0x28, 0x37):
        words[pointer] = NOWHERE
    # Core 0 section: the MAC address of port 0.
    words[0x09] = 0x80
    words[0x80:0x84] = [3, *(int.from_bytes(mac[i : i + 2], "little") for i in (0, 2, 4))]
    words[0x11] = 0x0A0
    words[0x0A0:0x0A3] = [int.from_bytes(mac[i : i + 2], "little") for i in (0, 2, 4)]
    # Firmware: pass-through version 6, above what drivers warn about; no link management.
    words[FIRMWARE_WORD] = 0x100
    words[0x100:0x110] = [0xF] + [NOWHERE] * 15
    words[0x104] = 0x120
    words[0x120:0x128] = [7, 0, 0, 0, 0, 0, 0, 6]
    # PBA number: the guard word, then a pointer to its length in words and its letters.
    words[PBA_WORD : PBA_WORD + 2] = [0xFAFA, 0x140]
    letters = b"G00000-001"
    words[0x140] = 1 + len(letters) // 2
    words[0x141 : 0x141 + len(letters) // 2] = [
        int.from_bytes(letters[i : i + 2], "big") for i in range(0, len(letters), 2)
    ]
    # The list of SFP kinds, each with its initialisation; every one is empty, for there is no PHY core to set up.
    words[SFP_LIST_WORD] = 0x180
    entries = [word for kind in _SFP_KINDS for word in (kind, 0x1A0)]
    words[0x180 : 0x181 + len(entries)] = [0, *entries]
    words[0x1A0:0x1A3] = [0, 0xFFFF, 0xFFFF]
    words[CAPABILITIES_WORD] = _CAPABILITIES
    words[0x2D:0x2F] = [0x0001, 0x8000]
    words[0x38] = 0
    words[CHECKSUM_WORD] = checksum(words)
    return words


class Eeprom:
    """The EEPROM behind EERD and behind the pins in EEC. Writing the checksum right is the driver's business."""

    def __init__(self, regs: RegisterFile, mac: bytes) -> None:
        self.words = image(mac)
        self._regs = regs
        self._size = (WORDS // 64).bit_length() - 1
        self._clock = False
        self._selected = False
        self._bits = 0
        self._value = 0
        self._out: list[int] = []
        self._octets: list[int] = []
        self._write_enabled = False
        regs.on_read(r.EEC, self._read_eec)
        regs.on_write(r.EEC, self._write_eec)
        regs.on_write(r.EERD, self._write_eerd)

    def mac(self) -> bytes:
        """The address that a reset loads into RAL/RAH 0."""
        return b"".join(word.to_bytes(2, "little") for word in self.words[0x81:0x84])

    def _write_eerd(self, value: int) -> None:
        if value & r.EERD_START:
            word = self.words[(value >> 2 & 0x3FFF) % WORDS]
            self._regs.store[r.EERD >> 2] = word << 16 | value & 0xFFFC | r.EERD_DONE

    def _read_eec(self) -> int:
        value = self._regs.store[r.EEC >> 2] | r.EEC_PRES | r.EEC_ARD | r.EEC_ADDR_SIZE | self._size << r.EEC_SIZE_SHIFT
        if value & r.EEC_REQ:
            value |= r.EEC_GNT
        return value | (r.EEC_DO if self._out and self._out[0] else 0)

    def _write_eec(self, value: int) -> None:
        """The SPI port: a bit is taken at the rising clock, and given at the falling one."""
        selected = bool(value & r.EEC_REQ) and not value & r.EEC_CS
        if selected != self._selected:
            if self._selected:
                self._end_of_command()
            self._selected = selected
            self._bits = self._value = 0
            self._octets, self._out = [], []
        clock = bool(value & r.EEC_SK)
        if selected and clock and not self._clock:
            self._value = self._value << 1 & 0xFF | bool(value & r.EEC_DI)
            self._bits += 1
        elif selected and self._clock and not clock:
            if self._bits == 8:
                self._octets.append(self._value)
                self._bits = self._value = 0
                self._prepare()
            elif self._out:
                self._out.pop(0)
        self._clock = clock

    def _prepare(self) -> None:
        """An octet is complete: what the EEPROM says next."""
        command, count = self._octets[0], len(self._octets)
        answer: int | None = None
        if command == _SPI_READ_STATUS:
            answer = _SPI_WRITE_ENABLED if self._write_enabled else 0
        elif command & ~0x8 == _SPI_READ and count >= 3:
            answer = self._octet((self._octets[1] << 8 | self._octets[2]) + count - 3)
        if answer is not None:
            self._out = [answer >> bit & 1 for bit in range(7, -1, -1)]

    def _octet(self, address: int) -> int:
        # A word goes out with its low octet first; drivers swap what they shift in.
        word = self.words[(address >> 1) % WORDS]
        return word >> 8 & 0xFF if address & 1 else word & 0xFF

    def _end_of_command(self) -> None:
        if not self._octets:
            return
        command = self._octets[0]
        if command in (_SPI_WRITE_ENABLE, _SPI_WRITE_DISABLE):
            self._write_enabled = command == _SPI_WRITE_ENABLE
        elif command & ~0x8 == _SPI_WRITE and self._write_enabled and len(self._octets) >= 3:
            address = self._octets[1] << 8 | self._octets[2]
            for offset, octet in enumerate(self._octets[3:], address):
                index = (offset >> 1) % WORDS
                word = self.words[index]
                self.words[index] = word & 0xFF | octet << 8 if offset & 1 else word & 0xFF00 | octet
            self._write_enabled = False
