# SPDX-License-Identifier: MIT
"""The modules ssl and tls on the interpreter and with the primitives that images have: programs/ssl_checks.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.app.test_programs import PROGRAMS, assert_passed
from tests.crypto.remote import link
from tests.tls import engines

pytestmark = pytest.mark.build


def test_ssl_and_tls(tmp_path: Path) -> None:
    sides = [("p256", "localhost"), ("ed25519", "other")]
    files = [engines.key_pem(kind) + engines.certificate_pem(kind, (name,)) for kind, name in sides]
    image = link("ssl_checks", tmp_path, ("crypto", "socket"), PROGRAMS, has_compat=True)
    command = [image, *[file.hex() for file in files]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL, check=False)
    assert_passed(done.stdout + done.stderr)
