# SPDX-License-Identifier: MIT
"""What all tests of the stack have. The hosts' buffers are poisoned while they are free: a protocol that uses a frame
after its release is found out.
"""

import pytest

from tests.fakes import poison
from tests.net.world import World, dma


@pytest.fixture(autouse=True)
def _poisoned_buffers(monkeypatch):
    poison.install(monkeypatch, dma)


@pytest.fixture
def world():
    """What most tests happen in; those that need another one make it."""
    return World(seed=1)
