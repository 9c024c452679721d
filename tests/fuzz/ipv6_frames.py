# SPDX-License-Identifier: MIT
"""IPv6 frames that mean something to a stack, or nearly: Neighbour Discovery, MLD, fragments, extension headers."""

import struct

from libos.wire import ethernet, icmp6, ipv6
from tests.net.world import fast_checksum

MAC = b"\x52\x54\x00\x00\x00\x99"
UPPER = {6: 16, 17: 6, 58: 2}  # where the checksum is
PEERS = [ipv6.parse_address(text) for text in ("fd00::9", "fd00::a", "fe80::1", "fe80::9", "2001:db8::1", "::")]
GROUPS = [ipv6.parse_address(text) for text in ("ff02::1", "ff02::1:ff00:2", "ff02::2", "ff05::1234")]
PREFIXES = [ipv6.parse_address(text) for text in ("2001:db8:1::", "2001:db8:2::", "fd00::", "fe80::", "ff00::")]


class Ipv6Frames:
    """rng: where everything random comes from. host: to whom the frames are."""

    def __init__(self, rng, host):
        self.rng = rng
        self.host = host

    def frame(self):
        rng = self.rng
        ours = [address.ip for address in self.host.ipv6.addresses.all()] or GROUPS
        dst_ip = rng.choice(ours if rng.random() < 0.7 else GROUPS)
        src_ip = rng.choice(PEERS)
        protocol, payload = rng.choice([self.discovery, self.discovery, self.listener, self.error, self.datagram])(ours)
        payload = bytearray(payload)
        seal(payload, src_ip, dst_ip, protocol)
        hop_limit = 255 if protocol == 58 and payload[0] in range(133, 138) else 1 if payload[0] in (130, 131) else 64
        if rng.random() < 0.05:
            hop_limit = rng.randrange(256)
        protocol, payload = self.extended(protocol, bytes(payload))
        packet = bytearray(54) + payload
        dst_mac = ipv6.multicast_mac(dst_ip) if dst_ip[0] == 0xFF else self.host.device.mac
        ethernet.emit(packet, 0, dst_mac, MAC, ethernet.ETHERTYPE_IPV6)
        ipv6.emit(packet, 14, len(payload), protocol, hop_limit, src_ip, dst_ip)
        return bytes(packet)

    def extended(self, protocol, payload):
        """Headers before the payload, sometimes."""
        rng = self.rng
        if payload[0] in (130, 131, 132) and rng.random() < 0.9:
            return 0, bytes([protocol, 0]) + b"\x05\x02\0\0\x01\0" + payload
        for _ in range(rng.choice([0, 0, 0, 1, 2, 9])):
            kind = rng.choice([0, 43, 44, 60])
            if kind == 44:
                offset = rng.choice([0, 0, 8, 48, 1232, 65528])
                header = struct.pack(">BBHI", protocol, 0, offset | rng.randrange(2), rng.randrange(8))
            elif kind == 43:
                header = bytes([protocol, 0, rng.randrange(5), rng.choice([0, 0, 1])]) + bytes(4)
            else:
                option = rng.choice([b"\x01\x04\0\0\0\0", b"\x05\x02\0\0\x01\0", bytes(6), rng.randbytes(6)])
                header = bytes([protocol, 0]) + option
            protocol, payload = kind, header + payload
        return protocol, payload

    def discovery(self, ours):
        rng = self.rng
        kind = rng.randrange(133, 138)
        target = rng.choice(ours + PEERS)
        if kind == icmp6.ROUTER_ADVERTISEMENT:
            lifetimes = [0, 0, 1, 60, 1800, 0xFFFFFFFF]
            data = struct.pack(
                ">BBHBBHII", kind, 0, 0, rng.choice([0, 1, 64, 255]), rng.randrange(256), rng.choice([0, 60, 65535]),
                rng.choice([0, 1, 30_000, 0xFFFFFFFF]), rng.choice([0, 1, 1000, 0xFFFFFFFF]),
            )  # fmt: skip
            data += struct.pack(
                ">BBBBII4x16s", 3, 4, rng.choice([64, 64, 48, 128, 129]), rng.choice([0xC0, 0x80, 0x40]),
                rng.choice(lifetimes), rng.choice(lifetimes), rng.choice(PREFIXES),
            )  # fmt: skip
            data += struct.pack(">BBHI", 5, 1, 0, rng.choice([0, 1280, 1400, 1500, 9000]))
            data += struct.pack(">BBHI16s", 25, 3, 0, rng.choice(lifetimes), rng.choice(PEERS))
        elif kind == icmp6.ROUTER_SOLICITATION:
            data = struct.pack(">BBHI", kind, 0, 0, 0)
        else:
            data = struct.pack(">BBHI16s", kind, 0, 0, rng.getrandbits(32), target)
            if kind == icmp6.REDIRECT:
                data += rng.choice(PEERS)
        for _ in range(rng.choice([0, 1, 1, 2])):
            mac = rng.choice([MAC, rng.randbytes(6), self.host.device.mac])
            data += bytes([rng.choice([1, 2, rng.randrange(30)]), rng.choice([1, 1, 1, 1, 0, 3])]) + mac
        return 58, data

    def listener(self, ours):
        rng = self.rng
        kind = rng.choice([icmp6.MLD_QUERY, icmp6.MLD_QUERY, icmp6.MLD1_REPORT, icmp6.MLD1_DONE, icmp6.MLD2_REPORT])
        data = struct.pack(">BBHHH16s", kind, 0, 0, rng.getrandbits(16), 0, rng.choice([*GROUPS, bytes(16)]))
        return 58, data + rng.choice([b"", bytes(4), b"\x02\x7d\0\x01" + bytes(16), rng.randbytes(5)])

    def error(self, ours):
        rng = self.rng
        quoted = bytearray(60)
        ipv6.emit(quoted, 0, 20, rng.choice([6, 17, 44, 58]), 64, rng.choice(ours), rng.choice(PEERS))
        quoted[40:] = rng.randbytes(20)
        rest = rng.choice([0, 40, 1279, 1280, 1400, 0xFFFFFFFF])
        return 58, struct.pack(">BBHI", rng.randrange(6), rng.randrange(8), 0, rest) + bytes(quoted)

    def datagram(self, ours):
        rng = self.rng
        data = rng.randbytes(rng.choice([0, 1, 40, 1200]))
        kind = rng.choice([17, 17, 6, 58, 59, rng.randrange(256)])
        if kind == 17:
            return 17, struct.pack(">HHHH", 5, rng.choice([53, 54]), 8 + len(data), 0) + data
        if kind == 6:
            flags = rng.choice([2, 2, 16, 4, 17])
            return 6, struct.pack(
                ">HHIIHHHH", rng.randrange(5000, 5010), rng.choice([7, 8, 9, 10]), rng.getrandbits(32),
                rng.getrandbits(32), 0x5000 | flags, 65535, 0, 0,
            ) + data[:40]  # fmt: skip
        if kind == 58:
            return 58, struct.pack(">BBHI", rng.choice([128, 129, 200]), 0, 0, 1) + data
        return kind, data + b"x"


def seal(payload, src_ip, dst_ip, protocol):
    """The right checksum of a payload that has all of it."""
    at = UPPER.get(protocol)
    if at is None or len(payload) < at + 2:
        return
    payload[at : at + 2] = b"\0\0"
    total = fast_checksum(payload, 0, len(payload), ipv6.pseudo_sum(src_ip, dst_ip, protocol, len(payload)))
    payload[at : at + 2] = ((total ^ 0xFFFF) or 0xFFFF).to_bytes(2, "big")


def repair6(packet):
    """The right checksum of a whole frame without extension headers, so that a mutation gets past it."""
    if len(packet) < 54:
        return
    end = min(54 + struct.unpack_from(">H", packet, 18)[0], len(packet))
    payload = bytearray(packet[54:end])
    seal(payload, bytes(packet[22:38]), bytes(packet[38:54]), packet[20])
    packet[54:end] = payload
