# SPDX-License-Identifier: MIT
"""NSS's tstclnt, and certificate databases as browsers have them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.conftest import need
from tests.interop.tls.peers import MLKEM, TIMEOUT_S, Client, Place, Seen, Wish, request
from tests.interop.tls.pki import Authority, Identity

PACKAGE = "libnss3-tools"
GROUPS = {"x25519": "x25519", "secp256r1": "P256", "secp384r1": "P384"}
CODES = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": 0xC02B,
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": 0xC02C,
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": 0xCCA9,
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": 0xC02F,
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": 0xC030,
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": 0xCCA8,
}
_VERSION = re.compile(r"SSL version 3\.(\d)")
_RESUMED = re.compile(r"(\d+) stateless resumes")
_PASSWORD = "interop"


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, timeout=TIMEOUT_S, capture_output=True)


def trusting(folder: Path, trust: Path) -> Path:
    """A database in `folder` with the authority of `trust`; made once."""
    if not (folder / "cert9.db").exists():
        folder.mkdir(parents=True, exist_ok=True)
        certutil = need("certutil", PACKAGE)
        _run(certutil, "-N", "-d", f"sql:{folder}", "--empty-password")
        _run(certutil, "-A", "-d", f"sql:{folder}", "-n", "interop", "-t", "C,,", "-i", trust)
    return folder


def _import(folder: Path, mine: Identity) -> None:
    """Puts a certificate and its key into the database."""
    chain = x509.load_pem_x509_certificates(mine.chain.read_bytes())
    key = serialization.load_pem_private_key(mine.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    encryption = serialization.BestAvailableEncryption(_PASSWORD.encode())
    path = folder / "client.p12"
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"client", key, chain[0], chain[1:], encryption))
    _run(need("pk12util", PACKAGE), "-i", path, "-d", f"sql:{folder}", "-W", _PASSWORD, "-K", "")


def database(authority: Authority, has_client: bool) -> Path:
    """One that trusts the authority. has_client: with the client's certificate, which it shows to whoever asks."""
    folder = authority.folder / ("nss-client" if has_client else "nss")
    if not folder.exists():
        trusting(folder, authority.trust)
        if has_client:
            _import(folder, authority.client)
    return folder


class Tstclnt(Client):
    name = "nss"

    def cannot(self, wish: Wish) -> str:
        if MLKEM in wish.groups:
            return "no ML-KEM in Debian 12's"
        if wish.key == "ed25519":
            return "no Ed25519"
        return "tstclnt has no ALPN" if wish.alpn else ""

    def fetch(self, place: Place, port: int, wish: Wish) -> Seen:
        command = [need("tstclnt", PACKAGE), "-h", place.ip, "-p", str(port), "-a", wish.host]
        command += [
            "-d",
            f"sql:{database(place.authority, wish.has_client_certificate)}",
            "-v",
            "-V",
            f"tls{wish.version}:tls{wish.version}",
        ]
        # From its input it would send only once the server has spoken.
        asked = place.folder / "nss-request"
        asked.write_bytes(request(wish.host))
        command += ["-A", str(asked), "-u", "-L", "2" if wish.is_resumed else "1"]
        if wish.cipher:
            command += ["-c", f":{CODES[wish.cipher]:04X}"]
        if wish.groups:
            command += ["-I", ",".join(GROUPS[name] for name in wish.groups)]
        if wish.has_client_certificate:
            command += ["-n", "client"]
        text = place.run(*command, stdin=request(wish.host))
        version, resumed = _VERSION.search(text), _RESUMED.findall(text)
        return Seen(
            version=f"1.{int(version[1]) - 1}" if version else "",
            is_resumed=bool(resumed) and resumed[-1] != "0",
            body=text,
            text=text,
        )
