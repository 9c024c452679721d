# SPDX-License-Identifier: MIT
"""openssl s_client and s_server: the system's, and 3.5."""

from __future__ import annotations

import re

from tests.conftest import need
from tests.interop.tls import packages
from tests.interop.tls.peers import IANA, MLKEM, SAME_GROUP, SUITES_12, Client, Place, Seen, Server, Wish, request

GROUPS = {"secp256r1": "P-256", "secp384r1": "P-384", "x25519": "X25519"}
_TOLD = re.compile(r"(New|Reused), (?:TLSv[\d.]+), Cipher is (\S+)")
_PROTOCOL = re.compile(r"Protocol *: TLSv([\d.]+)|New, TLSv(1\.3)|Reused, TLSv(1\.3)")
_GROUP = re.compile(r"(?:Negotiated TLS1.3 group|(?:Server|Peer) Temp Key): (?:ECDH, )?([\w-]+)")
_ALPN = re.compile(r"ALPN protocol: (\S+)")


class OpenSsl:
    """What both roles and both versions have in common."""

    def __init__(self, is_newer: bool = False) -> None:
        self.name = "openssl-3.5" if is_newer else "openssl"
        self.is_newer = is_newer

    def program(self) -> list[str]:
        return packages.openssl_35() if self.is_newer else [need("openssl", "openssl")]

    def cannot(self, wish: Wish) -> str:
        return "no ML-KEM before 3.5" if MLKEM in wish.groups and not self.is_newer else ""

    def options(self, wish: Wish) -> list[str]:
        options = [f"-tls{wish.version.replace('.', '_')}"]
        if wish.cipher in SUITES_12:
            options += ["-cipher", SUITES_12[wish.cipher]]
        elif wish.cipher:
            options += ["-ciphersuites", wish.cipher]
        if wish.groups:
            options += ["-groups", ":".join(GROUPS.get(name, name) for name in wish.groups)]
        if wish.alpn:
            options += ["-alpn", ",".join(wish.alpn)]
        return options


def read(text: str) -> Seen:
    """What s_client printed."""
    told, protocol, group, alpn = (p.search(text) for p in (_TOLD, _PROTOCOL, _GROUP, _ALPN))
    cipher = told[2] if told else ""
    name = group[1] if group else ""
    return Seen(
        version=next(filter(None, protocol.groups()), "") if protocol else "",
        cipher=IANA.get(cipher, cipher),
        group=SAME_GROUP.get(name, name),
        alpn=alpn[1] if alpn else "",
        is_resumed=told[1] == "Reused" if told else None,
        body=text,
        text=text,
    )


class SClient(OpenSsl, Client):
    def command(self, place: Place, port: int, wish: Wish) -> list[str]:
        """Without what it does with its input."""
        command = [*self.program(), "s_client", "-connect", f"{place.ip}:{port}", "-servername", wish.host]
        command += ["-CAfile", str(place.authority.trust), "-verify_hostname", wish.host, "-verify_return_error"]
        command += self.options(wish)
        if wish.has_client_certificate:
            mine = place.authority.client
            command += ["-cert", str(mine.chain), "-cert_chain", str(mine.chain), "-key", str(mine.key)]
        return command

    def fetch(self, place: Place, port: int, wish: Wish) -> Seen:
        command = [*self.command(place, port, wish), "-ign_eof"]
        if wish.is_resumed:
            session = place.folder / f"{self.name}-{port}-{wish}.session"
            place.run(*command, "-sess_out", str(session), stdin=request(wish.host))
            command += ["-sess_in", str(session)]
        return read(place.run(*command, stdin=request(wish.host)))


class SServer(OpenSsl, Server):
    def command(self, place: Place, port: int, wish: Wish) -> list[str]:
        mine = place.server(wish)
        command = [*self.program(), "s_server", "-accept", f"{place.ip}:{port}", "-www", *self.options(wish)]
        command += ["-cert", str(mine.chain), "-cert_chain", str(mine.chain), "-key", str(mine.key)]
        if wish.has_client_certificate:
            command += ["-Verify", "4", "-verify_return_error", "-CAfile", str(place.authority.trust)]
        return command
