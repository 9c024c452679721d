# SPDX-License-Identifier: MIT
"""Which frames are taken: addresses, multicast, VLAN; and to which queue they go: ethertype, five-tuple, SYN, RSS.

Source: 82599 datasheet sections 7.1.1 (filtering), 7.1.2 (queue assignment), 7.1.2.8 (RSS). The flow director stands
between the special filters and RSS.
"""

from __future__ import annotations

from functools import partial

from mirage_py.nic.frame import Octets
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.flow_director import FlowDirector
from mirage_py.nic.ixgbe.packet import ETHERTYPE_VLAN, TCP, TYPE_IPV4, TYPE_TCP, TYPE_UDP, UDP, Packet
from mirage_py.nic.ixgbe.register_file import RegisterFile

_BROADCAST = b"\xff" * 6
_ETQF_ENABLE = 1 << 31
_ETQS_QUEUE_ENABLE = 1 << 31
_FTQF_ENABLE = 1 << 31
_SYNQF_ENABLE = 1 << 0
_SYNQF_FIRST = 1 << 31
_TCP_SYN, _TCP_ACK = 0x02, 0x10

# MRQC modes in which RSS spreads over 16 queues, without virtualization or traffic classes.
_MRQC_RSS = 1
_MRQC_TCP4, _MRQC_IP4, _MRQC_IP6, _MRQC_TCP6 = 1 << 16, 1 << 17, 1 << 20, 1 << 21
_MRQC_UDP4, _MRQC_UDP6 = 1 << 22, 1 << 23
# RSS types of the receive descriptor (7.1.6.2).
RSS_NONE, RSS_TCP4, RSS_IP4, RSS_TCP6, RSS_IP6, RSS_UDP4, RSS_UDP6 = 0, 1, 2, 3, 5, 7, 8
FLOW_DIRECTED = 15

_MAX_REMEMBERED_FLOWS = 4096


def toeplitz_tables(key: bytes, octets: int) -> list[list[int]]:
    """Per input octet, the hash's contribution of each of its 256 values."""
    number = int.from_bytes(key, "big")
    bits = len(key) * 8
    tables = []
    for position in range(octets):
        windows = [number >> (bits - 32 - position * 8 - bit) & 0xFFFF_FFFF for bit in range(8)]
        table = [0] * 256
        for value in range(1, 256):
            lowest = value & -value
            table[value] = table[value ^ lowest] ^ windows[8 - lowest.bit_length()]
        tables.append(table)
    return tables


class Filters:
    """The receive filters of one port. They read the registers; what is derived from them is kept until they change."""

    def __init__(self, regs: RegisterFile) -> None:
        self._regs = regs
        self._exact: frozenset[bytes] | None = None
        self._tables: list[list[int]] | None = None
        self._flows: dict[bytes, int] = {}
        self._extra: bool | None = None
        self.director = FlowDirector(regs)
        for number in range(r.RECEIVE_ADDRESSES):
            for half in (0, 4):
                high = r.RAL_HIGH + 8 * number + half
                regs.on_write(high, self._addresses_changed)
                if number < 16:
                    low = r.RAL + 8 * number + half
                    regs.on_read(low, partial(regs.store.__getitem__, high >> 2))
                    regs.on_write(low, partial(self._alias, high >> 2))
        for number in range(10):
            regs.on_write(r.RSSRK + 4 * number, self._key_changed)
        for offset in (*range(r.ETQF, r.ETQF + 32, 4), r.SYNQF, *range(r.FTQF, r.FTQF + 512, 4)):
            regs.on_write(offset, self._queue_filters_changed)

    def reset(self, mac: bytes) -> None:
        """Loads the EEPROM's address into the first receive address, as a reset does."""
        store = self._regs.store
        store[r.RAL_HIGH >> 2] = int.from_bytes(mac[:4], "little")
        store[(r.RAL_HIGH >> 2) + 1] = int.from_bytes(mac[4:], "little") | r.RAH_AV
        self._exact = self._tables = self._extra = None
        self._flows.clear()
        self.director.reset()

    def _alias(self, index: int, value: int) -> None:
        """The first sixteen addresses stand at two places."""
        self._regs.store[index] = value & 0x8000_FFFF if index & 1 else value
        self._exact = None

    def _addresses_changed(self, value: int) -> None:
        self._exact = None

    def _key_changed(self, value: int) -> None:
        self._tables = None
        self._flows.clear()

    def _queue_filters_changed(self, value: int) -> None:
        self._extra = None

    def _addresses(self) -> frozenset[bytes]:
        store, start = self._regs.store, r.RAL_HIGH >> 2
        found = set()
        for number in range(r.RECEIVE_ADDRESSES):
            high = store[start + 2 * number + 1]
            if high & r.RAH_AV:
                found.add(store[start + 2 * number].to_bytes(4, "little") + (high & 0xFFFF).to_bytes(2, "little"))
        self._exact = frozenset(found)
        return self._exact

    def accepts(self, data: Octets) -> int:
        """Whether a frame passes the address and VLAN filters: 0 no, 1 yes, 2 by an inexact filter (status PIF)."""
        store = self._regs.store
        fctrl = store[r.FCTRL >> 2]
        dst_mac = bytes(data[:6])
        taken = 1
        if dst_mac[0] & 1:
            if dst_mac == _BROADCAST:
                if not fctrl & r.FCTRL_BAM and not fctrl & r.FCTRL_MPE:
                    return 0
            elif dst_mac not in (self._exact or self._addresses()) and not fctrl & r.FCTRL_MPE:
                control = store[r.MCSTCTRL >> 2]
                if not control & r.MCSTCTRL_MFE or not self._table_has(r.MTA, control & 3, dst_mac):
                    return 0
                taken = 2
        elif dst_mac not in (self._exact or self._addresses()) and not fctrl & r.FCTRL_UPE:
            if not self._table_has(r.UTA, store[r.MCSTCTRL >> 2] & 3, dst_mac):
                return 0
            taken = 2
        if store[r.VLNCTRL >> 2] & r.VLNCTRL_VFE and data[12] << 8 | data[13] == ETHERTYPE_VLAN:
            vlan = (data[14] << 8 | data[15]) & 0xFFF
            if not store[(r.VFTA >> 2) + (vlan >> 5)] >> (vlan & 31) & 1:
                return 0
        return taken

    def _table_has(self, table: int, offset: int, mac: bytes) -> bool:
        """The 4096-bit hash tables: twelve bits of the address's last two octets, chosen by MCSTCTRL.MO (8.2.3.7.7)."""
        bits = (mac[4] | mac[5] << 8) >> (4 - offset if offset < 3 else 0) & 0xFFF
        return bool(self._regs.store[(table >> 2) + (bits >> 5)] >> (bits & 31) & 1)

    def assign(self, packet: Packet) -> tuple[int, int, int]:
        """(queue, RSS hash, RSS type) of an accepted frame; a negative queue drops it.

        Type FLOW_DIRECTED: a filter of the flow director matched, and the hash is what it says of itself.
        """
        if self._extra is not False:
            queue = self._special_queue(packet)
            if queue is not None:
                return queue, 0, RSS_NONE
        if self.director.is_active:
            found = self.director.look_up(packet)
            if found is not None:
                return found.queue, found.tag or 0, RSS_NONE if found.tag is None else FLOW_DIRECTED
        mrqc = self._regs.store[r.MRQC >> 2]
        if mrqc & r.MRQC_MODE_MASK != _MRQC_RSS or not packet.l3:
            return 0, 0, RSS_NONE
        kind, length = self._rss_kind(packet, mrqc)
        if kind == RSS_NONE:
            return 0, 0, RSS_NONE
        value = self._hash(self._rss_input(packet, length))
        entry = self._regs.store[(r.RETA >> 2) + (value >> 2 & 31)]
        return entry >> 8 * (value & 3) & 0xF, value, kind

    def _rss_kind(self, packet: Packet, mrqc: int) -> tuple[int, int]:
        """The RSS type, and whether ports go into the hash (4 octets of them)."""
        is_v4, kind = bool(packet.kind & TYPE_IPV4), packet.kind
        if kind & TYPE_TCP and mrqc & (_MRQC_TCP4 if is_v4 else _MRQC_TCP6):
            return (RSS_TCP4 if is_v4 else RSS_TCP6), 4
        if kind & TYPE_UDP and mrqc & (_MRQC_UDP4 if is_v4 else _MRQC_UDP6):
            return (RSS_UDP4 if is_v4 else RSS_UDP6), 4
        if mrqc & (_MRQC_IP4 if is_v4 else _MRQC_IP6):
            return (RSS_IP4 if is_v4 else RSS_IP6), 0
        return RSS_NONE, 0

    @staticmethod
    def _rss_input(packet: Packet, ports: int) -> bytes:
        data, l3 = packet.data, packet.l3
        addresses = data[l3 + 12 : l3 + 20] if packet.kind & TYPE_IPV4 else data[l3 + 8 : l3 + 40]
        return bytes(addresses) + bytes(data[packet.l4 : packet.l4 + ports])

    def _hash(self, flow: bytes) -> int:
        known = self._flows.get(flow)
        if known is not None:
            return known
        if self._tables is None:
            key = b"".join(self._regs.store[(r.RSSRK >> 2) + i].to_bytes(4, "little") for i in range(10))
            self._tables = toeplitz_tables(key, 36)
        value = 0
        for table, octet in zip(self._tables, flow, strict=False):
            value ^= table[octet]
        if len(self._flows) >= _MAX_REMEMBERED_FLOWS:
            self._flows.clear()
        self._flows[flow] = value
        return value

    def _special_queue(self, packet: Packet) -> int | None:
        """The queue that an ethertype, SYN or five-tuple filter names, in their order of precedence (7.1.2.1)."""
        store = self._regs.store
        if self._extra is None:
            self._extra = any(
                store[offset >> 2] & _ETQF_ENABLE
                for offset in (*range(r.ETQF, r.ETQF + 32, 4), *range(r.FTQF, r.FTQF + 512, 4))
            ) or bool(store[r.SYNQF >> 2] & _SYNQF_ENABLE)
            if not self._extra:
                return None
        for number in range(8):
            etqf = store[(r.ETQF >> 2) + number]
            if etqf & _ETQF_ENABLE and etqf & 0xFFFF == packet.ethertype:
                etqs = store[(r.ETQS >> 2) + number]
                return etqs >> 16 & 0x7F if etqs & _ETQS_QUEUE_ENABLE else None
        if not packet.l4:
            return None
        synqf = store[r.SYNQF >> 2]
        is_syn = (
            bool(synqf & _SYNQF_ENABLE)
            and bool(packet.kind & TYPE_TCP)
            and packet.data[packet.l4 + 13] & (_TCP_SYN | _TCP_ACK) == _TCP_SYN
        )
        if is_syn and synqf & _SYNQF_FIRST:
            return synqf >> 1 & 0x7F
        queue = self._five_tuple(packet)
        if queue is None and is_syn:
            return synqf >> 1 & 0x7F
        return queue

    def _five_tuple(self, packet: Packet) -> int | None:
        if not packet.kind & TYPE_IPV4:
            return None
        store, data, l3, l4 = self._regs.store, packet.data, packet.l3, packet.l4
        best, queue = -1, None
        for number in range(128):
            ftqf = store[(r.FTQF >> 2) + number]
            if not ftqf & _FTQF_ENABLE:
                continue
            mask = ftqf >> 25 & 0x1F  # a set bit leaves the field out: source, destination, ports, protocol
            ports = store[(r.SDPQF >> 2) + number]
            protocol = {0: TCP, 1: UDP, 2: 132}.get(ftqf & 3)
            matches = (
                (mask & 1 or store[(r.SAQF >> 2) + number].to_bytes(4, "little") == data[l3 + 12 : l3 + 16])
                and (mask & 2 or store[(r.DAQF >> 2) + number].to_bytes(4, "little") == data[l3 + 16 : l3 + 20])
                and (mask & 4 or (ports & 0xFFFF).to_bytes(2, "little") == data[l4 : l4 + 2])
                and (mask & 8 or (ports >> 16).to_bytes(2, "little") == data[l4 + 2 : l4 + 4])
                and (mask & 16 or protocol == packet.protocol)
            )
            priority = ftqf >> 2 & 7
            if matches and priority > best:
                best, queue = priority, store[(r.L34TIMIR >> 2) + number] >> 21 & 0x7F
        return queue
