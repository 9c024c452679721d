# SPDX-License-Identifier: MIT
"""The modules `_inflate` and `deflate` in a unix runtime, beside CPython's zlib: in pieces of any size, and damaged."""

from __future__ import annotations

import base64
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import images

TIMEOUT_S = 120
FAKES = Path(__file__).parents[1] / "fakes"

PROGRAM = """
import sys
from binascii import a2b_base64
from _inflate import Inflate

def whole(data, piece, room):
    inflate = Inflate(2)
    out = bytearray(room)
    held = b""
    length = longest = 0
    parts = []
    for start in range(0, len(data), piece):
        held += data[start:start + piece]
        at = 0
        while True:
            count = inflate.run(held, at, out)
            at = inflate.position()
            length += count
            if count < room:
                break
        held = held[at:]
        longest = max(longest, len(held))
        if inflate.is_done():
            break
    return "%d %08x %s %d" % (length, inflate.checksum(), inflate.is_done(), longest > 600 and not inflate.is_done())

for line in LINES:
    data = a2b_base64(line)
    for piece, room in ((1 << 20, 1 << 16), (1, 7), (13, 4096), (700, 1)):
        if len(data) > 20000 and piece == 1:
            continue
        try:
            print(whole(data, piece, room))
        except ValueError:
            print("wrong")
"""

STREAM_PROGRAM = """
import io, deflate
from binascii import a2b_base64
for line in LINES:
    try:
        print(sum(deflate.DeflateIO(io.BytesIO(a2b_base64(line)), deflate.RAW, 15).read()))
    except (OSError, EOFError) as error:
        print("wrong")
"""


def deflated(data: bytes, level: int = 9, strategy: int = zlib.Z_DEFAULT_STRATEGY, flush_every: int = 0) -> bytes:
    maker = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    out = b""
    if flush_every:
        for start in range(0, len(data), flush_every):
            out += maker.compress(data[start : start + flush_every]) + maker.flush(zlib.Z_SYNC_FLUSH)
    else:
        out = maker.compress(data)
    return out + maker.flush()


def good() -> Iterator[bytes]:
    rng = random.Random(1)
    text = Path(__file__).read_bytes()
    yield deflated(b"")
    yield deflated(b"a")
    yield deflated(text)
    yield deflated(text, 1)
    yield deflated(text, 0)
    yield deflated(text, 9, zlib.Z_FIXED)
    yield deflated(text, 9, zlib.Z_HUFFMAN_ONLY)
    yield deflated(text, 6, flush_every=100)
    yield deflated(bytes(200000))
    yield deflated(rng.randbytes(5000))
    # Copies from as far back as there is.
    far = rng.randbytes(32768)
    yield deflated(far + far)
    # Empty blocks, many of them, stored (a flush) and with fixed codes.
    yield b"\x00\x00\x00\xff\xff" * 1000 + deflated(b"end")
    yield bits("0 10 0000000" * 1000 + "1 10 10010001 0000000")


def bad() -> Iterator[bytes]:
    yield b"\x07"  # a block of the reserved kind
    yield b"\x01\x05\x00\x00\x00hello"  # a stored block whose lengths differ
    # A copy from before the beginning: fixed codes, length 3, distance 1.
    yield bits("1 10 0000001 00000")
    # The distance codes 30 and 31 and the lengths 286 and 287, which there are not.
    yield bits("1 10 00110000 0000001 11110 0000000")
    yield bits("1 10 00110000 11000110 0000000")
    yield bits("1 10 00110000 0000001 11111 0000000")


def bits(text: str) -> bytes:
    """The octets of a block: first bit first, Huffman codes as RFC 1951 has them (block type: low bit first)."""
    digits = text.replace(" ", "")
    digits += "0" * (-len(digits) % 8)
    return bytes(int(digits[at : at + 8][::-1], 2) for at in range(0, len(digits), 8))


def run(tmp_path: Path, program: str, lines: list[bytes], command: list[str | Path] | None = None) -> list[str]:
    source = tmp_path / "program.py"
    source.write_text(f"LINES = {[base64.b64encode(line).decode() for line in lines]!r}\n{program}")
    image = [images.link(images.obtain("unix", ["net"]), [source], tmp_path)] if command is None else [*command, source]
    done = subprocess.run(image, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout.splitlines()


@pytest.mark.build
def test_what_is_deflated_comes_out_in_pieces_of_any_size_and_what_is_not_is_an_error(tmp_path: Path) -> None:
    lines = [*good(), *bad()]
    ours = run(tmp_path, PROGRAM, lines)
    expected = []
    for line in lines:
        sizes = 3 if len(line) > 20000 else 4
        try:
            data = zlib.decompress(line, -15)
        except zlib.error:
            expected += ["wrong"] * sizes
        else:
            expected += [f"{len(data)} {zlib.crc32(data):08x} True 0"] * sizes
    assert ours == expected


@pytest.mark.build
def test_damaged_octets_end_in_an_error_or_in_an_end_and_nothing_is_kept(tmp_path: Path) -> None:
    rng = random.Random(2)
    text = Path(__file__).read_bytes()[:3000]
    lines = []
    for made in (deflated(text), deflated(text, 6, flush_every=50), deflated(text, 9, zlib.Z_FIXED)):
        for _ in range(100):
            damaged = bytearray(made)
            for _ in range(rng.randrange(1, 4)):
                damaged[rng.randrange(len(damaged) // 4 if rng.random() < 0.5 else len(damaged))] ^= 1 << rng.randrange(
                    8
                )
            lines.append(bytes(damaged[: rng.randrange(len(damaged))] if rng.random() < 0.2 else damaged))
        lines += [rng.randbytes(200) for _ in range(50)]
    for number, line in enumerate(run(tmp_path, PROGRAM, lines)):
        assert line == "wrong" or line.endswith(" 0"), (number, line)


@pytest.mark.build
def test_module_deflate_reads_a_stream(tmp_path: Path) -> None:
    text = Path(__file__).read_bytes()
    lines = [deflated(text), deflated(text)[:-20], *bad()]
    assert run(tmp_path, STREAM_PROGRAM, lines) == [str(sum(text))] + ["wrong"] * (len(lines) - 1)


def test_fake_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    lines = list(good())
    program = PROGRAM.replace("longest > 600 and not inflate.is_done()", "0")
    ours = run(tmp_path, program, lines, [sys.executable])
    assert len(ours) == 4 * len(lines) - sum(len(line) > 20000 for line in lines)
    assert all(" True 0" in line for line in ours)
