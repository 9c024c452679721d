# SPDX-License-Identifier: MIT
"""Fixtures of the TLS interoperation tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.network import Network
from tests.interop.tls import pki
from tests.interop.tls.peers import Place
from tests.interop.tls.pki import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates for all peers, and for us."""
    return pki.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def loopback(network: Network, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The loopback of a namespace."""
    return Place(network.near, "127.0.0.1", authority, tmp_path_factory.mktemp("peers"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For what a test leaves."""
    return tmp_path
