# SPDX-License-Identifier: MIT
"""Connections of all lengths on small heaps: nothing fails for want of memory, and the heap stays whole."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.app.test_programs import PROGRAMS, link

pytestmark = pytest.mark.build

# What machines of 8 and 16 MiB have: beside them the image, and a quarter of the memory for frames.
HEAPS = {"8M": 4422 << 10, "16M": 10502 << 10}
# Both ends of CLIENTS requests are on the heap, some times over: half of it stays free.
LONGEST = {"8M": 40_000, "16M": 130_000}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wrap = ("-Wl,--wrap=plat_heap", "-Wl,--wrap=m_malloc_fail")
    return link("load", ["net"], tmp_path_factory.mktemp("load"), PROGRAMS / "heap.c", *wrap)


def run(image: Path, machine: str, requests: int, timeout_s: float) -> None:
    done = subprocess.run(
        [image, str(requests), str(LONGEST[machine])],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "HEAP_BYTES": str(HEAPS[machine])},
        check=False,
    )
    print(done.stdout, done.stderr[-2000:])
    assert f"answered {requests} errors []" in done.stdout
    while_it_ran = done.stdout.split("end of load")[0]
    assert "no memory" not in while_it_ran
    heap, live = (int(figure) for figure in re.findall(r"heap (\d+) most live (\d+)", done.stdout)[0])
    assert live <= heap / 2
    free, largest = (int(re.findall(rf"{name} (\d+)", done.stdout)[0]) for name in ("free", "largest"))
    assert largest >= 0.7 * free


@pytest.mark.parametrize("machine", HEAPS)
def test_mixed_load_finds_memory_and_leaves_the_heap_whole(image: Path, machine: str) -> None:
    run(image, machine, 1600, 120)


@pytest.mark.nightly
@pytest.mark.parametrize("machine", HEAPS)
def test_long_mixed_load_finds_memory_and_leaves_the_heap_whole(image: Path, machine: str) -> None:
    run(image, machine, 12_000, 600)
