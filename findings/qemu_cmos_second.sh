#!/bin/sh
# SPDX-License-Identifier: MIT
#
# QEMU 7.2 (Debian 12: qemu-system-x86 1:7.2+dfsg-7+deb12u18+b3): the seconds of a PC's emulated CMOS clock do not change when the
# host's do. QEMU takes the host's time at its start without the fraction, and counts whole seconds from there: the clock is
# behind by that fraction, up to a second, and stays so for as long as this QEMU runs. A guest that waits for the edge of the second (or
# for the update-ended interrupt), as one does on a real PC, has a clock that is steady and wrong by as much.
# (mirage-py's wall clock off KVM is right to the CMOS clock, and not to the host's; kvmclock has no such step.)
#
# Seen, started 0.0, 0.3, 0.6 and 0.85 s after a second of the host began, in seconds behind the host:
# "0.09 0.37 0.67 0.92": each is the fraction at the start (and some time for the start), the same at three edges in a row
#
# Needs: Debian 12, apt-get, dpkg-deb, python3. Fails when that changes.
set -eu

VERSION=1:7.2+dfsg-7+deb12u18+b3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/archives/partial" "$work/root"

# What of its dependencies the system has already is taken from there.
apt-get -q -y -o Debug::NoLocking=1 -o Dir::Cache::archives="$work/archives" --no-install-recommends --download-only --reinstall \
    install "qemu-system-x86=$VERSION" "qemu-system-common=$VERSION" >/dev/null 2>&1 || { echo "error: qemu-system-x86=$VERSION cannot be had from apt" >&2; exit 2; }
for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
truncate -s 64K "$work/no-bios"

QEMU_MODULE_DIR="$work/root/usr/lib/x86_64-linux-gnu/qemu" \
LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu" timeout 120 python3 - "$work" <<'PYTHON'
import subprocess
import sys
import time

work = sys.argv[1]
COMMAND = [work + "/root/usr/bin/qemu-system-x86_64", "-L", work + "/root/usr/share/qemu", "-bios", work + "/no-bios", "-machine", "pc",
           "-S", "-display", "none", "-nodefaults", "-qtest", "stdio"]  # fmt: skip


def behind(fraction):
    """Of a QEMU started then: how far its clock is behind the host's, at three edges in a row."""
    time.sleep((fraction - time.time()) % 1)
    qemu = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(line):
        qemu.stdin.write(line + "\n")
        qemu.stdin.flush()
        return qemu.stdout.readline().split()

    def seconds():
        ask("outb 0x70 0x00")
        bcd = int(ask("inb 0x71")[1], 16)
        return (bcd >> 4) * 10 + (bcd & 15)

    found = []
    old = seconds()
    while len(found) < 3:
        new = seconds()
        if new != old:
            found.append((time.time() - new) % 60)
            old = new
    qemu.kill()
    qemu.wait()
    return found


fractions = (0.0, 0.3, 0.6, 0.85)
lags = [behind(fraction) for fraction in fractions]
print(*(f"{lag[0]:.2f}" for lag in lags))
steady = all(max(lag) - min(lag) < 0.05 for lag in lags)
follows = all(-0.02 < lag[0] - fraction < 0.4 for lag, fraction in zip(lags, fractions))
sys.exit(not (steady and follows and lags[-1][0] - lags[0][0] > 0.5))
PYTHON
