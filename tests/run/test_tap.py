# SPDX-License-Identifier: MIT
"""TAP devices: made, given an address, handed to QEMU, and gone afterwards; in network namespaces of the tests' own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.guest import tiny

pytestmark = [
    pytest.mark.tap,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and /dev/net/tun"),
]
INSIDE = ["unshare", "--net"]


def shell(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a new network namespace."""
    return subprocess.run(
        [*INSIDE, "sh", "-ec", script, "sh", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*INSIDE, sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(tiny.missing() is not None, reason=str(tiny.missing()))
@pytest.mark.qemu
def test_guest_on_a_tap_that_is_made_for_it(tmp_path: Path) -> None:
    image = tiny.build(tmp_path / "tiny.hvt", **tiny.NETWORK_NOTE)
    done = shell(
        'dir="$1"; shift; "$@" >"$dir/out" 2>"$dir/err" & '
        'while ! grep -q ready "$dir/out"; do sleep 0.05; done; '
        'ip -d address show t0; kill $!; wait $! || echo "ended $?"; '
        'cat "$dir/err" "$dir/out"; ip link',
        str(tmp_path),
        *tiny.run_command(image, "args", "forever", tap=["t0"]),
    )
    assert "inet 10.0.0.1/24" in done.stdout, done.stderr
    assert "vnet_hdr on" in done.stdout
    assert "t0: guest 10.0.0.2, host 10.0.0.1" in done.stdout
    assert "ended 143" in done.stdout
    assert "t0" not in done.stdout.rpartition("ready")[2]


@pytest.mark.skipif(tiny.missing() is not None, reason=str(tiny.missing()))
@pytest.mark.qemu
def test_tap_of_the_users_is_left_as_it_was(tmp_path: Path) -> None:
    image = tiny.build(tmp_path / "tiny.hvt", **tiny.NETWORK_NOTE)
    done = shell(
        'ip tuntap add t0 mode tap; "$@" || echo "code $?"; ip -o address show t0; ip link show t0',
        *tiny.run_command(image, "exit=5", tap=["t0"]),
    )
    assert "code 5" in done.stdout
    assert "warning: t0 is down" in done.stderr
    assert "inet " not in done.stdout
    assert "state DOWN" in done.stdout


def test_tap_in_use() -> None:
    done = python("from mirage_py.run import tap\nfd = tap.open_tap('t0')\ntap.open_tap('t0')")
    assert "TAP device t0 is in use" in done.stderr


def test_interface_that_is_no_tap() -> None:
    assert "lo is not a TAP device" in python("from mirage_py.run import tap\ntap.open_tap('lo')").stderr


def test_rights_that_do_not_suffice() -> None:
    script = "import os; from mirage_py.run import tap\nos.setgroups([]); os.setuid(65534)\ntap.open_tap('t0')"
    said = python(script).stderr
    assert "needs root" in said
    assert "ip tuntap add t0" in said


def test_tap_for_a_program_lives_as_long_as_the_program() -> None:
    done = python(
        "import ipaddress\nfrom mirage_py.run import tap\n"
        "with tap.lasting('t0', ipaddress.IPv4Interface('10.1.0.1/24')):\n"
        "    print(tap.exists('t0'), tap.is_up('t0'))\n"
        "print(tap.exists('t0'))"
    )
    assert done.stdout.split() == ["True", "True", "False"], done.stderr


def test_native_program_gets_its_tap_and_its_exit_code_counts(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom mirage_py.run import native, tap\n"
        "from mirage_py.run.image import Image\nfrom mirage_py.run.options import RunOptions\n"
        "image = Image(Path('/bin/sh'), 'sh', 'unix', net='direct')\n"
        "arguments = ['-c', 'ip -o address show t0; exit 6', '--interface', 't0']\n"
        "code = native.run(image, RunOptions(guest_args=arguments))\n"
        "print(code, tap.exists('t0'))"
    )
    done = python(script)
    assert "inet 10.0.0.1/24" in done.stdout, done.stderr
    assert done.stdout.split()[-2:] == ["6", "False"]
