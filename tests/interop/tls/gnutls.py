# SPDX-License-Identifier: MIT
"""gnutls-cli and gnutls-serv."""

from __future__ import annotations

import re

from tests.conftest import need
from tests.interop.tls.peers import MLKEM, Client, Place, Seen, Server, Wish, request

PACKAGE = "gnutls-bin"
GROUPS = {"x25519": "X25519", "secp256r1": "SECP256R1", "secp384r1": "SECP384R1"}
CIPHERS = {"AES_128_GCM": "AES-128-GCM", "AES_256_GCM": "AES-256-GCM", "CHACHA20_POLY1305": "CHACHA20-POLY1305"}
_TOLD = re.compile(r"Description: \(TLS([\d.]+)-X\.509\)-\(ECDHE-(\w+)\)-\((\S+?)\)-\(([\w-]+)\)")
_ALPN = re.compile(r"Application protocol: (\S+)")


def _cipher(wish: Wish) -> str:
    return next((theirs for ours, theirs in CIPHERS.items() if ours in wish.cipher), "")


def priority(wish: Wish) -> str:
    """GnuTLS's word for what is wished."""
    words = ["NORMAL", "-VERS-ALL", f"+VERS-TLS{wish.version}"]
    if wish.cipher:
        words += ["-CIPHER-ALL", f"+{_cipher(wish)}"]
    if wish.groups:
        words += ["-GROUP-ALL", *(f"+GROUP-{GROUPS[name]}" for name in wish.groups)]
    return ":".join(words)


class _GnuTls:
    name = "gnutls"

    def cannot(self, wish: Wish) -> str:
        return "no ML-KEM" if MLKEM in wish.groups else ""


class GnutlsCli(_GnuTls, Client):
    def fetch(self, place: Place, port: int, wish: Wish) -> Seen:
        command = [need("gnutls-cli", PACKAGE), "--port", str(port), "--x509cafile", str(place.authority.trust)]
        command += ["--sni-hostname", wish.host, "--verify-hostname", wish.host, "--priority", priority(wish)]
        for name in wish.alpn:
            command += ["--alpn", name]
        if wish.has_client_certificate:
            mine = place.authority.client
            command += ["--x509certfile", str(mine.chain), "--x509keyfile", str(mine.key)]
        if wish.is_resumed:
            # It sends its input once it has resumed.
            command += ["--resume", "--waitresumption"]
        text = place.run(*command, place.ip, stdin=request(wish.host))
        told, alpn = list(_TOLD.finditer(text)), _ALPN.search(text)
        suite = told[-1][4].replace("-", "_") if told else ""
        name = told[-1][2].lower() if told else ""
        cipher = next((full for full in _suites(wish) if f"{suite}_SHA" in full), suite)
        return Seen(
            version=told[-1][1] if told else "",
            cipher=cipher,
            group=name,
            alpn=alpn[1] if alpn else "",
            is_resumed="This is a resumed session" in text,
            body=text,
            text=text,
        )


def _suites(wish: Wish) -> tuple[str, ...]:
    # It tells the cipher, not the suite.
    return (wish.cipher,) if wish.cipher else ()


class GnutlsServ(_GnuTls, Server):
    def command(self, place: Place, port: int, wish: Wish) -> list[str]:
        mine = place.server(wish)
        command = [need("gnutls-serv", PACKAGE), "--http", "--port", str(port), "--priority", priority(wish)]
        command += ["--x509certfile", str(mine.chain), "--x509keyfile", str(mine.key)]
        for name in wish.alpn:
            command += ["--alpn", name]
        if wish.has_client_certificate:
            trust = str(place.authority.trust)
            command += ["--x509cafile", trust, "--require-client-cert", "--verify-client-cert"]
        else:
            command += ["--disable-client-cert"]
        return command
