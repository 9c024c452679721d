#!/bin/sh
# SPDX-License-Identifier: MIT
#
# QEMU 7.2 (Debian 12: qemu-system-x86 1:7.2+dfsg-7+deb12u18+b3): `-rtc base=DATE`, which is there to try a guest at other times,
# gives the guest the date only as far as 68 years from the host's. A later one is taken without a word, and the CMOS clock
# shows it 2**32 seconds earlier: of 2099 it makes 1962, of 2106 (where an unsigned clock of 32 bits ends) 1969.
# (mirage-py takes a CMOS date before 1970 for no clock at all.)
#
# Seen on a host of 2026: "2068-01-01: 2068-01-01; 2099-01-01: 1962-11-25; 2106-01-01: 1969-11-24"
#
# Needs: Debian 12, apt-get, dpkg-deb, python3. Fails when that changes.
set -eu

VERSION=1:7.2+dfsg-7+deb12u18+b3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/archives/partial" "$work/root"

# What of its dependencies the system has already is taken from there.
apt-get -q -y -o Debug::NoLocking=1 -o Dir::Cache::archives="$work/archives" --no-install-recommends --download-only --reinstall \
    install "qemu-system-x86=$VERSION" "qemu-system-common=$VERSION" >/dev/null 2>&1 || {
    echo "error: qemu-system-x86=$VERSION cannot be had from apt" >&2
    exit 2
}
for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
truncate -s 64K "$work/no-bios"

QEMU_MODULE_DIR="$work/root/usr/lib/x86_64-linux-gnu/qemu" \
LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu" timeout 60 python3 - "$work" <<'PYTHON'
import subprocess
import sys
from datetime import date

work = sys.argv[1]
COMMAND = [work + "/root/usr/bin/qemu-system-x86_64", "-L", work + "/root/usr/share/qemu", "-bios", work + "/no-bios", "-machine", "pc",
           "-S", "-display", "none", "-nodefaults", "-qtest", "stdio"]  # fmt: skip
CENTURY, YEAR, MONTH, DAY = 0x32, 9, 8, 7


def shown(base):
    """The date in the CMOS clock of a QEMU that is told this one."""
    command = [*COMMAND, "-rtc", f"base={base}T00:00:00"]
    qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(line):
        qemu.stdin.write(line + "\n")
        qemu.stdin.flush()
        return qemu.stdout.readline().split()

    def register(number):
        ask(f"outb 0x70 {number:#x}")
        bcd = int(ask("inb 0x71")[1], 16)
        return (bcd >> 4) * 10 + (bcd & 15)

    found = date(register(CENTURY) * 100 + register(YEAR), register(MONTH), register(DAY))
    qemu.kill()
    qemu.wait()
    return found


dates = [date(2068, 1, 1), date(2099, 1, 1), date(2106, 1, 1)]
clocks = [shown(base) for base in dates]
print("; ".join(f"{base}: {clock}" for base, clock in zip(dates, clocks)))
wrap_days = 2**32 / 86400
near = clocks[0] == dates[0]
far = all(abs((base - clock).days - wrap_days) <= 1 for base, clock in zip(dates[1:], clocks[1:]))
sys.exit(not (near and far))
PYTHON
