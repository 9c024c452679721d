#!/bin/sh
# SPDX-License-Identifier: MIT
#
# passt 0.0~git20230309.7c7625d-1 (Debian 12's package) answers a DHCPDISCOVER that has the BROADCAST flag set with an offer
# that is sent to the offered address, in a frame to the client's MAC. RFC 2131 section 4.1 has a server broadcast such an
# answer: a client sets the flag because its IP layer takes no packets for an address that it has not got yet.
# So a stack that filters by address hears nothing, asks on and gives up, although the server has answered each time.
# (mirage-py takes UDP from port 67 to port 68 whatever the address is, while it waits for an answer.)
#
# Seen: "flags 0x8000: offer to 192.0.2.10 (the offered address), frame to 52:54:00:00:00:01"
#
# Needs: Debian 12 or its package lists, apt-get, dpkg-deb, ip, unshare (root), python3. Fails when that changes.
set -eu

VERSION=0.0~git20230309.7c7625d-1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

cd "$work"
apt-get -q download "passt=$VERSION" >/dev/null 2>&1 || { echo "error: passt=$VERSION cannot be had from apt" >&2; exit 2; }
dpkg-deb -x passt_*.deb root

cat >client.py <<'PYTHON'
import socket
import struct
import subprocess
import sys
import time

MAC = bytes.fromhex("525400000001")
passt = subprocess.Popen(
    ["root/usr/bin/passt", "-f", "-q", "-1", "-4", "--runas", "0", "-s", "passt.sock", "-i", "up0", "-a", "192.0.2.10",
     "-n", "24", "-g", "192.0.2.1", "-D", "192.0.2.1"],
    stderr=subprocess.PIPE, text=True,
)
link = socket.socket(socket.AF_UNIX)
for _ in range(100):
    try:
        link.connect("passt.sock")
        break
    except OSError:
        if passt.poll() is not None:
            sys.exit("error: passt ended: " + passt.stderr.read())
        time.sleep(0.05)
else:
    sys.exit("error: passt does not listen")
link.settimeout(10)

bootp = struct.pack(">BBBBIHH4s4s4s4s16s192s", 1, 1, 6, 0, 0x12345678, 0, 0x8000, *[bytes(4)] * 4, MAC, b"")
bootp += bytes.fromhex("63825363" "350101" "ff")
udp = struct.pack(">HHHH", 68, 67, 8 + len(bootp), 0) + bootp
head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
total = sum(struct.unpack(">10H", head))
total = (total & 0xFFFF) + (total >> 16)
head = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
frame = b"\xff" * 6 + MAC + b"\x08\x00" + head + udp
link.sendall(struct.pack(">I", len(frame)) + frame)


def exactly(count):
    data = b""
    while len(data) < count:
        more = link.recv(count - len(data))
        if not more:
            sys.exit("error: passt closed the connection")
        data += more
    return data


while True:
    answer = exactly(struct.unpack(">I", exactly(4))[0])
    if answer[12:14] == b"\x08\x00" and answer[23] == 17 and answer[34:38] == b"\x00\x43\x00\x44":
        break
passt.terminate()
flags = struct.unpack(">H", answer[52:54])[0]
to, offered, mac = answer[30:34], answer[58:62], answer[:6]
what = "the offered address" if to == offered else "broadcast" if to == b"\xff" * 4 else "another"
print(f"flags {flags:#06x}: offer to {socket.inet_ntoa(to)} ({what}), frame to {mac.hex(':')}")
sys.exit(to != offered or flags != 0x8000)
PYTHON

unshare --net sh -c 'ip link set lo up && ip link add up0 type veth peer name up1 && ip addr add 192.0.2.9/24 dev up0 && ip link set up0 up && ip link set up1 up &&
    exec timeout 60 python3 client.py'
