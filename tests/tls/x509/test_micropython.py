# SPDX-License-Identifier: MIT
"""The same chains on the interpreter that images have. It must say what CPython says, word for word.

Signatures are not verified there: the program knows those that are right. What C verifies, tests/crypto looks at.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from libos.tls.x509.der import CertificateError
from libos.tls.x509.keys import private_key
from libos.tls.x509.pack import pack
from libos.tls.x509.trust import Trust
from libos.tls.x509.verify import Verifier
from mirage_py.build import frozen, runtime
from mirage_py.configure.resolver import BUILTIN, Trees, resolve_imports
from mirage_py.support import paths
from tests.contract import images
from tests.tls.reference_crypto import reference_crypto
from tests.tls.x509 import authority, chains

pytestmark = [pytest.mark.build, pytest.mark.slow]

CHAIN_BYTES = 2500  # of a case that takes part: a long literal takes long to compile
KINDS = ("p256", "p384", "rsa", "ed25519")

PROGRAM = """
import gc
import hashlib
import time

import cases
from libos.tls.credential import Credential
from libos.tls.identity import EmbeddedIdentity
from libos.tls.x509 import keys
from libos.tls.x509.certificate import Certificate
from libos.tls.x509.der import CertificateError
from libos.tls.x509.pack import pack
from libos.tls.x509.trust import Trust
from libos.tls.x509.verify import Verifier


class Signer:
    def __init__(self, kind, material):
        self.kind = kind
        self.public_key = cases.PUBLIC[kind]


class Crypto:
    key_kinds = ("p256", "p384", "rsa", "ed25519")
    signer = Signer

    def verify(self, key, algorithm, message, signature):
        return (key, algorithm, hashlib.sha256(message).digest(), signature) in cases.SIGNATURES

    def sha256(self, data):
        return hashlib.sha256(data)


def run(chain, roots, pins, wall_s, purpose, hostname):
    try:
        trust = None if roots is None else Trust(memoryview(pack(roots)))
        Verifier(Crypto(), trust, pins).verify([memoryview(der) for der in chain], wall_s, purpose, hostname)
    except CertificateError as error:
        return "%d %s" % (error.alert, error.reason)
    return "good"


for name, args, expected in cases.CASES:
    gc.collect()
    found = run(*args)
    print("ok" if found == expected else "FAILED", name, found)
for data, expected in cases.KEYS:
    print("ok" if keys.private_key(data) == expected else "FAILED", "key", expected[0])
credential = Credential.of_pem(Crypto(), cases.CHAIN, cases.KEYS[0][0])
print("ok" if credential.is_for("server.example") else "FAILED", "credential")
der = cases.CASES[0][1][0][0]
for length in range(len(der)):
    try:
        Certificate(der[:length])
    except CertificateError:
        continue
    print("FAILED truncated", length)
gc.collect()
before = gc.mem_alloc()
start = time.ticks_us()
certificate = Certificate(der)
took = time.ticks_diff(time.ticks_us(), start)
print("certificate of", len(der), "octets:", gc.mem_alloc() - before, "octets of heap,", took, "us")
print("done")
"""


class Recording:
    """Notes which signatures are right."""

    def __init__(self) -> None:
        self._crypto = reference_crypto()
        self.key_kinds = self._crypto.key_kinds
        self.sha256 = self._crypto.sha256
        self.good: set[Any] = set()

    def verify(self, key: Any, algorithm: str, message: bytes, signature: bytes) -> bool:
        is_good = self._crypto.verify(key, algorithm, message, signature)
        if is_good:
            self.good.add((key, algorithm, self.sha256(message).digest(), signature))
        return is_good


def verdict(case: chains.Case, crypto: Recording) -> str:
    try:
        trust = None if case.roots is None else Trust(pack(case.roots))
        Verifier(crypto, trust, case.pins).verify(case.chain, case.wall_s, case.purpose, case.hostname)
    except CertificateError as error:
        return f"{error.alert} {error.reason}"
    return "good"


def data_module() -> tuple[str, int]:
    """Source of `cases`, and how many there are in it."""
    crypto = Recording()
    found = []
    for name, build in chains.CASES.items():
        case = build()
        # The interpreters' repr() differ beyond ASCII, and a name that is wrong is shown so.
        is_ascii = case.hostname is None or case.hostname.isascii()
        if is_ascii and sum(map(len, case.chain)) + sum(map(len, case.roots or ())) <= CHAIN_BYTES:
            args = (list(case.chain), case.roots, list(case.pins), case.wall_s, case.purpose, case.hostname)
            found.append((name, args, verdict(case, crypto)))
    reference = reference_crypto()
    keys = []
    for kind in KINDS:
        data = authority.pem_of_key(authority.key(kind, 100))
        keys.append((data, private_key(data)))
    public = {kind: reference.signer(kind, material).public_key for _, (kind, material) in keys}
    chain = authority.pem(authority.Issuer("CA").issue(private=authority.key("p256", 100)))
    parts = {"CASES": found, "SIGNATURES": crypto.good, "KEYS": keys, "PUBLIC": public, "CHAIN": chain}
    return "".join(f"{name} = {value!r}\n" for name, value in parts.items()), len(found)


def link(folder: Path) -> Path:
    engine = images.obtain("unix", ["net", "socket"])
    source = folder / "main.py"
    found = resolve_imports(source.read_text(), Trees(folder, paths.guest_dir())).modules
    modules = [frozen.Module("main.py", source, "app")]
    for module in found:
        if module.name != "main.py":
            root = folder if module.name == "cases.py" else paths.guest_dir()
            modules.append(frozen.Module(module.name, root / module.path, module.origin))
    compiled = frozen.compile_modules([frozen.read(module) for module in modules], folder / "mpy")
    frozen_c, image = folder / "frozen_content.c", folder / "image"
    frozen.freeze(compiled, engine, frozen_c)
    command = [runtime.COMPILER, *engine.flags("cflags"), "-O0", "-g0", "-w", frozen_c, engine.archive]
    command += runtime.module_flags(BUILTIN, ())
    subprocess.run([*command, *engine.flags("ldflags"), "-o", image], cwd=engine.working_directory, check=True)
    return image


def test_chains_on_micropython(tmp_path: Path) -> None:
    source, count = data_module()
    assert count >= 100
    (tmp_path / "cases.py").write_text(source)
    (tmp_path / "main.py").write_text(PROGRAM)
    done = subprocess.run([link(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if line.startswith("FAILED")] == []
    assert "done" in lines, done.stdout + done.stderr
    assert sum(line.startswith("ok ") for line in lines) == count + len(KINDS) + 1
    print(lines[-2])
