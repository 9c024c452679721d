# SPDX-License-Identifier: MIT
"""A host for the model in the same process: memory, rings, interrupts that are noted down, virtual time."""

import struct

from mirage_py.nic.backends.pair import PairEnd, pair
from mirage_py.nic.frame import Frame
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.device import Ixgbe82599
from mirage_py.nic.ixgbe.memory import MemoryDma
from mirage_py.nic.ixgbe.timers import VirtualTimers

MAC = bytes.fromhex("02aabbccdd01")
PEER = bytes.fromhex("02aabbccdd02")
BASE = 0x10_0000
MEMORY_BYTES = 4 << 20
TX_RING, RX_RING = BASE, BASE + 0x4000
TX_BUFFERS, RX_BUFFERS = BASE + 0x10000, BASE + 0x200000
RING = 64


class Sink:
    """Notes interrupts down."""

    def __init__(self, mode: str = "msix") -> None:
        self.mode = mode
        self.messages: list[int] = []
        self.pin = False

    def message(self, vector: int) -> None:
        self.messages.append(vector)

    def level(self, asserted: bool) -> None:
        self.pin = asserted


class Host:
    """A model, and the least of a driver. Queue 0 unless told otherwise."""

    def __init__(self, mode: str = "msix", offloads: bool = False) -> None:
        self.memory = bytearray(MEMORY_BYTES)
        self.sink = Sink(mode)
        self.timers = VirtualTimers()
        self.wire, self.far = pair(offloads)
        self.nic = Ixgbe82599(MAC, MemoryDma(self.memory, BASE), self.sink, self.wire, self.timers)
        self.regs = self.nic.regs
        self.tx_tail = 0
        self.rx_next = 0
        self.rx_size = 2048
        self.rx_count = RING

    def __getitem__(self, offset: int) -> int:
        return self.regs[offset >> 2]

    def __setitem__(self, offset: int, value: int) -> None:
        self.regs[offset >> 2] = value

    def put(self, address: int, data: bytes) -> None:
        self.memory[address - BASE : address - BASE + len(data)] = data

    def get(self, address: int, length: int) -> bytes:
        return bytes(self.memory[address - BASE : address - BASE + length])

    # Bring-up, as short as it can be.

    def start(self, rx_size: int = 2048, rsc: int = 0, count: int = RING) -> None:
        """Both queues 0, promiscuous, advanced descriptors, causes on vectors 0 (receive) and 1 (transmit)."""
        self.rx_size, self.rx_count = rx_size, count
        self[r.TDBAL], self[r.TDBAH], self[r.TDLEN] = TX_RING, 0, RING * 16
        self[r.DMATXCTL] = self[r.DMATXCTL] | r.DMATXCTL_TE
        self[r.TXDCTL] = r.TXDCTL_ENABLE
        self[r.RDBAL], self[r.RDBAH], self[r.RDLEN] = RX_RING, 0, count * 16
        self[r.SRRCTL] = rx_size // 1024 | 1 << 25
        self[r.RSCCTL] = rsc
        self[r.FCTRL] = r.FCTRL_BAM | r.FCTRL_MPE | r.FCTRL_UPE
        self[r.RXDCTL] = r.RXDCTL_ENABLE
        for index in range(count):
            self.refill(index)
        self[r.RDT] = count - 1
        self[r.RXCTRL] = r.RXCTRL_RXEN
        self[r.GPIE] = r.GPIE_MULTIPLE_MSIX | r.GPIE_EIAME
        self[r.IVAR] = 0x8180
        self[r.EIAC] = 0xFFFF
        self[r.EIMS] = 0x3

    def buffer(self, index: int) -> int:
        return RX_BUFFERS + index * self.rx_size

    def refill(self, index: int) -> None:
        self.put(RX_RING + 16 * index, struct.pack("<QQ", self.buffer(index), 0))

    # Transmission.

    def descriptor(self, low: int, high: int) -> None:
        self.put(TX_RING + 16 * self.tx_tail, struct.pack("<QQ", low, high))
        self.tx_tail = (self.tx_tail + 1) % RING

    def context(
        self, mac_len: int, ip_len: int, l4_len: int, mss: int, tucmd: int, vlan: int = 0, index: int = 0
    ) -> None:
        low = ip_len | mac_len << 9 | vlan << 16
        high = tucmd | 2 << 20 | 1 << 29 | index << 36 | l4_len << 40 | mss << 48
        self.descriptor(low, high)

    def queue_packet(
        self, data: bytes, options: int = 0, command: int = 0, paylen: int | None = None, pieces: int = 1, gap: int = 0
    ) -> None:
        """Advanced data descriptors for a packet, with a report asked for at its end."""
        address = TX_BUFFERS + 0x4000 * self.tx_tail + gap
        self.put(address, data)
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            part = data[start : start + size]
            high = len(part) | 3 << 20 | 1 << 25 | 1 << 29 | command | options << 32
            high |= (len(data) if paylen is None else paylen) << 46
            if start + size >= len(data):
                high |= 1 << 24 | 1 << 27
            self.descriptor(address + start, high)

    def doorbell(self) -> None:
        self[r.TDT] = self.tx_tail

    def sent(self) -> list[Frame]:
        return self.far.receive(1000)

    def transmit(self, data: bytes, **options: int) -> list[bytes]:
        self.queue_packet(data, **options)  # type: ignore[arg-type]
        self.doorbell()
        return [bytes(frame.joined()) for frame in self.sent()]

    def is_done(self, index: int) -> bool:
        return bool(self.get(TX_RING + 16 * index + 12, 1)[0] & 1)

    # Reception.

    def arrive(self, *frames: bytes | Frame) -> None:
        """Frames from the other end of the wire."""
        self.far.send([f if isinstance(f, Frame) else Frame([f], len(f)) for f in frames])

    def received(self, refill: bool = True) -> list[tuple[bytes, int, int]]:
        """(packet, low word, high word of its last descriptor) of everything that is done."""
        packets = []
        data = b""
        while True:
            low, high = struct.unpack("<QQ", self.get(RX_RING + 16 * self.rx_next, 16))
            if not high & 1:
                return packets
            data += self.get(self.buffer(self.rx_next), high >> 32 & 0xFFFF)
            if refill:
                self.refill(self.rx_next)
                self[r.RDT] = self.rx_next
            self.rx_next = (self.rx_next + 1) % self.rx_count
            if high & 2:
                packets.append((data, low, high))
                data = b""


def other_end(host: Host) -> PairEnd:
    return host.far
