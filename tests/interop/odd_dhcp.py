# SPDX-License-Identifier: MIT
"""A DHCP server on tap0 that answers as its one argument, a JSON object, says. By scapy, so that nothing of it is ours.

server, address, mask, router    texts; mask and router may be missing
options                          {code: octets in hexadecimal}, besides the server's identifier and the lease of an hour
unicast                          answers go to the offered address, in spite of the broadcast flag
tags                             answers have a tag of 802.1Q with this priority, and VLAN 0
"""

import json
import socket
import struct
import sys

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

MAC = "02:00:00:00:00:99"
COOKIE = b"\x63\x82\x53\x63"


def octets(text: str) -> bytes:
    return socket.inet_aton(text)


def option(code: int, value: bytes) -> bytes:
    """Split where it is longer than 255 octets (RFC 3396)."""
    parts = [value[at : at + 255] for at in range(0, len(value), 255)] or [b""]
    return b"".join(bytes([code, len(part)]) + part for part in parts)


def answer(question: Ether, kind: int, how: dict) -> bytes:
    options = {54: octets(how["server"]), 51: struct.pack(">I", 3600)}
    for code, name in ((1, "mask"), (3, "router")):
        if name in how:
            options[code] = octets(how[name])
    options |= {int(code): bytes.fromhex(value) for code, value in how.get("options", {}).items()}
    bootp = question[BOOTP]
    head = struct.pack(
        ">BBBBIHH4s4s4s4s16s", 2, 1, 6, 0, bootp.xid, 0, int(bootp.flags), bytes(4), octets(how["address"]), bytes(4),
        bytes(4), bytes(bootp.chaddr[:6]),
    )  # fmt: skip
    body = head + bytes(192) + COOKIE + option(53, bytes([kind]))
    body += b"".join(option(code, value) for code, value in options.items()) + b"\xff"
    is_unicast = how.get("unicast", False)
    frame = Ether(src=MAC, dst=question.src if is_unicast else "ff:ff:ff:ff:ff:ff")
    if "tags" in how:
        frame = frame / Dot1Q(vlan=0, prio=how["tags"])
    packet = IP(src=how["server"], dst=how["address"] if is_unicast else "255.255.255.255") / UDP(sport=67, dport=68)
    return bytes(frame / packet / Raw(body))


def main() -> None:
    how = json.loads(sys.argv[1])
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind(("tap0", 0))
    print("ready", flush=True)
    while True:
        data, address = wire.recvfrom(65536)
        if address[2] == socket.PACKET_OUTGOING:
            continue
        question = Ether(data)
        if DHCP not in question or question[BOOTP].op != 1:
            continue
        kinds = {1: 2, 3: 5}
        kind = dict(entry[:2] for entry in question[DHCP].options if isinstance(entry, tuple)).get("message-type")
        if kind in kinds:
            wire.send(answer(question, kinds[kind], how))


main()
