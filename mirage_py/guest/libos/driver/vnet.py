# SPDX-License-Identifier: MIT
"""struct virtio_net_hdr (virtio 1.2, section 5.1.6), which both virtio-net and Linux's TAP put before a frame.

Twelve octets, little-endian: flags u8, gso_type u8, hdr_len, gso_size, csum_start, csum_offset, num_buffers u16. The
drivers keep it in a frame's headroom, and keep in frame.note what stands there: most frames need no write at all.
"""

from micropython import const

from libos.hal.mmio import DeviceError

HEADER_BYTES = 12
NEEDS_CSUM = 1
DATA_VALID = 2

_TCP_CSUM_OFFSET = const(16)
_TCP_DATA_OFFSET = const(12)
_UDP_CSUM_OFFSET = const(6)
_GSO_MASK = const(0x7F)  # the type, without the ECN bit
_RINGS_BYTES = const(14336)  # two virtqueues of 256 entries, aligned


def emit(frame, words, key):
    """Writes the header of a frame to send. words: the frame's pool as 'Q' words; key: the header's first 8 octets.

    num_buffers is zero when sending (5.1.6.2).
    """
    words[frame.index * (frame.pool.buffer_bytes >> 3)] = key
    buf = frame.buf
    buf[8] = frame.csum_offset & 0xFF
    buf[9] = frame.csum_offset >> 8
    buf[10] = 0
    buf[11] = 0
    # A header with another csum_offset than TCP's is not remembered, so that `note` need not hold the offset.
    frame.note = key if not key or frame.csum_offset == _TCP_CSUM_OFFSET else -1


def adopt(device, frame):
    """Copies another device's frame, chain or not, into one that `device` can send; the original is released.

    Returns the copy, or None (and the original stays) when the device has no buffer.
    """
    own = device.alloc(frame.total())
    if own is None:
        return None
    at = own.start
    part = frame
    while part is not None:
        own.put(at - own.start, part.buf, part.start, part.length)
        at += part.length
        part = part.next
    own.length = at - own.start
    if frame.flags & 3 == 3:
        recall(frame)
    if frame.flags & 2:
        own.csum_start = frame.csum_start
        own.csum_offset = frame.csum_offset
        own.gso_size = frame.gso_size
        own.gso_type = frame.gso_type
        own.hdr_len = frame.hdr_len
        own.flags = 2
    frame.release()
    return own


def recall(frame):
    """Reads the header of a frame that was received with its checksum left partial: what is to be done on sending it.

    The header's hdr_len is a hint only (5.1.6.4.2): the TCP header says where it ends. A header that does not fit the
    frame is not believed: the checksum stays as it is, and whoever receives the frame drops it.
    """
    buf = frame.buf
    at = frame.start - HEADER_BYTES
    start = buf[at + 6] | buf[at + 7] << 8
    offset = buf[at + 8] | buf[at + 9] << 8
    if start + max(offset + 2, _TCP_DATA_OFFSET + 1) > frame.length:
        frame.flags = 0
        return
    frame.flags = 2
    frame.gso_type = buf[at + 1] & _GSO_MASK
    frame.gso_size = buf[at + 4] | buf[at + 5] << 8 if frame.gso_type else 0
    frame.csum_start = start
    frame.csum_offset = offset
    frame.hdr_len = start + (buf[frame.start + start + _TCP_DATA_OFFSET] >> 4) * 4 if frame.gso_size else start


def fill_checksum(frame):
    """Fills in the transport checksum of a frame to send, for a device that cannot: RFC 1071, RFC 768."""
    value = 0xFFFF ^ frame.checksum(frame.csum_start, frame.length - frame.csum_start, 0)
    at = frame.start + frame.csum_start + frame.csum_offset
    if not value and frame.csum_offset == _UDP_CSUM_OFFSET:
        value = 0xFFFF
    frame.buf[at] = value >> 8
    frame.buf[at + 1] = value & 0xFF
    frame.flags = 0


def buffer_plan(share_bytes, rx_slots, tx_slots):
    """How a share of the DMA memory is cut up.

    Returns (rx buffer octets, rx count, small tx buffer octets, count, large tx buffer octets, count).
    """
    budget = share_bytes - _RINGS_BYTES
    rx_budget = budget * 7 // 16
    # Large receive buffers spare the chains of a coalesced frame, but only when there are enough buffers for a burst.
    rx_bytes = 2048
    for candidate, wanted in ((66048, 24), (16384, 64), (4096, 96)):
        if rx_budget >= wanted * candidate:
            rx_bytes = candidate
            break
    rx_count = min(rx_slots, rx_budget // rx_bytes)
    small_bytes = 2048
    small_count = min(tx_slots // 2, budget // 8 // small_bytes)
    large_budget = budget * 7 // 16
    large_bytes = 66048 if large_budget >= 4 * 66048 else 16384
    large_count = min(tx_slots // 4, 32, large_budget // large_bytes)
    if rx_count < 8 or small_count < 4 or large_count < 1:
        raise DeviceError("virtio-net: %d octets of DMA memory are too few" % share_bytes)
    return (rx_bytes, rx_count, small_bytes, small_count, large_bytes, large_count)
