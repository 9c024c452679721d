# SPDX-License-Identifier: MIT
"""Fixtures of the TLS interoperation tests."""

from __future__ import annotations

import pytest

from tests.interop.network import Network
from tests.interop.tls import pki
from tests.interop.tls.image import Builds
from tests.interop.tls.peers import Place
from tests.interop.tls.pki import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates for all peers, and for us."""
    return pki.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def tls_builds(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """The application on images, for each target."""
    return Builds(tmp_path_factory.mktemp("tls"), authority)


@pytest.fixture(scope="module")
def loopback(network: Network, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The loopback of a namespace."""
    return Place(network.near, "127.0.0.1", authority, tmp_path_factory.mktemp("peers"))
