# SPDX-License-Identifier: MIT
"""A line of the table, and how much is measured for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Self


@dataclass
class Row:
    """A line of the table.

    ours, theirs: samples; medians are shown, multiplied with `scale`, in `unit`. beside: what `theirs` is.
    must, wanted: limits of the ratio ours/theirs where there are `theirs`, else of ours. is_floor: they are the least,
    not the most. reference: another machine's figures. note: what else should be known, or why nothing was measured.
    tracked: the name under which the last figure is kept (bench/record.py), "" where it is not.
    failed: it should have been measured and could not be.
    """

    title: str
    unit: str
    must: float | None = None
    wanted: float | None = None
    is_floor: bool = False
    scale: float = 1.0
    reference: str = ""
    beside: str = ""
    note: str = ""
    tracked: str = ""
    failed: bool = False
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Median of ours by median of theirs; None where one is missing, or nothing but zeros."""
        if not self.ours or not self.theirs or median(self.theirs) == 0:
            return None
        return median(self.ours) / median(self.theirs)

    @property
    def value(self) -> float | None:
        """Our figure, in `unit`."""
        return median(self.ours) * self.scale if self.ours else None

    @property
    def other(self) -> float | None:
        """Their figure, in `unit`."""
        return median(self.theirs) * self.scale if self.theirs else None

    @property
    def is_relative(self) -> bool:
        """Whether limits are of the ratio."""
        return bool(self.beside)

    def keeps(self, limit: float | None) -> bool | None:
        """Whether the figure is on the right side of `limit`; None where there is none, or nothing was measured."""
        value = self.ratio if self.is_relative else self.value
        if value is None or limit is None:
            return None
        return value >= limit if self.is_floor else value <= limit

    @property
    def is_bad(self) -> bool:
        """A must that is not kept, or was not measured."""
        return self.failed or self.keeps(self.must) is False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """What as_dict() gave."""
        return cls(**fields)


def give_up(rows: Iterable[Row], where: str, error: Exception) -> None:
    """Marks rows whose measuring ended before its time; the samples that they have stay."""
    for row in rows:
        row.failed = True
        row.note = f"{where}: {error}"


def failure(title: str, why: str) -> Row:
    """What stands in the table for a measurement that could not be made."""
    return Row(title, "", note=f"not measured: {why}", failed=True)


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 5
    echoes: int = 3000
    megabytes: int = 16
    native_rounds: int = 3
    native_echoes: int = 20_000
    native_megabytes: int = 100
    one_way_megabytes: int = 1000
    iperf_s: int = 5
    packets: int = 64_000
    counted_echoes: int = 1000
    connections: tuple[int, ...] = (1, 1000, 10_000)
    handshakes: int = 150
    downloads: int = 40
    wrk_s: int = 1
    idle_connections: int = 200
    pages: int = 60


QUICK = Effort(
    rounds=2,
    echoes=2000,
    megabytes=8,
    native_rounds=2,
    native_echoes=5000,
    native_megabytes=50,
    one_way_megabytes=300,
    iperf_s=2,
    packets=16_000,
    counted_echoes=300,
    connections=(1, 1000),
    handshakes=60,
    downloads=20,
    idle_connections=100,
    pages=20,
)
