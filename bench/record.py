# SPDX-License-Identifier: MIT
"""The last figures of what is tracked, in docs/performance.json: counts, which another machine would give too."""

from __future__ import annotations

import json
from pathlib import Path

from bench.apps import ROOT
from bench.row import Row

FIGURES = ROOT / "docs" / "performance.json"
# Counts vary a little with how many segments share a turn of the loop.
NOTABLE = 0.05


def load(path: Path = FIGURES) -> dict[str, float]:
    """Name -> figure; nothing where there is no file yet."""
    if not path.exists():
        return {}
    return {str(name): float(value) for name, value in json.loads(path.read_text()).items()}


def compare(rows: list[Row], known: dict[str, float]) -> None:
    """Notes in each tracked row what the figure was, when it has changed by more than NOTABLE."""
    for row in rows:
        before = known.get(row.tracked) if row.tracked else None
        if before is None or row.value is None:
            continue
        if abs(row.value - before) > NOTABLE * abs(before):
            change = f"was {before:,.0f} ({(row.value - before) / before:+.0%})" if before else "was 0"
            row.note = "; ".join(text for text in (row.note, change) if text)


def store(rows: list[Row], path: Path = FIGURES) -> None:
    """Puts the tracked rows' figures in place of the last ones; those that were not measured stay."""
    figures = load(path)
    for row in rows:
        if row.tracked and row.value is not None and not row.failed:
            figures[row.tracked] = float(f"{row.value:.6g}")
    path.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
