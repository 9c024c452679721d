# SPDX-License-Identifier: MIT
"""The hosts' buffers are poisoned while they are free: a protocol that uses a frame after its release is found out."""

import pytest

from tests.fakes import poison
from tests.net import link


@pytest.fixture(autouse=True)
def _poisoned_buffers(monkeypatch):
    poison.install(monkeypatch, link.dma)
