# SPDX-License-Identifier: MIT
"""curl, nginx, and the programs in Python, JavaScript and Go."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from tests.conftest import need
from tests.interop.tls import openssl, packages
from tests.interop.tls.gnutls import GnutlsCli, GnutlsServ
from tests.interop.tls.nss import Tstclnt
from tests.interop.tls.peers import (
    IANA,
    MLKEM,
    SUITES_12,
    Client,
    Place,
    ProgramClient,
    ProgramServer,
    Seen,
    Server,
    Wish,
)

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = Path(__file__).with_name("programs")
_CURL = re.compile(r"SSL connection using TLSv([\d.]+) / (\S+)")
_CURL_ALPN = re.compile(r"ALPN: server accepted (\S+)")


class Curl(Client):
    name = "curl"

    def cannot(self, wish: Wish) -> str:
        if MLKEM in wish.groups:
            return "its OpenSSL has no ML-KEM"
        if wish.is_resumed and wish.version == "1.2":
            return "it resumes 1.2 where the server names the session, not with a ticket alone (nor Go's)"
        return "it offers http/1.1 alone" if wish.alpn not in ((), ("http/1.1",)) else ""

    def fetch(self, place: Place, port: int, wish: Wish) -> Seen:
        url = f"https://{wish.host}:{port}/"
        command = [need("curl", "curl"), "-sSv", "--http1.1", "--max-time", "25", "--noproxy", "*"]
        command += ["--resolve", f"{wish.host}:{port}:{place.ip}", "--cacert", str(place.authority.trust)]
        command += [f"--tlsv{wish.version}", "--tls-max", wish.version, "-H", "Connection: close"]
        if wish.cipher:
            flag, name = ("--ciphers", SUITES_12[wish.cipher]) if wish.cipher in SUITES_12 else ("", wish.cipher)
            command += [flag or "--tls13-ciphers", name]
        if wish.groups:
            command += ["--curves", ":".join(openssl.GROUPS[name] for name in wish.groups)]
        if wish.has_client_certificate:
            mine = place.authority.client
            command += ["--cert", str(mine.chain), "--key", str(mine.key)]
        text = place.run(*command, url, *[url] * wish.is_resumed)
        told, alpn = _CURL.findall(text), _CURL_ALPN.search(text)
        version, cipher = told[-1] if told else ("", "")
        return Seen(
            version=version,
            cipher=IANA.get(cipher, cipher),
            alpn=alpn[1] if alpn else "",
            is_resumed="re-using session ID" in text or "reusing session" in text.lower(),
            body=text,
            text=text,
        )


class Python(ProgramClient):
    name = "python"

    def program(self) -> list[str]:
        # The system's: its OpenSSL, and not that of an environment.
        return [need("python3", "python3"), str(PROGRAMS / "peer.py")]

    def cannot(self, wish: Wish) -> str:
        if MLKEM in wish.groups or len(wish.groups) > 1:
            return "its ssl takes one curve"
        return "its ssl cannot choose among 1.3's suites" if wish.cipher and wish.version == "1.3" else ""


class PythonServer(Python, ProgramServer):
    pass


class Node(ProgramClient):
    name = "node"

    def program(self) -> list[str]:
        return [need("node", "nodejs"), str(PROGRAMS / "peer.js")]

    def cannot(self, wish: Wish) -> str:
        return "its OpenSSL has no ML-KEM" if MLKEM in wish.groups else ""


class NodeServer(Node, ProgramServer):
    pass


class Go(ProgramClient):
    name = "go"

    def program(self) -> list[str]:
        return [str(packages.go_peer())]

    def cannot(self, wish: Wish) -> str:
        return "it cannot choose among 1.3's suites" if wish.cipher and wish.version == "1.3" else ""

    def orders(self, role: str, place: Place, port: int, wish: Wish) -> str:
        # The hybrid alone it does not take.
        groups = (MLKEM, "x25519") if wish.groups == (MLKEM,) else wish.groups
        return super().orders(role, place, port, replace(wish, groups=groups))


class GoServer(Go, ProgramServer):
    pass


class Ours(ProgramClient):
    """Our engine on CPython: what is on images has tests of its own."""

    name = "ours"

    def program(self) -> list[str]:
        paths = ":".join(str(ROOT / path) for path in (".", "mirage_py/guest", "tests/fakes"))
        return ["env", f"PYTHONPATH={paths}", sys.executable, str(PROGRAMS / "ours.py")]

    def cannot(self, wish: Wish) -> str:
        return ""


class OurServer(Ours, ProgramServer):
    pass


NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr info;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {ip}:{port} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv{version};
        ssl_session_cache shared:tests:1m;
        {more}
        default_type text/plain;
        location / {{
            return 200 "$ssl_protocol $ssl_cipher $ssl_session_reused $ssl_server_name $ssl_client_verify\\n";
        }}
    }}
}}
"""


class Nginx(Server):
    name = "nginx"

    def cannot(self, wish: Wish) -> str:
        return "its OpenSSL has no ML-KEM" if MLKEM in wish.groups else ""

    def command(self, place: Place, port: int, wish: Wish) -> list[str]:
        folder = place.folder / f"nginx-{port}"
        folder.mkdir()
        mine, more = place.server(wish), []
        if wish.cipher in SUITES_12:
            more.append(f"ssl_ciphers {SUITES_12[wish.cipher]};")
        elif wish.cipher:
            more.append(f"ssl_conf_command Ciphersuites {wish.cipher};")
        if wish.groups:
            more.append(f"ssl_ecdh_curve {':'.join(openssl.GROUPS[name] for name in wish.groups)};")
        if wish.has_client_certificate:
            more += [f"ssl_client_certificate {place.authority.trust};", "ssl_verify_client on;", "ssl_verify_depth 4;"]
        config = folder / "nginx.conf"
        config.write_text(
            NGINX.format(
                folder=folder,
                ip=place.ip,
                port=port,
                chain=mine.chain,
                key=mine.key,
                version=wish.version,
                more="\n        ".join(more),
            )
        )
        return [need("nginx", "nginx"), "-e", "stderr", "-c", str(config)]


CLIENTS: tuple[Client, ...] = (
    Curl(),
    openssl.SClient(),
    openssl.SClient(is_newer=True),
    GnutlsCli(),
    Tstclnt(),
    Python(),
    Node(),
    Go(),
)
SERVERS: tuple[Server, ...] = (
    openssl.SServer(),
    openssl.SServer(is_newer=True),
    GnutlsServ(),
    Nginx(),
    PythonServer(),
    NodeServer(),
    GoServer(),
)
