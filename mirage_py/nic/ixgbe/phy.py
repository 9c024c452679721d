# SPDX-License-Identifier: MIT
"""The link and what leads to it: the SFP module on its I2C bus, MDIO without a PHY, AUTOC, LINKS, the laser.

Source: 82599 datasheet sections 3.7 (link), 8.2.3.22 (MAC registers), 8.2.3.1.3 (ESDP), 8.2.3.1.4 (I2CCTL); SFF-8472.
"""

from __future__ import annotations

from collections.abc import Callable

from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.register_file import RegisterFile

_SFP_WRITE, _SFP_READ = 0xA0, 0xA1
_DIAGNOSTICS_WRITE, _DIAGNOSTICS_READ = 0xA2, 0xA3


def sfp_image() -> bytes:
    """The 256 octets of a 10GBASE-SR module at I2C address 0xA0 (SFF-8472 table 3.1)."""
    image = bytearray(256)
    image[0:4] = bytes([0x03, 0x04, 0x07, 0x10])
    image[11:16] = bytes([0x06, 103, 0, 0, 0])
    image[16:20] = bytes([8, 2, 0, 30])
    image[20:36] = b"mirage-py".ljust(16)
    image[37:40] = bytes([0x00, 0x1B, 0x21])
    image[40:56] = b"SFP-10G-MODEL".ljust(16)
    image[56:60] = b"1   "
    image[60:62] = (850).to_bytes(2, "big")
    image[63] = sum(image[:63]) & 0xFF
    image[64:66] = bytes([0x00, 0x1A])
    image[68:84] = b"0000000001".ljust(16)
    image[84:92] = b"200101  "
    image[92:95] = bytes([0x68, 0xB0, 0x05])
    image[95] = sum(image[64:95]) & 0xFF
    return bytes(image)


def diagnostics_image() -> bytes:
    """The 256 octets at 0xA2: 35 degrees, 3.3 V, 6 mA, 0.5 mW both ways; thresholds far away (SFF-8472 table 3.17)."""
    image = bytearray(256)
    for start, high, low in (
        (0, 0x5A00, 0xF600),
        (8, 0x9C40, 0x61A8),
        (16, 0x1770, 0),
        (24, 0x2710, 0),
        (32, 0x2710, 0),
    ):
        image[start : start + 8] = (
            high.to_bytes(2, "big") + low.to_bytes(2, "big") + (high.to_bytes(2, "big") + low.to_bytes(2, "big"))
        )
    image[95] = sum(image[:95]) & 0xFF
    for offset, value in ((96, 0x2300), (98, 33000), (100, 3000), (102, 5000), (104, 5000)):
        image[offset : offset + 2] = value.to_bytes(2, "big")
    return bytes(image)


class I2cSlaves:
    """Memories on an I2C bus, seen from the two wires: 256 octets each, read at a pointer that a write sets."""

    def __init__(self, memories: dict[int, bytes]) -> None:
        self._memories = memories
        self._pointers = dict.fromkeys(memories, 0)
        self._scl = True
        self._sda = True
        self.drives_low = False
        self._state = "idle"
        self._address = 0
        self._shift = 0
        self._count = 0
        self._octets = 0

    def wires(self, scl: bool, sda: bool) -> None:
        """The master's levels of clock and data; `drives_low` says afterwards whether a slave pulls the data down."""
        if scl and self._scl:
            if self._sda and not sda:
                self._state, self._count, self._shift = "address", 0, 0
                self.drives_low = False
            elif sda and not self._sda:
                self._state = "idle"
                self.drives_low = False
        elif scl and not self._scl:
            self._rise(sda)
        elif self._scl and not scl:
            self._fall()
        self._scl, self._sda = scl, sda

    def _rise(self, sda: bool) -> None:
        if self._state in ("address", "write") and self._count < 8:
            self._shift = self._shift << 1 | sda
        elif self._state == "read" and self._count == 8 and sda:
            # The master does not acknowledge: it wants no more.
            self._state = "idle"
        self._count += 1

    def _fall(self) -> None:
        if self._state == "idle":
            self.drives_low = False
        elif self._state in ("address", "write"):
            if self._count == 8:
                self.drives_low = self._take_octet()
            elif self._count == 9:
                self.drives_low = False
                self._count = self._shift = 0
                if self._state == "address":
                    self._state = "read" if self._address & 1 else "write"
                    self._octets = 0
                    if self._state == "read":
                        self._load()
        elif self._count == 8:
            self.drives_low = False
        else:
            if self._count == 9:
                self._count = 0
                self._load()
            self.drives_low = not self._shift >> (7 - self._count) & 1

    def _take_octet(self) -> bool:
        """Eight bits are in; whether a slave acknowledges them."""
        if self._state == "address":
            self._address = self._shift
            if self._shift & ~1 not in self._memories:
                self._state = "idle"
                return False
            return True
        if self._octets == 0:
            self._pointers[self._address] = self._shift
        else:
            self._pointers[self._address] = self._pointers[self._address] + 1 & 0xFF
        self._octets += 1
        return True

    def _load(self) -> None:
        device = self._address & ~1
        pointer = self._pointers[device]
        self._shift = self._memories[device][pointer]
        self._pointers[device] = pointer + 1 & 0xFF
        self.drives_low = not self._shift >> 7 & 1


class Phy:
    """Link state of one port.

    on_change(up) is called at each change, for the interrupt and for stalled queues; on_light(on) when this end begins
    or ceases to send light, for the far end.
    """

    def __init__(
        self, regs: RegisterFile, on_change: Callable[[bool], None], on_light: Callable[[bool], None] = lambda on: None
    ) -> None:
        self._regs = regs
        self._on_change = on_change
        self._on_light = on_light
        self._i2c = I2cSlaves({_SFP_WRITE: sfp_image(), _DIAGNOSTICS_WRITE: diagnostics_image()})
        self._is_plugged = True
        self._partner_sends = True
        self._sends = True
        self.is_up = True
        regs.on_write(r.I2CCTL, self._write_i2c)
        regs.on_read(r.I2CCTL, self._read_i2c)
        regs.on_write(r.ESDP, self._write_esdp)
        regs.on_read(r.ESDP, lambda: regs.store[r.ESDP >> 2] | r.ESDP_SDP2)
        regs.on_write(r.AUTOC, self._write_autoc)
        regs.on_write(r.AUTOC2, lambda value: self._update())
        regs.on_read(r.LINKS, self._read_links)
        regs.on_write(r.MSCA, self._write_msca)

    def reset(self) -> None:
        """After a reset of the registers: the link comes back by itself, as its settings are in the EEPROM."""
        self._shine()
        self.is_up = self._sends and self._partner_sends

    def plug(self, plugged: bool) -> None:
        """Whether the fibre is in: a fault switch takes it out, for both ends."""
        self._is_plugged = plugged
        self._update()

    def set_partner(self, sends: bool) -> None:
        """Whether light comes from the far end."""
        self._partner_sends = sends
        self._update()

    def _shine(self) -> None:
        dark = self._regs.store[r.ESDP >> 2] & r.ESDP_SDP3
        sends = self._is_plugged and not dark and not self._regs.store[r.AUTOC2 >> 2] & r.AUTOC2_LINK_DISABLE
        if sends != self._sends:
            self._sends = sends
            self._on_light(sends)

    def _update(self) -> None:
        self._shine()
        wanted = self._sends and self._partner_sends
        if wanted != self.is_up:
            self.is_up = wanted
            self._on_change(wanted)

    def _write_esdp(self, value: int) -> None:
        self._update()

    def _write_autoc(self, value: int) -> None:
        self._regs.store[r.AUTOC >> 2] = value & ~r.AUTOC_RESTART_AN
        self._update()

    def _read_links(self) -> int:
        # The last LMS written shows in bits 28:27 on the device; only serial 10G exists here.
        if not self.is_up:
            return r.LINKS_SPEED_10G
        return r.LINKS_KX_AN_COMP | r.LINKS_UP | r.LINKS_SPEED_10G | r.LINKS_10G_ALIGN

    def _write_msca(self, value: int) -> None:
        """MDIO: no PHY answers, so a read gives all ones; the command is done at once."""
        self._regs.store[r.MSCA >> 2] = value & ~r.MSCA_COMMAND
        self._regs.store[r.MSRWD >> 2] |= 0xFFFF_0000

    def _write_i2c(self, value: int) -> None:
        self._i2c.wires(bool(value & r.I2CCTL_CLK_OUT), bool(value & r.I2CCTL_DATA_OUT))

    def _read_i2c(self) -> int:
        value = self._regs.store[r.I2CCTL >> 2]
        if value & r.I2CCTL_CLK_OUT:
            value |= r.I2CCTL_CLK_IN
        if value & r.I2CCTL_DATA_OUT and not self._i2c.drives_low:
            value |= r.I2CCTL_DATA_IN
        return value
