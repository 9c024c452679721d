# SPDX-License-Identifier: MIT
"""What looks for weaknesses finds none: sslscan and testssl.sh, against the unix build on sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import need
from tests.interop import marks
from tests.interop.network import Network
from tests.interop.tls import image as images
from tests.interop.tls.image import Builds, Image
from tests.interop.tls.peers import SUITES_13
from tests.interop.tls.pki import HOST

pytestmark = marks.UNIX
HARMLESS = ("OK", "INFO", "LOW", "WARN", "DEBUG")  # WARN: a check that could not be made, by what the scanner has
# testssl.sh's names of checks that must have been made, and what they found.
MUST = {
    "SSLv3": "OK",
    "TLS1": "INFO",
    "TLS1_1": "INFO",
    "TLS1_3": "OK",
    "heartbleed": "OK",
    "ticketbleed": "OK",
    "ROBOT": "OK",
    "secure_client_renego": "OK",
    "CRIME_TLS": "OK",
    "LUCKY13": "OK",
    "RC4": "OK",
}


@pytest.fixture(scope="module")
def image(tls_builds: Builds, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    with images.started(tls_builds, "socket", network, tmp_path_factory.mktemp("scanned")) as running:
        yield running


@pytest.mark.parametrize("key", ["p256", "rsa"])
def test_sslscan_finds_nothing_old(image: Image, tmp_path: Path, key: str) -> None:
    report, port = tmp_path / "report.xml", images.PORTS[key]
    command = [need("sslscan", "sslscan"), f"--xml={report}", f"--sni-name={HOST}", f"{image.place.ip}:{port}"]
    image.place.near.run(*command, check=True, timeout_s=120)
    test = ElementTree.parse(report).getroot().find("ssltest")
    assert test is not None
    enabled = {
        node.get("type", "") + node.get("version", "") for node in test.iter("protocol") if node.get("enabled") == "1"
    }
    assert enabled <= {"tls1.2", "tls1.3"}
    assert "tls1.3" in enabled
    ciphers = {node.get("cipher", "") for node in test.iter("cipher")}
    assert set(SUITES_13) & ciphers
    assert all(re.search(r"GCM|CHACHA20", cipher) for cipher in ciphers), ciphers
    assert all(node.get("vulnerable") == "0" for node in test.iter("heartbleed"))
    assert all(node.get("supported") == "0" for node in test.iter("compression"))


@pytest.mark.nightly
@pytest.mark.parametrize("key", ["p256", "rsa"])
def test_testssl_finds_nothing_above_low(image: Image, tmp_path: Path, key: str) -> None:
    report, port = tmp_path / "report.json", images.PORTS[key]
    command = [need("testssl", "testssl.sh"), "--warnings", "batch", "--color", "0", "--nodns", "none"]
    # All but what an HTTP application says in its headers: protocols, ciphers, secrecy, preferences, defaults, attacks.
    command += ["-p", "-s", "-f", "-P", "-S", "-U", "--add-ca", str(image.place.authority.trust)]
    command += ["--jsonfile", str(report), "--ip", image.place.ip, f"{HOST}:{port}"]
    done = image.place.near.run(*command, timeout_s=600)
    assert report.exists(), done.stdout + done.stderr
    findings = {found["id"]: (found["severity"], found["finding"]) for found in json.loads(report.read_text())}
    bad = {name: found for name, found in findings.items() if found[0] not in HARMLESS}
    assert not bad, bad
    made = {name: findings.get(name, ("missing", ""))[0] for name in MUST}
    assert made == MUST
