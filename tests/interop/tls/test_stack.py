# SPDX-License-Identifier: MIT
"""TLS over our own stack: as a process on a TAP, and in machines with virtio-net and with the emulated 82599."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import marks
from tests.interop.network import Network
from tests.interop.tls import image as images
from tests.interop.tls import openssl, others, wishes
from tests.interop.tls.gnutls import GnutlsCli
from tests.interop.tls.image import Builds, Image
from tests.interop.tls.peers import Wish
from tests.interop.tls.test_sockets import check_bulk

WISHES = (*wishes.BASIC, *wishes.RESUMED, Wish(has_client_certificate=True), *wishes.RETRIED[:1])
CLIENTS = (openssl.SClient(is_newer=True), others.Curl(), GnutlsCli())
SERVERS = (openssl.SServer(is_newer=True), others.Nginx())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("direct", marks=marks.UNIX),
        pytest.param("virtio", marks=marks.HVT),
        pytest.param("ixgbe", marks=marks.HVT),
    ],
)
def image(
    request: pytest.FixtureRequest, tls_builds: Builds, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Image]:
    kind: str = request.param
    with Network() as network, images.started(tls_builds, kind, network, tmp_path_factory.mktemp(kind)) as running:
        yield running


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_clients_reach_us(image: Image, client: others.Client) -> None:
    for wish in WISHES:
        if images.cannot(client, wish):
            continue
        wishes.check(client.fetch(image.place, images.port_of(wish), wish), wish)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_we_reach_servers(image: Image, server: others.Server) -> None:
    place = images.at_near(image)
    for wish in (*wishes.BASIC, *wishes.RESUMED, Wish(has_client_certificate=True)):
        with server.serving(place, wish) as port:
            wishes.check(image.get(place.ip, port, wish), wish)


@pytest.mark.parametrize("version", ["1.3", "1.2"])
def test_curl_downloads_and_uploads(image: Image, tmp_path: Path, version: str) -> None:
    check_bulk(image, tmp_path, version, 3_000_000)
