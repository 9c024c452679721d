# SPDX-License-Identifier: MIT
"""mirage_py.run.private_qemu: which QEMU is brought into the cache, and what is checked of it. Nothing is fetched."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from mirage_py.run import private_qemu
from mirage_py.support.cache import Cache
from mirage_py.support.errors import UserError
from mirage_py.support.progress import Progress

CONTENT = b"a package"


class Apt:
    """Has one version of QEMU."""

    version = private_qemu.PINNED_VERSION

    def __init__(self, folder: Path, *suites: str, kind: str) -> None:
        self.folder = folder

    def update(self) -> None:
        pass

    def download_packages(self, *packages: str) -> list[Path]:
        wanted = packages[0].partition("=")[2]
        if wanted and wanted != self.version:
            raise UserError(f"apt has no version {wanted}")
        path = self.folder / f"qemu-system-x86_{self.version.replace(':', '%3a')}_amd64.deb"
        path.write_bytes(CONTENT)
        return [path]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setattr(private_qemu, "PrivateApt", Apt)
    monkeypatch.setattr(private_qemu, "unpack", lambda archives, root: None)
    monkeypatch.setattr(private_qemu, "PINNED_SHA256", hashlib.sha256(CONTENT).hexdigest())
    return io.StringIO()


def obtain(directory: Path, said: io.StringIO) -> Path:
    return private_qemu.obtain(Cache(directory, progress=Progress(stream=said)))


def test_pinned_version_is_taken_in_silence(tmp_path: Path, said: io.StringIO) -> None:
    launcher = obtain(tmp_path, said)
    assert launcher.read_text().startswith("#!/bin/sh")
    assert said.getvalue() == ""


def test_package_with_another_content_is_refused(
    tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_qemu, "PINNED_SHA256", "0" * 64)
    with pytest.raises(UserError, match="SHA-256 differs"):
        obtain(tmp_path, said)
    assert private_qemu.find(Cache(tmp_path)) is None, "no half-made entry"


def test_newest_version_is_taken_aloud_when_the_pinned_one_has_gone(
    tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Apt, "version", "1:12.0.0+ds-1~bpo13+1")
    obtain(tmp_path, said)
    assert f"version {private_qemu.PINNED_VERSION} has gone" in said.getvalue()
    assert "1:12.0.0" in said.getvalue()
