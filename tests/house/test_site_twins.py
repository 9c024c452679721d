# SPDX-License-Identifier: MIT
"""examples/site is what `mirage-py new site` makes: twins, as a wheel has the templates and not the examples."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE, TEMPLATE = ROOT / "examples" / "site", ROOT / "templates" / "new" / "site"
# What configure and make write, where somebody has tried the example.
MADE = ("mirage", "dist", "Makefile", "__pycache__")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if name.split("/")[0] not in MADE and "__pycache__" not in name}


def test_example_is_the_template() -> None:
    template = contents(TEMPLATE)
    template.pop("gitignore")  # the repository has its own
    assert template
    assert contents(EXAMPLE) == template
