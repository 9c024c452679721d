# SPDX-License-Identifier: MIT
"""A network namespace for one process: it goes with it, and nothing in it leads anywhere else."""

from __future__ import annotations

import os
import subprocess

from bench.machine import TAPS, GuestError

TIMEOUT_S = 30.0


def prefix() -> list[str]:
    """What starts a program in a namespace of its own; without root, in a user namespace too."""
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]


def prepare() -> None:
    """A loopback and TAPS, in this process's own network namespace. Raises GuestError where they cannot be made."""
    lines = [["ip", "link", "set", "lo", "up"]]
    for tap in TAPS:
        lines += [
            ["ip", "tuntap", "add", tap.name, "mode", "tap", "vnet_hdr"],
            ["ip", "address", "add", f"{tap.host}/24", "dev", tap.name],
            ["ip", "link", "set", tap.name, "up"],
        ]
    for line in lines:
        done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise GuestError(f"no TAP device can be made here (it needs root): {done.stderr.strip()}")
