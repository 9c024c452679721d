# SPDX-License-Identifier: MIT
"""No branch and no address depends on a secret, in the machine code that images have; the stack that it takes is burnt.

The sources claim the first. That the compiler kept to it valgrind sees: for it a secret is memory without a value.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mirage_py.build import sources
from mirage_py.support import paths
from mirage_py.support.cache import Cache
from tests.conftest import need
from tests.contract import images
from tests.crypto.test_signatures import rsa_material

pytestmark = pytest.mark.build

SOURCE = Path(__file__).with_name("constant_time.c")
PRIMITIVES = {
    "x25519": "x25519",
    "p256_public": "p256",
    "p256_sign": "p256",
    "p256_agree": "p256_agree",
    "p384_public": "p384",
    "p384_sign": "p384",
    "ed25519": "ed25519",
    "mlkem768_generate": "mlkem768_client",
    "mlkem768_encapsulate": "mlkem768",
    "mlkem768_decapsulate": "mlkem768_client",
    "aes_gcm": "aead",
    "chacha20_poly1305": "aead",
    "hmac": "hashes",
    "nonces": "p256",
    "rsa_sign": "rsa",
}
# The matrix of ML-KEM is drawn, with rejections, from a seed that is half of a hash of the secret one, and public.
SUPPRESSIONS = "".join(
    f"{{\n   matrix\n   Memcheck:{kind}\n   {where}fun:*{name}*\n   ...\n}}\n"
    for kind in ("Cond", "Value8")
    for where, name in (("", "rej_sample"), ("...\n   ", "sample_from_"))
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("constant_time")
    need("valgrind", "valgrind")
    engine = images.obtain("unix", ["crypto"])
    hacl = sources.obtain(sources.NSS, Cache()) / "nss/lib/freebl/verified"
    bearssl = sources.obtain(sources.BEARSSL, Cache()) / "inc"
    names = ("N", "E", "D", "P", "Q", "DP", "DQ", "QI")
    text = "".join(
        f"static unsigned char {name}[] = {{{', '.join(map(str, value))}}};\n"
        for name, value in zip(names, rsa_material(), strict=True)
    )
    (folder / "rsa_key.h").write_text(text)
    (folder / "matrix.supp").write_text(SUPPRESSIONS)
    includes = [folder, bearssl, hacl, hacl / "karamel/include", hacl / "karamel/krmllib/dist/minimal"]
    command = ["gcc", "-O1", "-g", "-w", "-no-pie", *(f"-I{path}" for path in includes)]
    command += ["-include", str(paths.targets_dir() / "common/krml.h"), str(SOURCE), str(engine.archive)]
    subprocess.run([*command, "-o", str(folder / "program")], check=True)
    return folder / "program"


def valgrind(program: Path, case: str) -> subprocess.CompletedProcess[str]:
    suppressions = program.with_name("matrix.supp")
    command = ["valgrind", "-q", "--error-exitcode=9", f"--suppressions={suppressions}", str(program), case]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("case", PRIMITIVES)
def test_no_branch_and_no_address_depends_on_a_secret(program: Path, case: str) -> None:
    done = valgrind(program, case)
    assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.parametrize("case", ["control_branch", "control_address"])
def test_a_branch_and_an_address_that_do_are_noticed(program: Path, case: str) -> None:
    assert valgrind(program, case).returncode == 9


def burnt(module: str) -> int:
    """Octets of the stack that a module overwrites after a call."""
    common = paths.targets_dir() / "common"
    if module == "rsa":
        text = (common / "crypto_rsa.h").read_text()
    else:
        text = (common / f"mod_{module}.c").read_text()
    found = re.search(r"(?:STACK_BYTES |crypto_burn\()(\d+)", text)
    assert found, module
    return int(found[1])


def test_stack_that_a_primitive_takes_is_burnt(program: Path) -> None:
    done = subprocess.run([program, "depth"], capture_output=True, text=True, timeout=60, check=True)
    depths = {name: int(depth) for name, depth in (line.split() for line in done.stdout.splitlines())}
    too_deep = {name: depths[name] for name, module in PRIMITIVES.items() if depths[name] > burnt(module)}
    assert too_deep == {}
