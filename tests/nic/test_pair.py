# SPDX-License-Identifier: MIT
"""Two unikernels back to back: one `mirage-py nic` with two cards and a wire between them."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.boot.guests import APPS, build
from tests.conftest import Guest
from tests.nic.linux_guest import qemu_with_vfio_user

pytestmark = [pytest.mark.qemu, pytest.mark.build, pytest.mark.slow]

MEMORY_MB = 16
MEGABYTES = 4
# isa-debug-exit makes QEMU exit with (code << 1) | 1.
SUCCESS = 1


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(APPS / "peer", tmp_path_factory.mktemp("peer") / "app", "-t", "hvt", "--nic", "ixgbe")


def machine(image: Path, card: Path, arguments: str) -> list[str]:
    """As docs/nic.md says how to attach a card."""
    argv = [qemu_with_vfio_user(), "-machine", "q35,memory-backend=mem", "-accel", "tcg", "-cpu", "max"]
    argv += ["-object", f"memory-backend-memfd,id=mem,size={MEMORY_MB}M,share=on", "-m", f"{MEMORY_MB}M"]
    argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
    argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", str(image), "-append", arguments]
    return [*argv, "-device", f'{{"driver":"vfio-user-pci","socket":{{"path":"{card}","type":"unix"}},"rombar":0}}']


def test_octets_cross_intact_and_both_end_well(
    spawn: Callable[[Sequence[str]], Guest], image: Path, tmp_path: Path
) -> None:
    cards = [tmp_path / "a", tmp_path / "b"]
    words = [word for card in cards for word in ("--socket", str(card), "--backend", "wire:between")]
    model = spawn([sys.executable, "-m", "mirage_py", "nic", "--once", "--pcap", str(tmp_path / "t.pcap"), *words])
    model.expect("ready", 30)
    server = spawn(machine(image, cards[0], "--ipv4 10.1.0.1/24"))
    server.expect("listening on tcp port 7", 60)
    client = spawn(machine(image, cards[1], f"--ipv4 10.1.0.2/24 --peer 10.1.0.1 --megabytes {MEGABYTES}"))
    try:
        assert client.wait(120) == SUCCESS
        assert server.wait(30) == SUCCESS
    except AssertionError as error:
        # Both sides, and what was on the wire, for whoever has to find out.
        recordings = [f"{path} ({path.stat().st_size} octets)" for path in sorted(tmp_path.glob("*.pcap"))]
        sides = f"client:\n{client.output}\nserver:\n{server.output}\nmodel:\n{model.output}"
        raise AssertionError(f"{error}\n{sides}\nrecorded in {', '.join(recordings)}") from error
    assert f"intact: {MEGABYTES << 20} octets" in client.output
    assert f"echoed {MEGABYTES << 20} octets" in server.output
    assert model.wait(10) == 0, "the model ends with its last machine"
    # What one card sent is what the other received.
    assert os.path.getsize(tmp_path / "t.pcap") > 2 * (MEGABYTES << 20)
    assert os.path.getsize(tmp_path / "t.1.pcap") > 2 * (MEGABYTES << 20)


def test_wire_with_one_end_or_three_is_refused(spawn: Callable[[Sequence[str]], Guest], tmp_path: Path) -> None:
    for count, cause in ((1, "wire x has one end"), (3, "wire x has two ends")):
        words = [word for n in range(count) for word in ("--socket", str(tmp_path / str(n)), "--backend", "wire:x")]
        model = spawn([sys.executable, "-m", "mirage_py", "nic", *words])
        assert model.wait(30) == 1
        assert cause in model.output
        assert "Traceback" not in model.output
