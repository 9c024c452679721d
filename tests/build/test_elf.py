# SPDX-License-Identifier: MIT
"""Images as ELF files: the note, the checks, the sizes; on small files made by the assembler and the linker."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from mirage_py.build import elf
from mirage_py.support.errors import UserError
from tests.conftest import need

DOCUMENT = {"format": 1, "name": "echo ü", "target": "hvt", "devices": [], "ports": [{"port": 7}], "keys": {}}

CODE = """
    .section .note.GNU-stack,"",@progbits
    .section .text,"ax",@progbits
    .globl _start
_start: ret
    .data
    .globl value
value: .quad 1
"""
PVH = """
    .section .note.Xen,"a",@note
    .p2align 2
    .long 4, 4, 18
    .asciz "Xen"
    .long {entry}
"""


def link(folder: Path, *sources: str, flags: tuple[str, ...] = ()) -> Path:
    """An executable at 1 MiB from assembler sources."""
    gcc = need("gcc", "gcc")
    files = []
    for number, source in enumerate(sources):
        files.append(folder / f"{number}.s")
        files[-1].write_text(source)
    image = folder / "image with space"
    subprocess.run(
        [gcc, "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext-segment=0x100000", *flags, *files, "-o", image], check=True
    )
    return image


def good(folder: Path, *more: str) -> Path:
    return link(folder, CODE, elf.note_assembly(DOCUMENT), PVH.format(entry="_start"), *more)


def test_a_note_comes_back_as_written(tmp_path: Path) -> None:
    assert elf.read_note(good(tmp_path)) == DOCUMENT


def test_a_note_survives_strip(tmp_path: Path) -> None:
    image = good(tmp_path)
    subprocess.run(["strip", image], check=True)
    assert elf.read_note(image) == DOCUMENT


def test_an_image_that_keeps_its_promises_passes(tmp_path: Path) -> None:
    elf.check(good(tmp_path), "hvt")


def test_an_elf_file_without_a_note_has_none(tmp_path: Path) -> None:
    image = link(tmp_path, CODE)
    assert elf.read_note(image) is None
    with pytest.raises(UserError, match="no mirage-py note"):
        elf.check(image, "unix")


def test_hvt_without_pvh_note_is_refused_and_unix_is_not(tmp_path: Path) -> None:
    image = link(tmp_path, CODE, elf.note_assembly(DOCUMENT))
    elf.check(image, "unix")
    with pytest.raises(UserError, match="no PVH entry note"):
        elf.check(image, "hvt")


def test_a_pvh_entry_in_data_is_refused(tmp_path: Path) -> None:
    image = link(tmp_path, CODE, elf.note_assembly(DOCUMENT), PVH.format(entry="value"))
    with pytest.raises(UserError, match="PVH entry is not in executable code"):
        elf.check(image, "hvt")


def test_writable_and_executable_segment_is_refused(tmp_path: Path) -> None:
    image = link(tmp_path, CODE, elf.note_assembly(DOCUMENT), flags=("-Wl,--omagic", "-Wl,--no-warn-rwx-segments"))
    with pytest.raises(UserError, match="both writable and executable"):
        elf.check(image, "unix")


def test_writable_text_section_is_refused(tmp_path: Path) -> None:
    image = link(tmp_path, CODE + '\n    .section .hot,"awx",@progbits\n    nop\n', elf.note_assembly(DOCUMENT))
    with pytest.raises(UserError, match="both writable and executable"):
        elf.check(image, "unix")


def test_an_entry_outside_of_text_is_refused(tmp_path: Path) -> None:
    image = link(tmp_path, CODE, elf.note_assembly(DOCUMENT), flags=("-Wl,-e,value",))
    with pytest.raises(UserError, match="not in executable code"):
        elf.check(image, "unix")


def test_a_position_independent_executable_is_refused(tmp_path: Path) -> None:
    gcc = need("gcc", "gcc")
    (tmp_path / "main.c").write_text("int main(void) { return 0; }")
    subprocess.run([gcc, "-pie", "-fpie", tmp_path / "main.c", "-o", tmp_path / "pie"], check=True)
    with pytest.raises(UserError, match="not a static executable"):
        elf.check(tmp_path / "pie", "unix")


@pytest.mark.parametrize("content", [b"", b"\x7fEL", b"\x7fELF", b"#!/bin/sh\n"])
def test_not_an_elf_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a whole ELF file"):
        elf.read_note(path)


def test_every_truncation_is_refused_or_has_no_note(tmp_path: Path) -> None:
    image = good(tmp_path)
    content = image.read_bytes()
    cut = tmp_path / "cut"
    for length in range(0, len(content), 97):
        cut.write_bytes(content[:length])
        with suppress(UserError):
            assert elf.read_note(cut) in (None, DOCUMENT)


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    image = link(tmp_path, CODE, elf.note_assembly(DOCUMENT).replace(".byte 123", ".byte 124", 1))
    with pytest.raises(UserError, match="note is damaged"):
        elf.read_note(image)


def test_a_note_of_another_format_is_named(tmp_path: Path) -> None:
    image = link(tmp_path, CODE, elf.note_assembly({**DOCUMENT, "format": 2}))
    with pytest.raises(UserError, match="another version"):
        elf.read_note(image)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        elf.read_note(tmp_path / "nothing")


def test_section_sizes_tell_what_the_file_holds(tmp_path: Path) -> None:
    sizes = {section.name: section for section in elf.section_sizes(good(tmp_path, ".bss\n.skip 4096\n"))}
    assert sizes[".text"].size_bytes == 1
    assert sizes[".data"].in_file
    assert not sizes[".bss"].in_file
    assert sizes[".bss"].size_bytes >= 4096


def test_module_sizes_go_to_the_longest_matching_name(tmp_path: Path) -> None:
    # Named as in mpy-tool's output.
    named = {
        "fun_data_a_b_x": 8,
        "proto_fun_a_b_x": 24,
        "fun_data_a_b_c_y": 16,
        "const_qstr_table_data_a_b_c": 4,
        "fun_data_a_bcd_x": 100,
        "mp_execute_bytecode": 1000,
    }
    symbols = "".join(
        f".type {name}, @object\n.size {name}, {size}\n{name}: .skip {size}\n" for name, size in named.items()
    )
    image = good(tmp_path, ".section .rodata\n" + symbols)
    assert elf.module_sizes(image, ["a/b.py", "a/b/c.py", "d.py"]) == {"a/b.py": 32, "a/b/c.py": 20}
