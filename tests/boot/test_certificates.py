# SPDX-License-Identifier: MIT
"""Images with certificates: they are believed by others, others are verified, and the key is nobody else's.

The peers are Python's ssl, which is OpenSSL.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirage_py.configure.tls import certificates, making
from tests.boot import guests
from tests.boot.guests import APPS

pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.xdist_group("processes")]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application, built for unix on the system's sockets; trust.pem is another authority's."""
    folder = tmp_path_factory.mktemp("certificates")
    making.make(making.Order(folder / "peer", ["server.test", "127.0.0.1"]))
    source = shutil.copytree(APPS / "secure", folder / "source")
    shutil.copy(folder / "peer" / "ca.pem", source / "trust.pem")
    return guests.build(source, folder / "built", "-t", "unix", "--net", "socket")


def echoed(port: int, context: ssl.SSLContext, name: str) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        assert secured.version() == "TLSv1.3"
        secured.sendall(b"hello")
        return secured.recv(100)


def test_certificate_for_development_is_believed(secure: Path) -> None:
    mirage = secure.parent.parent / "mirage"
    context = ssl.create_default_context(cafile=mirage / "ca.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with guests.start_socket(secure, {"port": 8443}) as guest:
        port = guest.ports[8443]
        for name in ("localhost", "127.0.0.1", "::1"):
            assert echoed(port, context, name) == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            echoed(port, context, "other.test")
        with pytest.raises(ssl.SSLCertVerificationError):
            echoed(port, ssl.create_default_context(), "localhost")
        curl = shutil.which("curl")
        if curl:
            command = [curl, "-sS", "--max-time", "5", "--cacert", str(mirage / "ca.pem"), f"https://localhost:{port}/"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            # An echo is no HTTP: that is what it complains of, and not of the certificate.
            assert "certificate" not in done.stderr
            assert done.returncode != 60


def test_key_is_nobody_elses(secure: Path) -> None:
    built = secure.parent.parent
    secret = certificates.key_material(certificates.read_key(built / "mirage" / "server.key"))[0]
    having = [path for path in built.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert {"secure", "secure.debug"} <= {path.name for path in having}
    for path in [*having, built / "mirage/link.json", built / "mirage/server.key", built / "mirage/ca.key"]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    # The authority's key is not in the image.
    authority = certificates.key_material(certificates.read_key(built / "mirage" / "ca.key"))[0]
    assert authority not in secure.read_bytes()


def test_certificate_is_kept_and_renewed(secure: Path, tmp_path: Path) -> None:
    built = shutil.copytree(secure.parent.parent, tmp_path / "built")
    mirage = built / "mirage"
    before = (mirage / "server.pem").read_bytes()
    said = guests.tool("configure", "-t", "unix", "--net", "socket", cwd=built)
    assert "a certificate for development (kept): for localhost, 127.0.0.1, ::1, holds until 20" in said
    assert (mirage / "server.pem").read_bytes() == before
    os.unlink(mirage / "server.key")
    guests.tool("build", cwd=built)
    after = certificates.read_identity(mirage / "server.pem", mirage / "server.key")
    assert (mirage / "server.pem").read_bytes() != before
    context = ssl.create_default_context(cafile=secure.parent.parent / "mirage" / "ca.pem")
    with guests.start_socket(built / "dist" / "secure", {"port": 8443}) as guest:
        assert echoed(guest.ports[8443], context, "localhost") == b"hello"
    assert certificates.der(after.leaf) in (built / "dist" / "secure").read_bytes()


def test_certificate_is_replaced_while_it_runs(secure: Path, tmp_path: Path) -> None:
    """The connection that brought it goes on, new ones have the new one. What is none changes nothing."""
    mirage = secure.parent.parent / "mirage"
    for path, name in (("ca.pem", "ca.pem"), ("ca.key", "ca.key")):
        shutil.copy(mirage / path, tmp_path / name)
    making.make(making.Order(tmp_path, ["renewed.test"]))
    pem, key = ((tmp_path / name).read_bytes() for name in ("site.pem", "site.key"))
    context = ssl.create_default_context(cafile=mirage / "ca.pem")
    with guests.start_socket(secure, {"port": 8443}) as guest:
        port = guest.ports[8443]
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            for sent, answer in (
                (pem, b"0 private keys, not one"),
                (pem + (mirage / "ca.key").read_bytes(), b"the private key is not the certificate's"),
                (pem + key, b"replaced"),
                (b"hello", b"hello"),
            ):
                secured.sendall(sent)
                assert secured.recv(200) == answer
            assert echoed(port, context, "renewed.test") == b"hello"
            with pytest.raises(ssl.SSLCertVerificationError):
                echoed(port, context, "localhost")
            secured.sendall(b"still here")
            assert secured.recv(200) == b"still here"


@contextlib.contextmanager
def server(certificate: Path, key: Path) -> Iterator[int]:
    """Says hello to everybody, over TLS; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
                        secured.sendall(b"hello")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # close() alone does not wake accept().
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("peer", "server.test", "the server says b'hello'"),
        ("peer", "other.test", "the certificate is for server.test, 127.0.0.1, not for other.test"),
        ("stranger", "server.test", "nobody who is trusted has issued it"),
    ],
)
def test_servers_are_verified(secure: Path, tmp_path: Path, folder: str, name: str, expected: str) -> None:
    place = secure.parent.parent.parent / folder
    if folder == "stranger":
        place = tmp_path
        making.make(making.Order(place, ["server.test"]))
    with server(place / "site.pem", place / "site.key") as port:
        command = [secure, "--name", name, "--peer", port, "--port", guests.free_port()]
        with guests.started([str(word) for word in command], {int(command[-1])}) as guest:
            assert expected in guest.text()


def test_key_log_is_said_aloud(secure: Path, tmp_path: Path) -> None:
    source = secure.parent.parent.parent / "source"
    built = guests.build(source, tmp_path / "logged", "-t", "unix", "--net", "socket", "--tls-key-log", "on")
    context = ssl.create_default_context(cafile=tmp_path / "logged" / "mirage" / "ca.pem")
    with guests.start_socket(built, {"port": 8443}) as guest:
        assert "warning: the keys of TLS connections are written here" in guest.text()
        assert echoed(guest.ports[8443], context, "localhost") == b"hello"
        lines = [line.split() for line in guest.text().splitlines()]
        labels = {line[0] for line in lines if len(line) == 3 and len(line[1]) == 64}
        assert {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"} <= labels


@pytest.mark.qemu
@pytest.mark.xdist_group("machine")
def test_in_a_machine(secure: Path, tmp_path: Path) -> None:
    source = secure.parent.parent.parent / "source"
    image = guests.build(source, tmp_path / "machine", "-t", "hvt", "--tls-min", "1.3")
    mirage = tmp_path / "machine" / "mirage"
    assert stat.S_IMODE(image.stat().st_mode) & 0o077 == 0
    identity = certificates.read_identity(mirage / "server.pem", mirage / "server.key")
    assert "10.0.0.2" in certificates.names_of(identity.leaf)
    context = ssl.create_default_context(cafile=mirage / "ca.pem")
    with guests.start_hvt(image, {8443}) as guest:
        for name in ("localhost", "127.0.0.1"):
            assert echoed(guest.ports[8443], context, name) == b"hello"
