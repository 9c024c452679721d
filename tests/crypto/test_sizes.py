# SPDX-License-Identifier: MIT
"""An image has of cryptography what it imports, and no more octets of it than docs/crypto.md says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mirage_py.support import paths
from tests.crypto.remote import link

pytestmark = pytest.mark.build

PAGE = Path(__file__).parents[2] / "docs" / "crypto.md"
# Of the page's numbers a compiler may make somewhat more.
TOLERANCE = 1.1
SERVER = ("hashes", "aead", "x25519", "p256")
ALL = ("hashes", "aead", "x25519", "p256_full", "p384_full", "mlkem768_full", "rsa_full", "ed25519")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory):
    """image("x25519", …): an executable that imports these modules of the hal."""
    made: dict[tuple[str, ...], Path] = {}

    def obtain(*modules: str) -> Path:
        if modules not in made:
            folder = tmp_path_factory.mktemp("sizes")
            (folder / "made").mkdir()
            (folder / "program.py").write_text("".join(f"import libos.hal.{name}\n" for name in modules) + "print(1)\n")
            made[modules] = link("program", folder / "made", programs=folder)
        return made[modules]

    return obtain


def loaded_bytes(image: Path) -> int:
    """Text, constants and data, without symbols."""
    table = subprocess.run(["size", "-A", image], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in table.splitlines())
    return sum(int(row[1]) for row in rows if row and row[0] in (".text", ".rodata", ".data"))


def symbols(image: Path) -> str:
    return subprocess.run(["nm", image], capture_output=True, text=True, check=True).stdout


def claims() -> dict[str, int]:
    """Device of the page's table -> octets. Several devices in one row have as many numbers."""
    found: dict[str, int] = {}
    for row in re.findall(r"^\| (`\w+`.*?) \|.*\| ([\d, ]+) \|$", PAGE.read_text(), re.MULTILINE):
        numbers = [int(number.replace(",", "")) for number in re.split(r", ", row[1])]
        names = re.findall(r"`(\w+)`", row[0])
        found.update(zip(names, numbers, strict=True))
    return found


def test_each_module_is_as_large_as_the_page_says(image) -> None:
    base, hashes = loaded_bytes(image()), loaded_bytes(image("hashes"))
    claimed = claims()
    assert len(claimed) == 15
    for device, octets in claimed.items():
        module = {"aeads": "aead"}.get(device, device)
        took = hashes - base if module == "hashes" else loaded_bytes(image("hashes", module)) - hashes
        assert octets / 1.25 < took < octets * TOLERANCE, device


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        (SERVER, r"([\d,]+) for a server with a P-256 certificate"),
        ((*SERVER, "mlkem768"), r"([\d,]+) with X25519MLKEM768"),
        ((*SERVER, "mlkem768", "p256_agree"), r"([\d,]+) with the group\s+secp256r1"),
        (ALL, r"([\d,]+) for all there is"),
    ],
)
def test_together_they_are(image, modules: tuple[str, ...], sentence: str) -> None:
    claimed = re.search(sentence, PAGE.read_text())
    assert claimed, sentence
    took = loaded_bytes(image(*modules)) - loaded_bytes(image())
    octets = int(claimed[1].replace(",", ""))
    assert octets / 1.25 < took < octets * TOLERANCE


def test_what_is_not_imported_is_not_there(image) -> None:
    assert not re.search(r"Hacl_|libcrux_|br_\w+_(init|run)", symbols(image()))
    server = symbols(image(*SERVER))
    assert "Hacl_P256_ecdsa_sign" in server
    for name in ("Hacl_P256_ecdsa_verif", "Hacl_P256_dh_responder", "Hacl_P384", "Hacl_Ed25519", "libcrux_", "br_rsa_"):
        assert name not in server, name


def test_c_files_are_those_that_the_makefile_compiles() -> None:
    """A module of ours that nobody lists would be missed by an application only."""
    listed = (paths.targets_dir() / "Makefile").read_text()
    for source in (paths.targets_dir() / "common").glob("mod_*.c"):
        assert re.search(rf"\b(mod_)?{source.stem.removeprefix('mod_')}\b", listed), source.name
