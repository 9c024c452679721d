# SPDX-License-Identifier: MIT
"""iPXE's driver for the 82599 on the model: a card that firmware uses, with legacy descriptors and no interrupts."""

import json
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Guest
from tests.nic.linux_guest import qemu_with_vfio_user
from tests.nic.packages import cached
from tests.nic.test_linux import slirp

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

MEMORY_MB = 64
LINES = 4000
LAST = "every line of it has arrived"


def test_ipxe_gets_an_address_and_boots_a_script(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    """DHCP, then a script of a quarter of a megabyte by TFTP, whose last line is carried out."""
    kernel = cached("ipxe", "iPXE for the tests", ("ipxe",)) / "boot" / "ipxe.lkrn"
    served = tmp_path / "tftp"
    served.mkdir()
    filler = "# " + "this line is here to be carried " * 2
    script = ["#!ipxe", *[filler] * LINES, f"echo {LAST}", "ifstat net0", "reboot"]
    (served / "boot.ipxe").write_text("\n".join(script) + "\n")
    ours, theirs, card, control = tmp_path / "a", tmp_path / "b", tmp_path / "card", tmp_path / "control"
    argv = [sys.executable, "-m", "mirage_py.nic", "--socket", str(card), "--backend", f"dgram:{ours}:{theirs}"]
    model = spawn([*argv, "--control", str(control)])
    model.expect("ready", 30)
    network = slirp(2, ours, theirs)
    network[1] += f",tftp={served},bootfile=boot.ipxe"
    argv = [qemu_with_vfio_user(), "-machine", "q35,memory-backend=mem,graphics=off", "-accel", "tcg", "-cpu", "max"]
    argv += ["-object", f"memory-backend-memfd,id=mem,size={MEMORY_MB}M,share=on", "-m", f"{MEMORY_MB}M"]
    argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
    argv += ["-kernel", str(kernel), *network]
    argv += ["-device", f'{{"driver":"vfio-user-pci","socket":{{"path":"{card}","type":"unix"}},"rombar":0}}']
    guest = spawn(argv)
    # Its own driver, not the one that goes through a BIOS.
    guest.expect("using 82599-sfp", 60)
    text = guest.expect(LAST, 60)
    assert "10.0.2.15" in text
    guest.expect("TXE:0", 10)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(control))
        sock.sendall(b'{"counters": true}\n')
        counters = json.loads(sock.makefile().readline())["counters"]
    assert counters["bad_rx_descriptors"] == counters["bad_tx_descriptors"] == 0
    assert guest.wait(30) == 0, "the script's last line"
