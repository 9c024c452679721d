# SPDX-License-Identifier: MIT
"""examples/fetch and nginx: TLS 1.2 and 1.3, compressed and chunked content, redirects."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import EXAMPLES
from tests.conftest import need
from tests.web.test_client_runtime import Authority

pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.xdist_group("processes")]
TEXT = b"".join(b"line %d of a page that is worth compressing\n" % number for number in range(20000))

CONFIG = """
daemon off;
user {user};
pid {folder}/nginx.pid;
worker_processes 1;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    default_type text/plain;
    gzip on;
    gzip_types *;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.{minor};
        root {folder}/www;
        location /plain/ {{ gzip off; alias {folder}/www/; }}
        location /moved {{ return 301 /text; }}
        location /away {{ return 302 http://127.0.0.1:1/; }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, files: list[Path], minor: int) -> Iterator[int]:
    """Its port, when somebody can connect to it."""
    folder.mkdir()
    (folder / "www").mkdir()
    (folder / "www" / "text").write_bytes(TEXT)
    port = guests.free_port()
    config = folder / "nginx.conf"
    # Else its workers are nobody's, who may not read the test's files.
    user = getpass.getuser()
    config.write_text(
        CONFIG.format(folder=folder, port=port, certificate=files[0], key=files[1], minor=minor, user=user)
    )
    with subprocess.Popen([need("nginx", "nginx"), "-e", "stderr", "-c", str(config)]) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Authority]:
    folder = tmp_path_factory.mktemp("nginx")
    authority = Authority(folder, "127.0.0.1")
    source = shutil.copytree(EXAMPLES / "fetch", folder / "fetch")
    config = (source / "config.py").read_text()
    assert config.count('"system"') == 1
    (source / "config.py").write_text(config.replace('"system"', '"ca.pem"'))
    shutil.copy(folder / "app" / "ca.pem", source)
    return guests.build(source, folder / "built", "-t", "unix", "--net", "socket"), authority


@pytest.mark.parametrize("minor", [2, 3])
def test_fetch_from_nginx(built: tuple[Path, Authority], tmp_path: Path, minor: int) -> None:
    binary, authority = built

    def fetch(path: str, code: int = 0) -> bytes:
        command = [str(binary), "--url", f"https://127.0.0.1:{port}{path}"]
        done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == code, done.stdout[-2000:]
        return done.stdout

    with nginx(tmp_path / "nginx", authority.good, minor) as port:
        for path in ("/text", "/plain/text", "/moved"):
            assert fetch(path) == b"200 OK\ntext/plain\n\n" + TEXT
        assert fetch("/nothing").startswith(b"404 Not Found\n")
        assert b"redirect: from https to http://127.0.0.1:1/, which is not encrypted" in fetch("/away", 1)
