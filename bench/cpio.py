# SPDX-License-Identifier: MIT
"""An initramfs archive, written without root ("newc": Linux, driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

import stat

_TRAILER = "TRAILER!!!"


class Archive:
    """Files for an initramfs, in the order in which they are added; parents are added by themselves."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def _entry(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        encoded = name.encode() + b"\0"
        fields = (len(self._names) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        for part in (header, data):
            self._parts.append(part + b"\0" * (-len(part) % 4))
        self._names.add(name)

    def directory(self, name: str) -> None:
        """Add a directory and those above it; one that is there already is left alone."""
        parent = name.rpartition("/")[0]
        if parent:
            self.directory(parent)
        if name not in self._names:
            self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, permissions: int = 0o644) -> None:
        """Add a regular file."""
        self._place(name)
        self._entry(name, stat.S_IFREG | permissions, data)

    def device(self, name: str, major: int, minor: int) -> None:
        """Add a character device."""
        self._place(name)
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def _place(self, name: str) -> None:
        if name in self._names:
            raise ValueError(f"{name} is in the archive already")
        if "/" in name:
            self.directory(name.rpartition("/")[0])

    def finish(self) -> bytes:
        """The whole archive."""
        self._entry(_TRAILER, 0)
        return b"".join(self._parts)
