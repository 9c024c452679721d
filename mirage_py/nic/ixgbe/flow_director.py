# SPDX-License-Identifier: MIT
"""The flow director: filters by hundreds that name a packet's queue, or drop it (82599 datasheet section 7.1.2.7).

Perfect filters compare the fields themselves, under masks that are the same for all; signature filters compare two
hashes of them. Which of the two it is, FDIRCTRL says when the table is made.
"""

from __future__ import annotations

from typing import NamedTuple

from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.packet import TYPE_IPV4, TYPE_SCTP, TYPE_TCP, TYPE_UDP, Packet
from mirage_py.nic.ixgbe.register_file import RegisterFile

_CMD_ADD, _CMD_REMOVE, _CMD_QUERY = 1, 2, 3
_CMD_VALID = 1 << 2
_CMD_CLEAR_TABLE = 1 << 8
_CMD_DROP = 1 << 9
_L4_SHIFT = 5
_FLOW_IPV6 = 4  # with the transport in the two bits below: UDP, TCP, SCTP
_CTRL_ALLOCATED = 3
_CTRL_PERFECT = 1 << 4
_CTRL_REPORT = 1 << 5
_MASK_VLAN_ID, _MASK_VLAN_PRIORITY, _MASK_L4, _MASK_FLEX = 1 << 0, 1 << 1, 1 << 3, 1 << 4
_HASH_BITS = 15
_HASH_MASK = (1 << _HASH_BITS) - 1
_MAX_REMEMBERED = 4096
# Filters in a table of 64, 128, 256 KiB (7.1.2.7.1): perfect ones take four times the room.
_ROOM = {0: 0, 1: 8192, 2: 16384, 3: 32768}

Fields = tuple[int, int, int, int, int, int]
Identity = tuple[int, int]


class Filter(NamedTuple):
    fields: Fields
    queue: int
    is_drop: bool


class Found(NamedTuple):
    """queue: -1 to drop. tag: what the descriptor tells of the filter, or None."""

    queue: int
    tag: int | None


def hash_masks(key: int) -> list[tuple[int, int]]:
    """For each bit of the hash, which bits it sums of the two words that the fields are folded into.

    The hash of bit b is the sum of the input's bits, each times the key's bit at their distance. Addresses, ports and
    the flexible octets repeat every 32 bits of the key, so that they can be folded; flow type and VLAN, at the end of
    the input, are summed once more where the key wraps.
    """
    masks = []
    for bit in range(_HASH_BITS):
        common = sum((key >> (place - bit - 16) % 32 & 1) << place for place in range(32))
        flow = 0
        for place in range(32):
            distance = place - bit
            weight = key >> (distance + 16 if distance < 16 else distance) & 1
            if 0 < distance < 16:
                weight ^= key >> distance & 1
            flow |= weight << place
        masks.append((common, flow))
    return masks


def folded_hash(masks: list[tuple[int, int]], common: int, flow: int) -> int:
    value = 0
    for bit, (common_mask, flow_mask) in enumerate(masks):
        value |= ((common & common_mask).bit_count() + (flow & flow_mask).bit_count() & 1) << bit
    return value


def _reversed(mask: int) -> int:
    """A port mask as the registers have it: the most significant bit of a port is masked by bit 0 (8.2.3.21.10)."""
    return int(f"{mask & 0xFFFF:016b}"[::-1], 2) | int(f"{mask >> 16:016b}"[::-1], 2) << 16


class FlowDirector:
    """All filters. `is_active` says whether a packet has to be shown to it."""

    def __init__(self, regs: RegisterFile) -> None:
        self._regs = regs
        self._filters: dict[Identity, Filter] = {}
        self._by_fields: dict[Fields, tuple[Identity, Filter]] | None = None
        self._hashes: dict[tuple[int, int], Identity] = {}
        self._masks: tuple[list[tuple[int, int]], list[tuple[int, int]]] | None = None
        self.is_active = False
        self.matches = self.misses = 0
        self._added = self._removed = self._failed_adds = self._failed_removes = 0
        regs.on_write(r.FDIRCTRL, self._write_control)
        regs.on_write(r.FDIRCMD, self._write_command)
        for offset in (r.FDIRM, r.FDIRSIP4M, r.FDIRDIP4M, r.FDIRTCPM, r.FDIRUDPM, r.FDIRSCTPM, r.FDIRHKEY, r.FDIRSKEY):
            regs.on_write(offset, self._masks_changed)
        regs.on_read(r.FDIRFREE, lambda: self._room() - len(self._filters))
        regs.on_read(r.FDIRUSTAT, self._take_uses)
        regs.on_read(r.FDIRFSTAT, self._take_failures)
        regs.on_read(r.FDIRMATCH, self._take_matches)
        regs.on_read(r.FDIRMISS, self._take_misses)

    def reset(self) -> None:
        self._clear()
        self._masks_changed(0)
        self.matches = self.misses = 0
        self._added = self._removed = self._failed_adds = self._failed_removes = 0

    # Registers.

    def _take_uses(self) -> int:
        value = self._added & 0xFFFF | (self._removed & 0xFFFF) << 16
        self._added = self._removed = 0
        return value

    def _take_failures(self) -> int:
        value = self._failed_adds & 0xFF | (self._failed_removes & 0xFF) << 8
        self._failed_adds = self._failed_removes = 0
        return value

    def _take_matches(self) -> int:
        value, self.matches = self.matches, 0
        return min(value, 0xFFFF_FFFF)

    def _take_misses(self) -> int:
        value, self.misses = self.misses, 0
        return min(value, 0xFFFF_FFFF)

    def _masks_changed(self, value: int) -> None:
        self._by_fields = self._masks = None
        self._hashes.clear()

    def _clear(self) -> None:
        self._filters.clear()
        self._by_fields = None
        self.is_active = False

    @property
    def _is_perfect(self) -> bool:
        return bool(self._regs.store[r.FDIRCTRL >> 2] & _CTRL_PERFECT)

    def _room(self) -> int:
        room = _ROOM[self._regs.store[r.FDIRCTRL >> 2] & _CTRL_ALLOCATED]
        return max(0, (room // 4 if self._is_perfect else room) - 2)

    def _write_control(self, value: int) -> None:
        """Making the table empties it; it is done at once."""
        self._clear()
        self._masks_changed(0)
        self._regs.store[r.FDIRCTRL >> 2] = value | r.FDIRCTRL_INIT_DONE

    def _write_command(self, value: int) -> None:
        """Commands are done at once."""
        store = self._regs.store
        store[r.FDIRCMD >> 2] = value & ~(r.FDIRCMD_CMD_MASK | _CMD_VALID)
        if value & _CMD_CLEAR_TABLE:
            self._clear()
        command = value & r.FDIRCMD_CMD_MASK
        if not command:
            return
        word = store[r.FDIRHASH >> 2]
        identity = word & _HASH_MASK, word >> 16 & _HASH_MASK
        if command == _CMD_QUERY:
            store[r.FDIRCMD >> 2] |= _CMD_VALID if identity in self._filters else 0
        elif command == _CMD_REMOVE:
            gone = self._filters.pop(identity, None)
            self._removed += gone is not None
            self._failed_removes += gone is None
        elif identity in self._filters or len(self._filters) < self._room():
            queue = value >> 16 & 0x7F
            self._filters[identity] = Filter(self._wanted(value >> _L4_SHIFT & 7), queue, bool(value & _CMD_DROP))
            self._added += 1
        else:
            self._failed_adds += 1
        self._by_fields = None
        self.is_active = bool(self._filters)

    def _wanted(self, flow: int) -> Fields:
        """The fields of a perfect filter, as software has written them."""
        store = self._regs.store
        source, target = store[r.FDIRIPSA >> 2], store[r.FDIRIPDA >> 2]
        if flow & _FLOW_IPV6:
            parts = [store[(r.FDIRSIPV6 >> 2) + number] for number in range(3)]
            source = parts[0] << 96 | parts[1] << 64 | parts[2] << 32 | source
        vlan = store[r.FDIRVLAN >> 2]
        return flow, source, target, store[r.FDIRPORT >> 2], vlan & 0xFFFF, vlan >> 16

    # Packets.

    def look_up(self, packet: Packet) -> Found | None:
        """What the filters say of an IP packet; None when none matches."""
        if not packet.l3:
            return None
        fields = self._fields(packet)
        if self._is_perfect:
            if self._by_fields is None:
                # Of several that match, the first counts, as in the device's chains.
                self._by_fields = {}
                for identity, one in self._filters.items():
                    self._by_fields.setdefault(self._masked(one.fields), (identity, one))
            hit = self._by_fields.get(self._masked(fields))
        else:
            identity = self._signature(fields)
            found = self._filters.get(identity)
            hit = None if found is None else (identity, found)
        if hit is None:
            self.misses += 1
            return None
        self.matches += 1
        (bucket, number), one = hit
        tag = bucket | number << 16 if self._regs.store[r.FDIRCTRL >> 2] & _CTRL_REPORT else None
        return Found(-1 if one.is_drop else one.queue, tag)

    def _fields(self, packet: Packet) -> Fields:
        data, l3, l4, kind = packet.data, packet.l3, packet.l4, packet.kind
        flow = 1 if kind & TYPE_UDP else 2 if kind & TYPE_TCP else 3 if kind & TYPE_SCTP else 0
        if kind & TYPE_IPV4:
            source, target = int.from_bytes(data[l3 + 12 : l3 + 16]), int.from_bytes(data[l3 + 16 : l3 + 20])
        else:
            flow |= _FLOW_IPV6
            source, target = int.from_bytes(data[l3 + 8 : l3 + 24]), int.from_bytes(data[l3 + 24 : l3 + 40])
        ports = 0
        if l4:
            ports = data[l4] << 8 | data[l4 + 1] | data[l4 + 2] << 24 | data[l4 + 3] << 16
        offset = 2 * (self._regs.store[r.FDIRCTRL >> 2] >> 16 & 0x1F)
        flex = int.from_bytes(data[offset : offset + 2], "little")
        return flow, source, target, ports, packet.vlan or 0, flex

    def _masked(self, fields: Fields) -> Fields:
        store = self._regs.store
        flow, source, target, ports, vlan, flex = fields
        mask = store[r.FDIRM >> 2]
        if mask & _MASK_L4:
            flow, ports = flow & _FLOW_IPV6, 0
        transport = flow & 3
        if not transport:
            ports = 0
        else:
            ports &= ~_reversed(store[(r.FDIRUDPM, r.FDIRTCPM, r.FDIRSCTPM)[transport - 1] >> 2])
        if flow & _FLOW_IPV6:
            target = 0  # a filter has room for one address of that size
        else:
            source &= ~store[r.FDIRSIP4M >> 2]
            target &= ~store[r.FDIRDIP4M >> 2]
        vlan &= (0 if mask & _MASK_VLAN_ID else 0x0FFF) | (0 if mask & _MASK_VLAN_PRIORITY else 0xE000)
        return flow, source, target, ports, vlan, 0 if mask & _MASK_FLEX else flex

    def _signature(self, fields: Fields) -> Identity:
        """(bucket, signature) of a packet."""
        flow, source, target, ports, vlan, flex = fields
        common = (ports & 0xFFFF) << 16 ^ ports >> 16 ^ int.from_bytes(flex.to_bytes(2, "little")) << 16
        for address in (source, target):
            while address:
                common ^= address & 0xFFFF_FFFF
                address >>= 32
        key = common, flow << 16 | vlan
        known = self._hashes.get(key)
        if known is None:
            if self._masks is None:
                store = self._regs.store
                self._masks = hash_masks(store[r.FDIRHKEY >> 2]), hash_masks(store[r.FDIRSKEY >> 2])
            known = folded_hash(self._masks[0], *key), folded_hash(self._masks[1], *key)
            if len(self._hashes) >= _MAX_REMEMBERED:
                self._hashes.clear()
            self._hashes[key] = known
        return known
