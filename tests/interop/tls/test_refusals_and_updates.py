# SPDX-License-Identifier: MIT
"""Our engines, on CPython: keys that are updated, and connections that must not come about."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from dataclasses import replace

import pytest

from tests.conftest import need
from tests.interop import marks
from tests.interop.network import wait_until
from tests.interop.tls import gnutls, openssl, others, wishes
from tests.interop.tls.peers import TIMEOUT_S, PeerError, Place, Wish, request
from tests.interop.tls.pki import OTHER_HOST

pytestmark = marks.UNIX
NEWER = openssl.SClient(is_newer=True)


class Typed:
    """A program that is typed to: its output is waited for in between."""

    def __init__(self, place: Place, command: list[str]) -> None:
        self.process = subprocess.Popen(
            [*place.near.prefix, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.text += data.decode(errors="replace")

    def type(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def expect(self, words: str) -> None:
        wait_until(lambda: words in self.text or self.process.poll() is not None, TIMEOUT_S, words)
        assert words in self.text, self.text

    def __enter__(self) -> Typed:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(5)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.mark.parametrize("command", ["K", "k"], ids=["asks-for-ours-too", "its-own"])
@pytest.mark.parametrize("client", [openssl.SClient(), NEWER], ids=lambda client: client.name)
def test_openssl_updates_its_keys(loopback: Place, client: openssl.SClient, command: str) -> None:
    wish = Wish()
    with (
        others.OurServer().serving(loopback, wish) as port,
        Typed(loopback, client.command(loopback, port, wish)) as typed,
    ):
        typed.expect("Verify return code: 0")
        for _ in range(3):
            typed.type(f"{command}\n".encode())
            typed.expect("KEYUPDATE")
            typed.text = ""
        typed.type(request())
        typed.expect("200 OK")


def test_gnutls_updates_its_keys(loopback: Place) -> None:
    wish = Wish()
    with others.OurServer().serving(loopback, wish) as port:
        command = [need("gnutls-cli", gnutls.PACKAGE), "--port", str(port), "--inline-commands"]
        command += ["--x509cafile", str(loopback.authority.trust), "--verify-hostname", wish.host, loopback.ip]
        with Typed(loopback, command) as typed:
            typed.expect("Simple Client Mode")
            typed.type(b"^rekey^\n")
            typed.expect("Rekey was completed")
            typed.type(request())
            typed.expect("200 OK")


class _Updating(others.Ours):
    def orders(self, role: str, place: Place, port: int, wish: Wish) -> str:
        return json.dumps({**json.loads(super().orders(role, place, port, wish)), "key_updates": True})


@pytest.mark.parametrize(
    "server", [server for server in others.SERVERS if server.name != "go"], ids=lambda server: server.name
)
def test_we_update_our_keys_and_ask_for_theirs(loopback: Place, server: others.Server) -> None:
    wish = Wish()
    with server.serving(loopback, wish) as port:
        wishes.check(_Updating().fetch(loopback, port, wish), wish)


@pytest.mark.parametrize("client", [c for c in others.CLIENTS if c.name != "go"], ids=lambda client: client.name)
def test_client_without_a_certificate_is_told_that_one_is_needed(loopback: Place, client: others.Client) -> None:
    with others.OurServer().serving(loopback, Wish(has_client_certificate=True)) as port:
        try:
            text = client.fetch(loopback, port, Wish()).text
        except PeerError as error:
            text = str(error)
    assert "200 OK" not in text
    # tstclnt ends well and says nothing.
    assert "certificate" in text.lower() or client.name == "nss"


@pytest.mark.parametrize("server", [openssl.SServer(), others.Nginx()], ids=lambda server: server.name)
def test_we_do_not_talk_to_a_server_of_another_name(loopback: Place, server: others.Server) -> None:
    with server.serving(loopback, Wish()) as port, pytest.raises(PeerError, match=f"is not for {OTHER_HOST}|name"):
        others.Ours().fetch(loopback, port, Wish(host=OTHER_HOST))


@pytest.mark.parametrize("server", [openssl.SServer(), others.Nginx()], ids=lambda server: server.name)
def test_we_do_not_talk_to_a_server_that_a_stranger_vouches_for(loopback: Place, server: others.Server) -> None:
    stranger = replace(loopback, authority=replace(loopback.authority, trust=loopback.authority.stranger))
    with server.serving(loopback, Wish()) as port, pytest.raises(PeerError, match="nobody who is trusted"):
        others.Ours().fetch(stranger, port, Wish())
