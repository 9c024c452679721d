# SPDX-License-Identifier: MIT
"""What a virtio-net device offers and says of itself (virtio 1.2, sections 5.1.3 to 5.1.5): features, MAC, MTU, link.

Register reads, all of them, for bringing a device up and for looking at a quiet one: driver.virtio_net moves the
frames and touches none of it. transport: virtio_pci.VirtioPci, after its reset.
"""

from micropython import const

from libos.hal.mmio import DeviceError
from libos.hal.random import Random

# Feature bits (5.1.3).
_CSUM = const(1 << 0)
_GUEST_CSUM = const(1 << 1)
_MTU = const(1 << 3)
_MAC = const(1 << 5)
_GUEST_TSO4 = const(1 << 7)
_GUEST_TSO6 = const(1 << 8)
_HOST_TSO4 = const(1 << 11)
_HOST_TSO6 = const(1 << 12)
MRG_RXBUF = const(1 << 15)
_STATUS = const(1 << 16)

# Device configuration (5.1.4).
_CONFIG_MAC = const(0)
_CONFIG_STATUS = const(6)
_CONFIG_MTU = const(10)
_STATUS_LINK_UP = const(1)

# The device signature's feature bits.
TX_CSUM = const(1)
TX_TSO4 = const(2)
TX_TSO6 = const(4)
RX_CSUM = const(8)
RX_LRO = const(16)

GSO_FRAME_MAX = const(65549)  # Ethernet header and the largest IP packet

_HEADER = const(12)  # driver.vnet
_ETHERNET_BYTES = const(18)  # header and a VLAN tag
_QUEUE_SIZE_MAX = const(256)
_MTU_MIN = const(68)  # RFC 791
_MTU_DEFAULT = const(1500)


def ring_size(transport, index):
    """How many entries the ring of queue `index` gets: a power of two."""
    size = transport.queue_size(index)
    if size == 0:
        raise DeviceError("%s: the device has no queue %d" % (transport.name, index))
    ring = 1
    while ring * 2 <= min(size, _QUEUE_SIZE_MAX):
        ring *= 2
    return ring


def wanted_features(transport, offloads, rx_buffer_bytes):
    """What we ask for, of what is offered: dependencies are the driver's to keep (5.1.3.1)."""
    offered = transport.offered_features()
    wanted = _MTU | _MAC | _STATUS | MRG_RXBUF | _CSUM
    if offloads:
        wanted |= _GUEST_CSUM
        if offered & _GUEST_CSUM and (offered & MRG_RXBUF or rx_buffer_bytes >= _HEADER + GSO_FRAME_MAX):
            wanted |= _GUEST_TSO4 | _GUEST_TSO6
    if offered & _CSUM:
        wanted |= _HOST_TSO4 | _HOST_TSO6
    # Without merging, a frame of the device's MTU has to fit in one buffer (5.1.4.2).
    if (
        offered & _MTU
        and not offered & MRG_RXBUF
        and _config_mtu(transport) + _ETHERNET_BYTES + _HEADER > rx_buffer_bytes
    ):
        wanted &= ~_MTU
    return wanted


def signature_features(accepted):
    """The device signature's bits for what the device has accepted."""
    return (
        (TX_CSUM if accepted & _CSUM else 0)
        | (TX_TSO4 if accepted & _HOST_TSO4 else 0)
        | (TX_TSO6 if accepted & _HOST_TSO6 else 0)
        | (RX_CSUM if accepted & _GUEST_CSUM else 0)
        | (RX_LRO if accepted & (_GUEST_TSO4 | _GUEST_TSO6) else 0)
    )


def read_mac(transport):
    """The device's own address, or one made up for it."""
    if transport.features & _MAC:
        return transport.read_config(_CONFIG_MAC, 6)
    octets = bytearray(Random().bytes(6))
    octets[0] = octets[0] & 0xFC | 2  # locally administered, one station
    return bytes(octets)


def read_mtu(transport, frame_max):
    """The largest IP packet: what the device says, and what fits in frames of `frame_max` octets."""
    mtu = _MTU_DEFAULT
    if transport.features & _MTU:
        mtu = _config_mtu(transport)
        if mtu < _MTU_MIN:
            raise DeviceError("%s: the device has an MTU of %d" % (transport.name, mtu))
    return min(mtu, frame_max - _ETHERNET_BYTES)


def _config_mtu(transport):
    return int.from_bytes(transport.read_config(_CONFIG_MTU, 2), "little")


def is_link_up(transport):
    """A device that cannot tell has its link up (5.1.4)."""
    return not transport.features & _STATUS or transport.read_config(_CONFIG_STATUS, 1)[0] & _STATUS_LINK_UP != 0
