# SPDX-License-Identifier: MIT
"""Headless Chromium loads examples/site over HTTPS, its certificate authority trusted: nothing is missing or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.boot import guests
from tests.interop import marks
from tests.interop.network import Network
from tests.interop.tls.chromium import Browser

SITE = guests.EXAMPLES / "site"
ARTEFACTS = Path(__file__).resolve().parents[3] / "build" / "artefacts"
PORT = 8443
PARTS = ("/", "/style.css", "/script.js", "/logo.svg", "/api/visits")
# Says something in the chat, and what the page shows of it then.
CHAT = """new Promise((resolve) => {
  const lines = document.getElementById("lines");
  new MutationObserver(() => resolve(lines.innerText)).observe(lines, { childList: true });
  const say = () => {
    document.getElementById("line").value = "is there anybody?";
    document.getElementById("chat").requestSubmit();
  };
  if (socket.readyState === WebSocket.OPEN) say(); else socket.addEventListener("open", say);
})"""


@pytest.fixture(
    scope="module",
    params=[pytest.param("socket", marks=marks.UNIX), pytest.param("hvt", marks=marks.HVT)],
)
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that trusts the site's authority, in the namespace where the site is."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp("site")
    options = ["-t", "hvt"] if kind == "hvt" else ["-t", "unix", "--net", "socket"]
    built = guests.build(SITE, folder / "site", *options)
    with ExitStack() as running:
        near = running.enter_context(Network()).near
        prefix: Any = near.prefix
        if kind == "hvt":
            running.enter_context(guests.start_hvt(built, {PORT}, prefix=prefix))
        else:
            running.enter_context(guests.started([str(built)], {PORT}, prefix=prefix))
        browser = running.enter_context(Browser(near, folder / "site" / "mirage" / "ca.pem", folder / "chromium"))
        browser.name = kind
        yield browser


def test_site_is_loaded_whole(browser: Browser) -> None:
    browser.open(f"https://localhost:{PORT}/")
    browser.wait(lambda: len(browser.responses()) >= len(PARTS), 30, "all parts")
    assert {path: answer["status"] for path, answer in browser.responses().items()} == dict.fromkeys(PARTS, 200)
    details = browser.responses()["/"]["securityDetails"]
    assert (details["protocol"], details["keyExchangeGroup"]) == ("TLS 1.3", "X25519MLKEM768")
    # Style, image, script and API do what they are for.
    assert browser.value("document.styleSheets[0].cssRules.length") > 3
    assert browser.value("document.images[0].naturalWidth") > 0
    browser.wait(lambda: browser.value("document.getElementById('visits').textContent").isdigit(), 30, "the visits")
    assert browser.value(CHAT) == "is there anybody?"
    assert browser.named("Network.webSocketFrameReceived")
    assert browser.complaints() == []
    picture = ARTEFACTS / f"site-{browser.name}.png"
    browser.screenshot(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5000


def test_page_that_is_not_there_is_one_of_ours(browser: Browser) -> None:
    browser.open(f"https://localhost:{PORT}/nothing/here")
    answer = browser.responses()["/nothing/here"]
    assert (answer["status"], answer["securityState"]) == (404, "secure")
    assert browser.value("document.body.innerText").strip()


def test_site_comes_again_without_being_sent_again(browser: Browser) -> None:
    for _ in range(3):
        browser.open(f"https://localhost:{PORT}/")
    assert browser.complaints() == []
    assert browser.responses()["/"]["status"] in (200, 304)
    # ETag and If-None-Match: what has not changed is not sent.
    sizes = {item["requestId"]: item["encodedDataLength"] for item in browser.named("Network.loadingFinished")}
    assert min(sizes.values()) < 700
