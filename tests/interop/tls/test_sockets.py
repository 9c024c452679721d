# SPDX-License-Identifier: MIT
"""TLS of the unix build on sockets, with every peer: its own primitives, and the system's TCP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import marks, pattern
from tests.interop.network import Network
from tests.interop.tls import image as images
from tests.interop.tls import openssl, others, wishes
from tests.interop.tls.gnutls import GnutlsCli
from tests.interop.tls.image import Builds, Image
from tests.interop.tls.peers import Wish
from tests.interop.tls.pki import OTHER_HOST

pytestmark = marks.UNIX
CLIENTS = [client for client in others.CLIENTS if client.name != "go"]
SERVERS = [server for server in others.SERVERS if server.name != "go"]
# Who starts quickly is asked for all, the others for what there are no two ways to do.
QUICK = {"curl", "openssl", "openssl-3.5", "gnutls", "nss", "nginx"}


@pytest.fixture(scope="module")
def image(tls_builds: Builds, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    with images.started(tls_builds, "socket", network, tmp_path_factory.mktemp("sockets")) as running:
        yield running


def _wanted(name: str) -> tuple[Wish, ...]:
    return (*wishes.ALL, *wishes.RETRIED) if name in QUICK else (*wishes.BASIC, *wishes.RESUMED)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_clients_reach_us(image: Image, client: others.Client) -> None:
    failed = []
    for wish in _wanted(client.name):
        if not images.cannot(client, wish):
            try:
                wishes.check(client.fetch(image.place, images.port_of(wish), wish), wish)
            except AssertionError as error:
                failed.append(f"{wish}: {error}")
    assert not failed, "\n\n".join([*failed, image.running.text()])


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_we_reach_servers(image: Image, server: others.Server) -> None:
    failed = []
    place = images.at_near(image)
    for wish in _wanted(server.name):
        if wish in wishes.RETRIED or server.cannot(wish):
            continue
        with server.serving(place, wish) as port:
            try:
                wishes.check(image.get(place.ip, port, wish), wish)
            except AssertionError as error:
                failed.append(f"{wish}: {error}")
    assert not failed, "\n\n".join(failed)


def _told(client: others.Client, image: Image, wish: Wish) -> dict[str, object]:
    """What the image says of the connection of a client that prints the body."""
    text = client.fetch(image.place, images.port_of(wish), wish).text
    told: dict[str, object] = json.loads(text[text.index('{"') : text.index("}", text.index('{"')) + 1])
    return told


def test_image_tells_what_the_client_tells(image: Image) -> None:
    client = openssl.SClient(is_newer=True)
    assert _told(client, image, Wish())["group"] == "X25519MLKEM768"
    assert _told(openssl.SClient(), image, Wish())["group"] == "x25519"
    assert _told(client, image, Wish(has_client_certificate=True))["certificates"] >= 2
    assert _told(client, image, Wish(alpn=wishes.HTTP))["alpn"] == "http/1.1"


@pytest.mark.parametrize("host", [OTHER_HOST, f"www.{OTHER_HOST}"])
@pytest.mark.parametrize("client", [openssl.SClient(), GnutlsCli(), others.Curl()], ids=lambda client: client.name)
def test_name_chooses_the_certificate(image: Image, client: others.Client, host: str) -> None:
    # Each client verifies that the certificate is for the host.
    for version in ("1.3", "1.2"):
        wishes.check(client.fetch(image.place, images.PORTS["p256"], Wish(version, host=host)), Wish(version))


@pytest.mark.parametrize("version", ["1.3", "1.2"])
def test_curl_downloads_and_uploads(image: Image, tmp_path: Path, version: str) -> None:
    check_bulk(image, tmp_path, version, 20_000_000)


def check_bulk(image: Image, folder: Path, version: str, count: int) -> None:
    """curl gets the pattern and sends it: every octet comes out right."""
    place, body = image.place, folder / "body"
    port = images.PORTS["p256"]
    command = ["curl", "-sS", "--max-time", "100", f"--tlsv{version}", "--tls-max", version]
    command += ["--resolve", f"server.test:{port}:{place.ip}", "--cacert", str(place.authority.trust)]
    url = f"https://server.test:{port}"
    place.near.run(*command, "-o", str(body), f"{url}/pattern/{count}", check=True, timeout_s=110)
    assert body.read_bytes() == pattern.octets(count)
    done = place.near.run(*command, "-T", str(body), f"{url}/upload", check=True, timeout_s=110)
    assert json.loads(done.stdout) == {"octets": count, "sha256": pattern.digest(count)}
