# SPDX-License-Identifier: MIT
"""One process with all primitives, for the tests of a file; and the same over `cryptography`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from libos.tls.crypto import Crypto
from tests.crypto.remote import Agent, Proxy, link, remote_crypto
from tests.tls.reference_crypto import reference_crypto


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory):
    return link("served", tmp_path_factory.mktemp("crypto"))


@pytest.fixture(scope="module")
def agent(image) -> Iterator[Agent]:
    agent = Agent(image)
    yield agent
    agent.close()


@pytest.fixture(scope="module")
def crypto(agent: Agent) -> Crypto:
    """The C, behind the face that engines see."""
    return remote_crypto(agent)


@pytest.fixture(scope="module")
def reference() -> Crypto:
    return reference_crypto()


@pytest.fixture
def hal(agent: Agent):
    """hal("p256").sign(…): a primitive by itself."""
    return lambda name: Proxy(agent, name)
