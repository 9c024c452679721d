# SPDX-License-Identifier: MIT
"""Answers ARP on a TAP for whatever address the host asks for, and ends with the first UDP datagram."""

import struct

import _mirage

HEADER = 12
MAC = b"\x02\x00\x00\x00\x00\x02"
name = _mirage.args()[1]
for wrong in ("nosuch0", "", "a-name-that-is-too-long"):
    try:
        print(_mirage.tap_open(wrong, HEADER))
    except OSError as error:
        print("absent", error.errno)
fd, mtu, features = _mirage.tap_open(name, HEADER)
print("tap", mtu, features)
try:
    print(_mirage.tap_open(name, HEADER))
except OSError as error:
    print("second", error.errno)
source = _mirage.fd_watch(fd, 1)
frame = bytearray(70000)
print("ready")
done = False
while not done:
    if _mirage.wait(_mirage.monotonic_ns() + 10_000_000_000) != 1 << source:
        print("nothing came")
        break
    while True:
        n = _mirage.fd_read(fd, frame, 0, len(frame))
        if n < 0:
            break
        kind = struct.unpack_from(">H", frame, HEADER + 12)[0]
        arp = HEADER + 14
        if kind == 0x0806 and frame[arp + 7] == 1:
            reply = bytearray(HEADER + 60)
            reply[HEADER : HEADER + 6] = frame[HEADER + 6 : HEADER + 12]
            reply[HEADER + 6 : HEADER + 12] = MAC
            reply[HEADER + 12 : arp + 8] = b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02"
            reply[arp + 8 : arp + 14] = MAC
            reply[arp + 14 : arp + 18] = frame[arp + 24 : arp + 28]
            reply[arp + 18 : arp + 28] = frame[arp + 8 : arp + 18]
            print("arp answered", _mirage.fd_write(fd, reply, 0, len(reply)))
        elif kind == 0x0800 and frame[arp + 9] == 17:
            # The vnet header leaves the checksum to us: flags 1, from where, and where to.
            print("udp", bytes(frame[arp + 28 : n]), frame[0], struct.unpack_from("<HH", frame, 6))
            done = True
_mirage.fd_close(fd)
