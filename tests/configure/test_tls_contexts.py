# SPDX-License-Identifier: MIT
"""tls_contexts() in a config.py: the modules ssl and tls, and asyncio's streams over TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirage_py.configure import codegen
from mirage_py.configure.codegen import Configuration
from mirage_py.configure.request import Request
from mirage_py.support.errors import UserError
from tests.tls import engines

STREAMS = """
import asyncio

class App:
    def __init__(self, *devices):
        pass

    async def start(self):
        await asyncio.open_connection("127.0.0.1", 443, ssl=True)
"""


def configure(folder: Path, devices: str, app: str = STREAMS, **values: str) -> Configuration:
    (folder / "ca.pem").write_bytes(engines.certificate_pem("p256", ("localhost",)))
    (folder / "app.py").write_text(app)
    (folder / "config.py").write_text(
        f'from mirage_py.dsl import *\nregister("app", unikernel("app.App", {devices}))\n'
    )
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return codegen.configure(Request(folder / "config.py", None, "unix", {"net": "socket", **named}))


def main_of(configuration: Configuration) -> str:
    return next(file.text for file in configuration.plan.files if file.path == "mirage/main.py")


def modules(configuration: Configuration) -> set[str]:
    return {module.name for module in configuration.resolution.modules}


def test_streams_get_the_contexts(tmp_path: Path) -> None:
    found = configure(tmp_path, 'generic_stack(), tls_contexts(trust="ca.pem")')
    text = main_of(found)
    assert "install(stack0, contexts=tls_contexts0)" in text
    assert "from tls import Contexts" in text
    assert {"tls.py", "libos/tls/v12_server.py", "libos/tls/v12_client.py", "libos/app/tls.py"} <= modules(found)
    assert "ssl.py" not in modules(found)


def test_without_tls_12(tmp_path: Path) -> None:
    found = configure(tmp_path, "generic_stack(), tls_contexts()", tls_min="1.3")
    assert not [name for name in modules(found) if "v12" in name]
    assert "Contexts(crypto0, log0, clock0)" in main_of(found)


def test_module_ssl_comes_when_it_is_imported(tmp_path: Path) -> None:
    app = "import ssl\n" + STREAMS
    assert {"ssl.py", "tls.py"} <= modules(configure(tmp_path, "generic_stack(), tls_contexts()", app))
    with pytest.raises(UserError, match=r"app.py:1: the module 'ssl' needs cryptography"):
        configure(tmp_path, "generic_stack()", app)
    # In a function it may never be reached.
    app = STREAMS.replace("        pass\n", "        import ssl\n")
    found = configure(tmp_path, "generic_stack()", app)
    assert not [name for name in modules(found) if "tls" in name or "ssl" in name]
    assert found.resolution.absent


def test_streams_over_a_tls_stack(tmp_path: Path) -> None:
    found = configure(tmp_path, 'tls(generic_stack(), trust="ca.pem")')
    assert "install(tls0)" in main_of(found)


def test_images_without_tls_have_none_of_it(tmp_path: Path) -> None:
    found = configure(tmp_path, "generic_stack()")
    assert "install(stack0)" in main_of(found)
    assert not [name for name in modules(found) if "tls" in name]


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        ("generic_stack(), tls_contexts(), tls_contexts(signs=['p256'])", "2 tls_contexts() in one image"),
        ("generic_stack(), tls_contexts(trust='none.pem')", "none.pem"),
        ("generic_stack(), tls_contexts(trust=b'')", "tls_contexts: trust=b''"),
        ("generic_stack(), tls_contexts(signs=['dsa'])", "dsa"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path: Path, devices: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        configure(tmp_path, devices)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
