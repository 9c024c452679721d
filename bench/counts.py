# SPDX-License-Identifier: MIT
"""What the plugin bench/count.c writes while a guest runs: instructions, marks, and where they were spent."""

from __future__ import annotations

import bisect
import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

# struct counts in bench/count.c.
MARKS, BLOCKS, CODE_BYTES = 8192, 131072, 1 << 20
# What mpy-tool calls the bytecode of a frozen function.
_BYTECODE = "fun_data_"
_HEAD = struct.Struct("<6Q")
_BLOCK = struct.Struct("<3Q")
_BLOCKS_AT = _HEAD.size + 8 * MARKS
_MARK_SHIFT = 56
_CODE_AT = _BLOCKS_AT + BLOCKS * _BLOCK.size
SIZE_BYTES = _CODE_AT + 8 * CODE_BYTES


@dataclass(frozen=True)
class Snapshot:
    """One look.

    marks: (number of the address, instructions until then); executed: instructions by their block's address;
    code: instructions by the offset of the bytecode that ran.
    """

    instructions: int
    marks: tuple[tuple[int, int], ...]
    executed: dict[int, int]
    code: dict[int, int]


class Counts:
    """The plugin's file, mapped."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), SIZE_BYTES, access=mmap.ACCESS_READ)

    def instructions(self) -> int:
        """Executed so far."""
        return int(_HEAD.unpack_from(self._map)[0])

    def searches(self) -> tuple[int, int]:
        """How often QEMU had to search for the next block so far, and how often its cache did not know it."""
        searches, misses = _HEAD.unpack_from(self._map)[4:]
        return int(searches), int(misses)

    def snapshot(self) -> Snapshot:
        """A look at everything."""
        instructions, marks, *_ = _HEAD.unpack_from(self._map)
        noted = struct.unpack_from(f"<{min(marks, MARKS)}Q", self._map, _HEAD.size)
        pairs = tuple((mark >> _MARK_SHIFT, mark & (1 << _MARK_SHIFT) - 1) for mark in noted)
        executed: Counter[int] = Counter()
        for address, length, times in _BLOCK.iter_unpack(self._map[_BLOCKS_AT:_CODE_AT]):
            if times:
                executed[address] += length * times
        code = struct.unpack_from(f"<{CODE_BYTES}Q", self._map, _CODE_AT)
        ran = {offset: instructions for offset, instructions in enumerate(code) if instructions}
        return Snapshot(instructions, pairs, dict(executed), ran)

    def close(self) -> None:
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Symbols:
    """The functions of an ELF file with symbols."""

    def __init__(self, path: Path) -> None:
        found: dict[int, tuple[str, int]] = {}
        data: dict[int, tuple[str, int]] = {}
        with path.open("rb") as file:
            elf = ELFFile(file)
            self.entry = int(elf.header["e_entry"])
            for section in elf.iter_sections():
                if isinstance(section, SymbolTableSection):
                    for symbol in section.iter_symbols():
                        entry = symbol.name, int(symbol["st_size"])
                        if symbol["st_info"]["type"] in ("STT_FUNC", "STT_NOTYPE") and symbol["st_value"]:
                            found[int(symbol["st_value"])] = entry
                        elif symbol.name.startswith(_BYTECODE):
                            data[int(symbol["st_value"])] = entry
        self._starts = sorted(found)
        self._found = found
        self._addresses = {name: address for address, (name, _) in found.items()}
        self._code = sorted((address, size, name) for address, (name, size) in data.items())

    def address(self, name: str) -> int:
        """Where a function begins. KeyError when there is none of this name."""
        return self._addresses[name]

    def name(self, address: int) -> str:
        """The function that an address is in; "other" where it is in none."""
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0:
            return "other"
        start = self._starts[position]
        name, size = self._found[start]
        return name if address < start + max(size, 1) or (size == 0 and address - start < 4096) else "other"

    def plugin_arguments(self, interpreter: str = "mp_execute_bytecode") -> str:
        """What tells the plugin to profile Python functions."""
        start = self.address(interpreter)
        low = self._code[0][0]
        high = max(address + size for address, size, _ in self._code)
        return f"vm={start:#x}:{self._found[start][1]:#x},code={low:#x}:{high - low:#x}"

    def python_name(self, offset: int) -> str:
        """The Python function whose bytecode is `offset` octets behind the first one's: module_Class_function."""
        address = self._code[0][0] + offset
        position = bisect.bisect_right(self._code, (address, 1 << 62, "")) - 1
        start, size, name = self._code[position]
        return name.removeprefix(_BYTECODE) if address < start + size else "other"


def by_python_function(before: Snapshot, after: Snapshot, symbols: Symbols) -> Counter[str]:
    """Instructions between two looks, by Python function, with what it calls in C."""
    spent: Counter[str] = Counter()
    for offset, instructions in after.code.items():
        more = instructions - before.code.get(offset, 0)
        if more:
            spent[symbols.python_name(offset)] += more
    return spent


def by_function(before: Snapshot, after: Snapshot, symbols: Symbols) -> Counter[str]:
    """Instructions between two looks, by function."""
    spent: Counter[str] = Counter()
    for address, instructions in after.executed.items():
        more = instructions - before.executed.get(address, 0)
        if more:
            spent[symbols.name(address)] += more
    return spent
