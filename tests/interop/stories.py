# SPDX-License-Identifier: MIT
"""Stories that take real time, told at once: each in a namespace of its own, and the tests look at what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.interop.guest import Builds

Outcome = TypeVar("Outcome")
StoryTeller = Callable[[Any, Builds, Path], Outcome]


@contextmanager
def telling(
    tell: StoryTeller[Outcome], stories: Sequence[Callable[..., None]], builds: Builds, folders: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """Calls tell(story, builds, folder) for all stories at once. Gives their outcomes, by the stories' names."""
    builds.get("unix")
    with ThreadPoolExecutor(len(stories)) as pool:
        yield {story.__name__: pool.submit(tell, story, builds, folders.mktemp(story.__name__)) for story in stories}


def told(outcomes: dict[str, Future[Outcome]], story: Callable[..., None]) -> Outcome:
    """The outcome of a story; what it raised, if it did."""
    return outcomes[story.__name__].result(timeout=240)
