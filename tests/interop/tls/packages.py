# SPDX-License-Identifier: MIT
"""Peers out of Debian 13, in the cache: OpenSSL 3.5 with a loader and libraries of its own, and Go's, compiled once."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from mirage_py.support.cache import sha256_file
from tests.nic.packages import cached

SUITE = "trixie"
GO = "1.24"
GO_SOURCE = Path(__file__).with_name("programs") / "peer.go"
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
_COMPILE_TIMEOUT_S = 600


@cache
def openssl_35() -> list[str]:
    """The command for `openssl` of version 3.5, which has ML-KEM."""
    packages = ("openssl", "libssl3t64", "libc6", "zlib1g", "libzstd1")
    root = cached("tests-openssl", "OpenSSL 3.5", packages, suite=SUITE)
    libraries = root / _LIBRARIES
    return [
        str(libraries / "ld-linux-x86-64.so.2"),
        "--library-path",
        str(libraries),
        str(root / "usr/bin/openssl"),
    ]


def _compile(folder: Path) -> None:
    root = folder / "usr/lib" / f"go-{GO}"
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "GOROOT": str(root),
        "GOCACHE": str(folder / "cache"),
        "GOTMPDIR": str(folder),
        "GO111MODULE": "off",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    subprocess.run(
        [root / "bin/go", "build", "-trimpath", "-ldflags=-s -w", "-o", folder / "peer", GO_SOURCE],
        env=environment,
        check=True,
        timeout=_COMPILE_TIMEOUT_S,
    )
    # The compiler is 300 MB, and is of no more use.
    for name in ("usr", "cache", "etc"):
        shutil.rmtree(folder / name, ignore_errors=True)


@cache
def go_peer() -> Path:
    """programs/peer.go, compiled."""
    version = f"{GO}-{sha256_file(GO_SOURCE)[:12]}"
    packages = (f"golang-{GO}-go", f"golang-{GO}-src")
    return cached("tests-go-peer", "Go's TLS peer", packages, suite=SUITE, then=_compile, version=version) / "peer"
