# SPDX-License-Identifier: MIT
"""ARP frames into a host, and those that it sent."""

from libos.wire import arp, ethernet


def inject(world, host, operation, mac, ip, target_ip, dst=None, settle=True):
    """An ARP packet of `ip` at `mac`. dst: of the frame; None for the host's own MAC."""
    packet = bytearray(42)
    ethernet.emit(packet, 0, dst or host.device.mac, mac, ethernet.ETHERTYPE_ARP)
    arp.emit(packet, 14, operation, mac, ip, bytes(6), target_ip)
    world.inject(host, packet)
    if settle:
        world.settle()


def sent(host):
    """(operation, dst_mac, sender_ip, target_ip) of the ARP frames that went out since the last look."""
    seen = []
    for packet in host.device.tx_log:
        if packet[12:14] == b"\x08\x06":
            operation, _, sender_ip, _, target_ip = arp.parse(packet, 14, 28)
            seen.append((operation, packet[:6], sender_ip, target_ip))
    host.device.tx_log.clear()
    return seen
