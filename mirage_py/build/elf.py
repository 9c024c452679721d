# SPDX-License-Identifier: MIT
"""Built images as ELF files: the checks before one gets its final name, its note, and what takes how much space."""

from __future__ import annotations

import json
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mirage_py.support.errors import UserError

NOTE_NAME = "mirage-py"
NOTE_TYPE = 1
NOTE_FORMAT = 1

# The Xen PVH entry point, include/public/elfnote.h: what makes QEMU's -kernel and other monitors boot the file.
XEN_NOTE_NAME = "Xen"
XEN_ELFNOTE_PHYS32_ENTRY = 18

_PF_X, _PF_W = 1, 2
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4


@dataclass(frozen=True)
class SectionSize:
    """A section that is loaded: its name, its octets in memory, and whether the file holds them too (not .bss)."""

    name: str
    size_bytes: int
    in_file: bool


@contextmanager
def _opened(path: Path) -> Iterator[ELFFile]:
    try:
        with path.open("rb") as file:
            yield ELFFile(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ELFError, ConstructError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a whole ELF file", "build it again") from error


def _notes(elf: ELFFile) -> Iterator[tuple[str, int, bytes]]:
    """(name, type, content) of every note in the segments that hold notes."""
    for segment in elf.iter_segments("PT_NOTE"):
        data = segment.data()
        offset = 0
        while offset + 12 <= len(data):
            name_len, content_len, kind = struct.unpack_from("<III", data, offset)
            content_start = offset + 12 + (name_len + 3 & ~3)
            name = data[offset + 12 : offset + 12 + name_len].rstrip(b"\0").decode("ascii", "replace")
            yield name, kind, data[content_start : content_start + content_len]
            offset = content_start + (content_len + 3 & ~3)


def read_note(path: Path) -> dict[str, Any] | None:
    """What the image says about itself, as its configure wrote it; None when the ELF file has no such note.

    Raises UserError when the file cannot be read, is no ELF file, or its note is damaged or of a newer format.
    """
    with _opened(path) as elf:
        for name, kind, content in _notes(elf):
            if (name, kind) == (NOTE_NAME, NOTE_TYPE):
                return _parse_note(path, content)
    return None


def _parse_note(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content.rstrip(b"\0").decode("utf-8"))
        note_format = document["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: its mirage-py note is damaged", "build the image again") from error
    if note_format != NOTE_FORMAT:
        raise UserError(
            f"{path} was built by another version of mirage-py (format {note_format})", "build it again with this one"
        )
    assert isinstance(document, dict)
    return document


def note_assembly(document: dict[str, Any], *, is_machine: bool = False) -> str:
    """The note as a source for the assembler; the linker collects it from section .note.mirage.

    is_machine: the image boots by itself: the note says that it hears a power button, and the linker's script, which
        knows how many MiB of memory it needs (targets/hvt/link.ld), fills in the digits of `minimum_memory_mb`.
    """
    content = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    octets: list[int | str] = [*content]
    if is_machine:
        octets = [
            *content[:-1],
            *b',"power_button":true,"minimum_memory_mb":',
            "hvt_minimum_blank",
            "hvt_minimum_ones",
            *b"}",
        ]
    rows = (octets[start : start + 16] for start in range(0, len(octets), 16))
    lines = "\n".join(f"    .byte {','.join(map(str, row))}" for row in rows)
    return f"""\
    .section .note.mirage,"a",@note
    .p2align 2
    .long {len(NOTE_NAME) + 1}, {len(octets)}, {NOTE_TYPE}
    .asciz "{NOTE_NAME}"
    .p2align 2
{lines}
    .p2align 2
    .section .note.GNU-stack,"",@progbits
"""


def check(path: Path, target: str) -> None:
    """Raises UserError when the finished image breaks one of the promises: this would be a fault in mirage-py.

    Always: 64-bit x86 executable, no segment both writable and executable, text not writable, the entry inside of
    executable code, a readable note. hvt: a PVH entry note that points into executable code, and nothing dynamic.
    """
    problem = _problem(path, target)
    if problem is not None:
        raise UserError(f"the linked image is wrong: {problem}", "this is a fault in mirage-py: please report it")


def _problem(path: Path, target: str) -> str | None:
    with _opened(path) as elf:
        if elf.get_machine_arch() != "x64" or elf["e_type"] != "ET_EXEC":
            return f"it is a {elf['e_type']} for {elf.get_machine_arch()}, not a static executable for x64"
        loaded = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
        if any(segment["p_type"] in ("PT_INTERP", "PT_DYNAMIC") for segment in elf.iter_segments()):
            return "it needs a dynamic linker"
        for segment in loaded:
            if segment["p_flags"] & _PF_X and segment["p_flags"] & _PF_W:
                return f"the segment at {segment['p_vaddr']:#x} is both writable and executable"
        for section in elf.iter_sections():
            flags = section["sh_flags"]
            if flags & _SHF_ALLOC and flags & _SHF_EXECINSTR and flags & _SHF_WRITE:
                return f"section {section.name} is both writable and executable"
        if not _in_text(loaded, elf["e_entry"], "p_vaddr"):
            return f"its entry {elf['e_entry']:#x} is not in executable code"
        notes = list(_notes(elf))
    if not any((name, kind) == (NOTE_NAME, NOTE_TYPE) for name, kind, _ in notes):
        return "it has no mirage-py note"
    read_note(path)
    if target == "hvt":
        entries = [
            content for name, kind, content in notes if (name, kind) == (XEN_NOTE_NAME, XEN_ELFNOTE_PHYS32_ENTRY)
        ]
        if len(entries) != 1:
            return "it has no PVH entry note"
        if not _in_text(loaded, int.from_bytes(entries[0][:4], "little"), "p_paddr"):
            return "its PVH entry is not in executable code"
    return None


def _in_text(segments: Iterable[Any], address: int, base: str) -> bool:
    return any(
        segment["p_flags"] & _PF_X and segment[base] <= address < segment[base] + segment["p_memsz"]
        for segment in segments
    )


def section_sizes(path: Path) -> list[SectionSize]:
    """The sections that are loaded, in the order of the file."""
    with _opened(path) as elf:
        return [
            SectionSize(section.name, section["sh_size"], section["sh_type"] != "SHT_NOBITS")
            for section in elf.iter_sections()
            if section["sh_flags"] & _SHF_ALLOC
        ]


def module_sizes(debug_path: Path, modules: Iterable[str]) -> dict[str, int]:
    """Octets of frozen code and constants by module, from the symbols of an image that was not stripped.

    modules: names as in the manifest, such as libos/net/udp.py. Strings that modules share are counted to none.
    """
    # mpy-tool calls what belongs to a module KIND_<name without .py, escaped>_<scope>.
    escaped = {re.sub(r"[^A-Za-z0-9_]", "_", name.removesuffix(".py")): name for name in modules}
    prefixes = sorted(escaped, key=len, reverse=True)
    pattern = re.compile(
        r"(?:fun_data|const_table_data|const_obj|const_qstr_table_data|children|proto_fun|frozen_module)_(.+)"
    )
    sizes: dict[str, int] = defaultdict(int)
    with _opened(debug_path) as elf:
        for table in elf.iter_sections():
            if not isinstance(table, SymbolTableSection):
                continue
            for symbol in table.iter_symbols():
                match = pattern.match(symbol.name)
                if match is None or not symbol["st_size"]:
                    continue
                owner = next((prefix for prefix in prefixes if f"{match[1]}_".startswith(f"{prefix}_")), None)
                if owner is not None:
                    sizes[escaped[owner]] += symbol["st_size"]
    return dict(sizes)
