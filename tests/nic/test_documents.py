# SPDX-License-Identifier: MIT
"""docs/nic.md: its example device runs as it stands there, and its tables name what there is."""

import os
import re
import struct
from pathlib import Path

from mirage_py.nic.faults import SWITCHES
from mirage_py.nic.ixgbe import registers
from tests.nic.client import Client, Refused, Serving, is_signalled, memory_file

DOCUMENT = (Path(__file__).parents[2] / "docs" / "nic.md").read_text()


def test_example_device_adds_up_memory(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(program, "docs/nic.md", "exec"), names)
    serving = Serving(tmp_path / "adder", names["Adder"]())  # type: ignore[operator]
    client = Client(tmp_path / "adder")
    memory, event = memory_file(4096), os.eventfd(0)
    os.pwrite(memory, bytes([1, 2, 3, 250]), 100)
    client.map(0x10000, 4096, memory)
    client.set_irqs(0x24, 2, 0, 1, [event])
    client.write(7, 4, b"\x06\x00")
    client.write(0, 0, struct.pack("<Q", 0x10000 + 100))
    client.write32(8, 4)
    assert is_signalled(event)
    assert client.read32(16) == 256
    client.write(0, 0, struct.pack("<QI", 0xDEAD0000, 4))
    client.write32(8, 4)
    assert is_signalled(event)
    assert client.read32(16) == 0xFFFF_FFFF
    client.call(13)
    assert client.read32(16) == 0
    assert client.read(7, 0, 4) == b"\x34\x12\xdd\x0a"
    try:
        client.read(3, 0, 4)
    except Refused:
        pass
    else:
        raise AssertionError("a region that is not there")
    client.close()
    serving.stop()
    os.close(memory)
    os.close(event)


def test_every_fault_switch_is_described() -> None:
    faults = DOCUMENT[DOCUMENT.index("## Faults") : DOCUMENT.index("## How it is built")]
    assert set(re.findall(r"`([a-z-]+)`", faults)) - {"card"} == set(SWITCHES)


def test_registers_in_the_table_exist() -> None:
    table = DOCUMENT[DOCUMENT.index("| reset |") : DOCUMENT.index("Not modelled:")]
    known = {spec.name for spec in registers.REGISTERS} | {"RST", "LRST", "SMBI", "FLR", "LSC", "FTQF"}
    for row in table.splitlines():
        cells = row.split("|")
        if len(cells) > 2:
            for name in re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b", cells[2]):
                if name not in ("EX", "SPI"):
                    assert name in known or hasattr(registers, name), name


def test_tests_and_files_named_in_the_text_on_the_driver_exist() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "ixgbe-driver.md").read_text()
    everything = "".join(path.read_text() for path in (root / "tests" / "nic").glob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in everything, name
    for name in re.findall(r"`?((?:tests|docs)/[\w/.-]+\.\w+)`?", text):
        assert (root / name).exists(), name
