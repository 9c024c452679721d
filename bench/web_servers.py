# SPDX-License-Identifier: MIT
"""Web servers to measure: ours, built for sockets or for a TAP, and nginx with one worker, both with the same files."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.machine import TAPS, GuestError, cpu_seconds, free_port
from bench.web_load import SUITE, Address

START_TIMEOUT_S = 30.0
OPENSSL_TIMEOUT_S = 60.0
KEYS = {"p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-newkey", "rsa:2048"]}
SMALL, PAGE, BIG = "/13.txt", "/page.html", "/1mb.bin"
BIG_BYTES = 1_000_000
OUR_PORTS = {"http": 80, "p256": 443, "rsa": 444, "echo": 445, "report": 11}
PAGE_BYTES = 100_000

DIRECT = ["--interface", TAPS[0].name, "--ipv4", f"{TAPS[0].guest}/24"]


def make_files(folder: Path) -> None:
    """Certificates, one for each kind of key, and what is served, in `folder`/www. Raises GuestError."""
    www = folder / "www"
    www.mkdir(parents=True, exist_ok=True)
    (www / SMALL[1:]).write_bytes(b"hello, world\n")
    (www / PAGE[1:]).write_bytes((b"<p>A page that is neither small nor large.\n" * 3000)[:PAGE_BYTES])
    # Nothing that compresses, and the same each time.
    (www / BIG[1:]).write_bytes(bytes((i * i * 7 + (i >> 8)) & 0xFF for i in range(BIG_BYTES)))
    for kind, how in KEYS.items():
        if (folder / f"{kind}.pem").exists():
            continue
        command = ["openssl", "req", "-x509", "-nodes", "-days", "3650", "-subj", "/CN=bench.test", *how]
        command += ["-addext", "subjectAltName=DNS:bench.test", "-addext", "basicConstraints=critical,CA:FALSE"]
        command += ["-keyout", str(folder / f"{kind}.key"), "-out", str(folder / f"{kind}.pem")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=OPENSSL_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise GuestError(f"openssl: {done.stderr.strip()[-200:]}")


@dataclass
class WebServer:
    """A running server. ports: "http", and for HTTPS each kind of key. cpu_s: what it has used."""

    name: str
    host: str
    ports: dict[str, int]
    process: subprocess.Popen[bytes]

    def address(self, which: str) -> Address:
        return Address(self.host, self.ports[which], which != "http")

    @property
    def cpu_s(self) -> float:
        return cpu_seconds(self.process.pid)


@contextmanager
def started(name: str, command: Sequence[str], host: str, ports: dict[str, int], log: Path) -> Iterator[WebServer]:
    """A server, once all its ports take connections."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        for port in ports.values():
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(errors="replace").strip()[-300:]
                    raise GuestError(f"{name} does not listen on port {port}: {said}")
                try:
                    socket.create_connection((host, port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
        yield WebServer(name, host, ports, process)
    finally:
        process.kill()
        process.wait(START_TIMEOUT_S)


NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    types {{ text/html html; text/plain txt; }}
    client_body_temp_path {folder}/temporary;
    proxy_temp_path {folder}/temporary;
    fastcgi_temp_path {folder}/temporary;
    uwsgi_temp_path {folder}/temporary;
    scgi_temp_path {folder}/temporary;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 120s;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_conf_command Ciphersuites {suite};
    ssl_ecdh_curve X25519;
    ssl_session_cache off;
    root {files}/www;
{servers}
}}
"""
NGINX_SERVER = "    server {{ listen {host}:{port}{more} }}\n"


@contextmanager
def nginx(files: Path, folder: Path, host: str = "127.0.0.1") -> Iterator[WebServer]:
    """nginx with one process, connections that stay, without an access log; sessions are in tickets."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = {which: free_port() for which in ("http", *KEYS)}
    servers = ""
    for which, port in ports.items():
        more = ";"
        if which != "http":
            more = f" ssl; ssl_certificate {files}/{which}.pem; ssl_certificate_key {files}/{which}.key;"
        servers += NGINX_SERVER.format(host=host, port=port, more=more)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, files=files, suite=SUITE, servers=servers))
    command = ["nginx", "-e", "stderr", "-c", str(config)]
    with started("nginx", command, host, ports, folder / "nginx.log") as server:
        yield server


@contextmanager
def ours(binary: Path, net: str, folder: Path) -> Iterator[WebServer]:
    """bench/guests/web in the unix build for "socket" or "direct": in a network namespace of its own (the ports)."""
    folder.mkdir(parents=True, exist_ok=True)
    host, arguments = ("127.0.0.1", []) if net == "socket" else (TAPS[0].guest, DIRECT)
    with started(f"ours, {net}", [str(binary), *arguments], host, dict(OUR_PORTS), folder / "ours.log") as server:
        yield server
