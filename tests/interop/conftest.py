# SPDX-License-Identifier: MIT
"""Fixtures of the interoperation tests. A file's `network` and `guest` are shared by its tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import need
from tests.interop import guest as guest_module
from tests.interop.guest import Builds, Guest
from tests.interop.network import IPV4, IPV6, Family, Network, remove_stale


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """The application, for each target."""
    return Builds(tmp_path_factory.mktemp("interop"))


@pytest.fixture(scope="session", autouse=True)
def _clean() -> None:
    """Namespaces of tests that were killed go first."""
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("ethtool", "ethtool"), ("nc", "netcat-openbsd")):
        need(program, package)
    remove_stale()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A namespace with a TAP."""
    with Network() as made:
        yield made


@pytest.fixture(scope="module")
def guest(builds: Builds, network: Network) -> Iterator[Guest]:
    """The application with fixed addresses, as a Linux process on the TAP."""
    with guest_module.started(builds.get("unix"), network.near, *guest_module.static()) as running:
        guest_module.wait_until_it_answers(running)
        yield running


@pytest.fixture(scope="session", params=[IPV4, IPV6], ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    """The addresses of one version of IP."""
    made: Family = request.param
    return made
