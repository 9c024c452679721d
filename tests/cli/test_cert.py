# SPDX-License-Identifier: MIT
"""`mirage-py cert`: an authority and certificates for development."""

from __future__ import annotations

import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from mirage_py.cli.commands import cli
from mirage_py.configure.tls import certificates, octets


def cert(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(cli, ["cert", "-o", str(folder), *args])


def made(folder: Path, *args: str) -> list[str]:
    done = cert(folder, *args)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def refused(folder: Path, *args: str, code: int = 1) -> str:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = cert(folder, *args)
    assert done.exit_code == code, done.output
    lines = done.output.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mirage-py: error: ")
    assert "; " in lines[0]
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    return lines[0]


def leaf(folder: Path, name: str = "site") -> x509.Certificate:
    return certificates.read_chain(folder / f"{name}.pem")[0]


def test_authority_and_leaf(tmp_path: Path) -> None:
    lines = made(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.key", "ca.pem", "site.key", "site.pem"]
    for path in tmp_path.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    identity = certificates.read_identity(tmp_path / "site.pem", tmp_path / "site.key")
    ca = certificates.read_chain(tmp_path / "ca.pem")[0]
    assert lines[0].startswith(f"{tmp_path}/ca.pem holds until {ca.not_valid_after_utc:%Y-%m-%d}: ")
    ends = f"{identity.leaf.not_valid_after_utc:%Y-%m-%d}"
    assert lines[1] == f"{tmp_path}/site.pem holds until {ends}, for localhost, 127.0.0.1, ::1"
    assert identity.kind == "p256"
    assert certificates.has_issued(ca, identity.leaf)
    assert 89 <= (identity.leaf.not_valid_after_utc - certificates.now()).days <= 90
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert "PRIVATE" not in "\n".join(lines)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
def test_python_believes_it(tmp_path: Path, kind: str) -> None:
    """A TLS handshake in memory, with a client that nobody here wrote."""
    made(tmp_path, "server.test", "--key-type", kind)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "site.pem", tmp_path / "site.key")
    client = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="server.test"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version() == "TLSv1.3"
    assert ends[0].getpeercert()["subjectAltName"] == (("DNS", "server.test"),)


def test_openssl_believes_it(tmp_path: Path) -> None:
    made(tmp_path, "a.test", "10.1.2.3", "fd00::1")
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", "10.1.2.3"]
    done = subprocess.run([*command, "-CAfile", "ca.pem", "site.pem"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done


def test_second_leaf_has_the_same_authority(tmp_path: Path) -> None:
    made(tmp_path)
    ca = (tmp_path / "ca.pem").read_bytes()
    made(tmp_path, "--name", "other", "other.test", "--client", "--days", "5")
    assert (tmp_path / "ca.pem").read_bytes() == ca
    other = leaf(tmp_path, "other")
    purposes = other.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificates.names_of(other) == ["other.test"]


def test_files_are_not_overwritten(tmp_path: Path) -> None:
    made(tmp_path)
    assert "site.pem is there already; replace it with --renew" in refused(tmp_path)
    (tmp_path / "mine.key").write_text("mine")
    assert "mine.key is there already" in refused(tmp_path, "--name", "mine")


def test_renewed(tmp_path: Path) -> None:
    made(tmp_path, "a.test", "b.test")
    ca, before, key = (tmp_path / "ca.pem").read_bytes(), leaf(tmp_path), (tmp_path / "site.key").read_bytes()
    made(tmp_path, "--renew", "--days", "10")
    after = leaf(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == ca
    assert certificates.names_of(after) == ["a.test", "b.test"]
    assert before.serial_number != after.serial_number
    assert (tmp_path / "site.key").read_bytes() != key
    assert (after.not_valid_after_utc - certificates.now()).days in (9, 10)
    made(tmp_path, "--renew", "c.a.test")
    assert certificates.names_of(leaf(tmp_path)) == ["c.a.test"]
    assert "there is no" in refused(tmp_path, "--renew", "--name", "other")


def test_authority_names_only_what_it_was_made_for(tmp_path: Path) -> None:
    made(tmp_path, "www.mine.org", "8.8.8.8")
    made(tmp_path, "--renew", "a.www.mine.org", "localhost", "192.168.1.1", "box.local", "8.8.8.8", "*.www.mine.org")
    for name in ("mine.org", "www.yours.org", "8.8.4.4", "evilwww.mine.org"):
        assert f"ca.pem may not sign for {name}" in refused(tmp_path, "--renew", name)
    made(tmp_path, "--force", "www.yours.org")
    assert certificates.names_of(leaf(tmp_path)) == ["www.yours.org"]


@pytest.mark.parametrize("path", ["ca.pem", "ca.key"])
def test_authority_without_its_other_half(tmp_path: Path, path: str) -> None:
    made(tmp_path)
    (tmp_path / path).unlink()
    assert f"and {path} is not" in refused(tmp_path, "--renew")


def test_authority_with_another_key(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "ca.key").write_bytes((tmp_path / "site.key").read_bytes())
    assert "ca.key is not the key of" in refused(tmp_path, "--renew")


def test_authority_that_is_none(tmp_path: Path) -> None:
    made(tmp_path)
    for suffix in (".pem", ".key"):
        (tmp_path / f"ca{suffix}").write_bytes((tmp_path / f"site{suffix}").read_bytes())
    assert "ca.pem is no authority's certificate" in refused(tmp_path, "--renew")


@pytest.mark.parametrize(
    ("args", "cause", "code"),
    [
        (["not a host"], "is not a host name or an address", 1),
        (["*.com"], "all of a registry", 1),
        (["a..b"], "is not a host name", 1),
        (["999.1.1.1"], "is not a host name", 1),
        (["10.0.0"], "is not a host name", 1),
        (["bücher.example"], "is not a host name", 1),
        (["--days", "0"], "not a number of days", 2),
        (["--days", "99999"], "not a number of days", 2),
        (["--name", "ca"], "is not a name for the files", 2),
        (["--name", "../x"], "is not a name for the files", 2),
        (["--show", "nothing.pem"], "there is no certificate nothing.pem", 1),
        (["--key-type", "dsa"], "dsa", 2),
    ],
)
def test_what_cannot_be(tmp_path: Path, args: list[str], cause: str, code: int) -> None:
    assert cause in refused(tmp_path, *args, code=code)


def test_show(tmp_path: Path) -> None:
    made(tmp_path, "a.test", "10.0.0.1")
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "site.pem").read_bytes() + (tmp_path / "ca.pem").read_bytes())
    lines = made(tmp_path, "--show", str(both))
    assert lines[0].startswith("certificate for a.test, 10.0.0.1: p256, by mirage-py development CA ")
    assert lines[1].startswith("authority for mirage-py development CA ")
    assert ", by itself, holds until 20" in lines[1]


def test_quiet(tmp_path: Path) -> None:
    assert made(tmp_path, "-q") == []


def test_trust_store_of_it(tmp_path: Path) -> None:
    made(tmp_path)
    store = octets.read_trust(tmp_path / "ca.pem")
    assert (store.count, store.kinds, store.left_out) == (1, {"p256"}, ())
