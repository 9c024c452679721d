# SPDX-License-Identifier: MIT
"""Data in an image: what `configure` named (link.json), put into read-only memory by the assembler.

Each has a name and octets; targets/common/mod_embedded.c finds them in a table. A folder becomes one blob, with an
index that libos/hal/files.py searches in place:

    u32 count, then for each file, sorted by path, u32 where its record is
    record: u32 where and u32 how long, for the file, its gzip twin and its Brotli twin (0, 0: none); u32 modified
        (Unix seconds); u16 length of the path, u8 of the media type, the entity tag, the date; then these four texts

all little-endian, counted from the beginning of the blob.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, Protocol

from mirage_py.build.media_types import may_shrink, media_type
from mirage_py.support import generated
from mirage_py.support.errors import UserError
from mirage_py.support.folder import find_files

MAX_BYTES = 64 << 20
_RECORD = struct.Struct("<7IHBBB")
_MAX_TIME_S = 0xFFFFFFFF
# Less saved than this is not worth octets of the image and headers of an answer.
_WORTH_BYTES = 64
_WORTH_PART = 16
_BROTLI_LARGE_BYTES = 1 << 20


class Encoder(Protocol):
    """Compresses. name: of the method and its version: what it makes depends on that."""

    name: str

    def __call__(self, data: bytes) -> bytes: ...


class _Gzip:
    name = f"gz-{zlib.ZLIB_RUNTIME_VERSION}"

    def __call__(self, data: bytes) -> bytes:
        # 31: with gzip's header, which has no date then.
        packer = zlib.compressobj(9, zlib.DEFLATED, 31, 9)
        return packer.compress(data) + packer.flush()


class _Brotli:
    def __init__(self, module: Any) -> None:
        self.module = module
        self.name = f"br-{module.__version__}"

    def __call__(self, data: bytes) -> bytes:
        # The best quality makes half a megabyte a second.
        quality = 11 if len(data) <= _BROTLI_LARGE_BYTES else 9
        return bytes(self.module.compress(data, quality=quality))


def encoders() -> list[Encoder | None]:
    """gzip, and Brotli where there is an encoder: the package brotli, which mirage-py can do without."""
    try:
        import brotli
    except ImportError:
        return [_Gzip(), None]
    return [_Gzip(), _Brotli(brotli)]


@dataclass(frozen=True)
class File:
    """A file as it was read. name: "/a/b.css"."""

    name: str
    content: bytes
    modified_s: int

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True)
class Item:
    """Something to embed. name: what the guest calls it. content: octets, or the files of a folder.

    is_secret: nobody else may read the files that it gets into.
    """

    name: str
    content: bytes | tuple[File, ...]
    compress: bool = False
    is_secret: bool = False

    @property
    def key(self) -> list[Any]:
        """All that its octets in the image depend on."""
        if isinstance(self.content, bytes):
            return [self.name, hashlib.sha256(self.content).hexdigest()]
        used = [encoder and encoder.name for encoder in encoders()] if self.compress else []
        return [self.name, used, [[file.name, file.digest.hex(), file.modified_s] for file in self.content]]

    @property
    def size_bytes(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else sum(len(file.content) for file in self.content)


def load(entries: Sequence[Any], link_json: Path, directory: Path) -> tuple[Item, ...]:
    """What link.json names, read now. directory: the application's, from which folders count.

    Raises UserError when a folder cannot be read, has what cannot be served, or all is more than 64 MiB.
    """
    items = tuple(_item(entry, link_json, directory) for entry in entries)
    total = sum(item.size_bytes for item in items)
    if total > MAX_BYTES:
        most = max(items, key=lambda item: item.size_bytes)
        raise UserError(
            f"{total:,} octets are to be embedded, {most.size_bytes:,} of them as {most.name}",
            f"an image holds {MAX_BYTES:,} at most: take large files out",
        )
    return items


def _item(entry: Any, link_json: Path, directory: Path) -> Item:
    generated.check(link_json, entry, {"name": str})
    if "folder" in entry:
        generated.check(link_json, entry, {"folder": str, "compress": bool})
        return Item(entry["name"], tuple(_files(directory / entry["folder"])), entry["compress"])
    generated.check(link_json, entry, {"base64": str})
    try:
        content = base64.b64decode(entry["base64"], validate=True)
    except binascii.Error as error:
        raise generated.damaged(link_json, f"the data of {entry['name']} are not base64") from error
    return Item(entry["name"], content, is_secret=entry.get("secret") is True)


def _files(folder: Path) -> Iterator[File]:
    latest = _latest()
    left = MAX_BYTES
    for found in find_files(folder):
        try:
            with found.path.open("rb") as stream:
                modified_s = int(os.fstat(stream.fileno()).st_mtime)
                content = stream.read(left + 1)
        except OSError as error:
            raise UserError(f"{found.path} cannot be read: {error.strerror}", "make it readable") from error
        left -= len(content)
        if left < 0:
            raise UserError(
                f"{folder} has more than {MAX_BYTES:,} octets: with {found.path} they are too many",
                "take large files out: an image is loaded into memory as a whole",
            )
        yield File(found.name, content, max(0, min(modified_s, latest)))


def _latest() -> int:
    """The latest date that a file may have: SOURCE_DATE_EPOCH, as reproducible-builds.org has it, where it is given."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return min(int(text), _MAX_TIME_S) if text.isascii() and text.isdigit() else _MAX_TIME_S


def blob(item: Item, packed: Path) -> bytes:
    """The octets in the image. packed: a folder that keeps what was compressed, by the hash of what went in."""
    if isinstance(item.content, bytes):
        return item.content
    use = encoders() if item.compress else [None, None]
    start = 4 + 4 * len(item.content)
    records = [_texts(file) for file in item.content]
    body = start + sum(_RECORD.size + len(b"".join(texts)) for texts in records)
    index, heads, bodies = [], [], []
    where = start
    for file, texts in zip(item.content, records, strict=True):
        places: list[int] = []
        for content in (file.content, *(_smaller(file, encoder, packed) for encoder in use)):
            places += (0, 0) if content is None else (body, len(content))
            if content is not None:
                bodies.append(content)
                body += len(content)
        head = _RECORD.pack(*places, file.modified_s, *map(len, texts)) + b"".join(texts)
        index.append(struct.pack("<I", where))
        heads.append(head)
        where += len(head)
    return b"".join([struct.pack("<I", len(item.content)), *index, *heads, *bodies])


def _texts(file: File) -> tuple[bytes, ...]:
    """Path, media type, entity tag (strong: of the content, 96 bits of its hash), date as HTTP writes it."""
    etag = '"' + base64.urlsafe_b64encode(file.digest[:12]).decode() + '"'
    date = formatdate(file.modified_s, usegmt=True)
    return file.name.encode(), media_type(file.name, file.content).encode(), etag.encode(), date.encode()


def _smaller(file: File, encoder: Encoder | None, packed: Path) -> bytes | None:
    """The compressed twin, where it is worth its octets."""
    size = len(file.content)
    if encoder is None or not may_shrink(file.name):
        return None
    path = packed / _packed_name(file, encoder)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = encoder(file.content)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.replace(path)
    return content if size - len(content) >= max(_WORTH_BYTES, size // _WORTH_PART) else None


def _packed_name(file: File, encoder: Encoder) -> str:
    return f"{file.digest.hex()}.{encoder.name}"


def forget_unused(items: Sequence[Item], packed: Path) -> None:
    """Remove what is kept of files that are not there any more."""
    used = {
        _packed_name(file, encoder)
        for item in items
        if not isinstance(item.content, bytes)
        for file in item.content
        for encoder in encoders()
        if encoder is not None
    }
    for path in packed.iterdir() if packed.is_dir() else ():
        if path.name not in used:
            path.unlink(missing_ok=True)


def write(items: Sequence[Item], folder: Path) -> Path:
    """The table and the data as assembler source in `folder`, which the assembler must run in; returns it."""
    lines = [
        '    .section .rodata.mirage_embedded,"a",@progbits',
        "    .globl mirage_embedded",
        "    .p2align 4",
        "mirage_embedded:",
        f"    .quad {len(items)}",
    ]
    for number, item in enumerate(items):
        length = len(item.name.encode())
        lines.append(
            f"    .quad embedded_name{number}, {length}, embedded{number}, embedded_end{number} - embedded{number}"
        )
    for number, item in enumerate(items):
        (folder / f"embedded{number}.bin").write_bytes(blob(item, folder / "packed"))
        lines += [
            f"embedded_name{number}:",
            f"    .byte {','.join(map(str, item.name.encode()))}",
            "    .p2align 6",
            f"embedded{number}:",
            f'    .incbin "embedded{number}.bin"',
            f"embedded_end{number}:",
        ]
    lines += ["    .byte 0", '    .section .note.GNU-stack,"",@progbits', ""]
    source = folder / "embedded.s"
    source.write_text("\n".join(lines), encoding="ascii")
    return source


def key(items: Sequence[Item]) -> str:
    """What a build's key has of them."""
    return hashlib.sha256(json.dumps([item.key for item in items]).encode()).hexdigest()
