# SPDX-License-Identifier: MIT
"""Every driver's buffers are poisoned while they are free: DMA memory that is used after its release is found out."""

import pytest

from libos.driver import ixgbe, virtio_net
from tests.fakes import poison

# There the device writes where it likes, and nobody has used a buffer too late.
HOSTILE = ("hostile", "trouble", "fuzz")


@pytest.fixture(autouse=True)
def _poisoned_buffers(request, monkeypatch):
    if not any(word in request.module.__name__ for word in HOSTILE):
        poison.install(monkeypatch, ixgbe, virtio_net)
