# SPDX-License-Identifier: MIT
"""DPDK's testpmd and its ixgbe driver out of Debian's packages, with what they need to run, for a Linux guest."""

import re
import subprocess
from pathlib import Path

from tests.nic.packages import cached, named

# What testpmd is linked with and its package does not name itself.
MORE = ("libmd0", "libnl-3-200", "libnl-route-3-200", "libdbus-1-3", "libsystemd0", "libssl3", "libcap2", "liblz4-1")
MORE_STILL = ("libzstd1", "liblzma5", "libgcrypt20", "libgpg-error0", "ibverbs-providers", "libarchive13", "libgcc-s1")
LIBRARIES = "lib/x86_64-linux-gnu"
# Not linked with testpmd, as the card's driver is.
PLUGIN = "librte_mempool_ring"
# These are in the guest already.
BASE = frozenset(("libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0", "libdl.so.2"))


def packages() -> Path:
    """The unpacked packages."""
    linked = named(r"(?:^|, )((?:librte-|lib(?:bsd|elf|fdt|ibverbs|jansson|numa|pcap))[\w.+-]*|zlib1g)")
    return cached("dpdk-guest", "DPDK for the tests", ("dpdk-dev", *MORE, *MORE_STILL), linked)


def files(root: Path) -> tuple[tuple[str, Path], ...]:
    """testpmd, its drivers and the libraries of all of them: (place in the guest, file)."""
    known = {path.name: path for path in sorted(root.rglob("*.so*")) if path.is_file() and "pmds" not in path.parts[-2]}
    plugins = next(path for path in root.rglob("pmds-*") if path.is_dir())
    known |= {path.name: path for path in sorted(plugins.iterdir()) if path.name not in known}
    program = root / "usr" / "bin" / "dpdk-testpmd"
    found = {"bin/dpdk-testpmd": program}
    # glibc loads it when a thread is cancelled, whatever the program is linked with.
    found[f"{LIBRARIES}/libgcc_s.so.1"] = known["libgcc_s.so.1"]
    waiting = [program]
    plugin = next(path for path in sorted(plugins.iterdir()) if re.fullmatch(PLUGIN + r"\.so\.\d+\.\d+", path.name))
    waiting.append(plugin)
    # Where this DPDK looks for drivers, by their full version.
    found[f"usr/{LIBRARIES}/dpdk/{plugins.name}/{plugin.name}"] = plugin
    while waiting:
        output = subprocess.run(
            ["readelf", "--dynamic", waiting.pop()], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        for name in re.findall(r"\(NEEDED\).*\[(.+)\]", output):
            place = f"{LIBRARIES}/{name}"
            if name not in BASE and place not in found:
                found[place] = known[name]
                waiting.append(known[name])
    return tuple(sorted(found.items()))
