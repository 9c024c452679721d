# SPDX-License-Identifier: MIT
"""HTTP clients in a config.py: what an image gets for it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirage_py.configure.codegen import Configuration, configure
from mirage_py.configure.request import Request
from mirage_py.support.errors import UserError

CONFIG = """
from mirage_py.dsl import generic_stack, http_client, https_client, register, unikernel
register("app", unikernel("app.App", {client}))
"""
APP = """
class App:
    def __init__(self, client):
        self.client = client

    async def start(self):
        await self.client.get("http://127.0.0.1/")
"""
PIN = "'" + "00" * 32 + "'"


def made(directory: Path, client: str) -> Configuration:
    (directory / "config.py").write_text(CONFIG.format(client=client))
    (directory / "app.py").write_text(APP)
    return configure(Request(directory / "config.py", None, "hvt", {}))


def modules(configuration: Configuration) -> set[str]:
    return {module.name for module in configuration.resolution.modules}


def text(configuration: Configuration) -> str:
    return next(file.text for file in configuration.plan.files if file.path == "mirage/main.py")


def test_client_without_tls_carries_none(tmp_path: Path) -> None:
    configuration = made(tmp_path, "http_client(generic_stack())")
    names = modules(configuration)
    assert {"libos/web/client.py", "libos/web/client_coding.py", "libos/hal/inflate.py", "libos/app/dns.py"} <= names
    assert not any(name.startswith("libos/tls/") for name in names)
    assert not names & {
        "libos/web/server.py",
        "libos/web/connection.py",
        "libos/http/server.py",
        "libos/http/ranges.py",
    }
    assert not names & {"libos/web/cookie_jar.py", "libos/web/client_websocket.py", "libos/http/websocket.py"}
    assert "('proxy', 'str', None" in text(configuration) or '("proxy", "str", None' in text(configuration)
    assert "_inflate" in configuration.resolution.builtins


def test_client_has_what_it_is_asked_for(tmp_path: Path) -> None:
    options = "decompress=False, cookies=True, websocket=True, connections=3, per_origin=2"
    configuration = made(tmp_path, f"http_client(generic_stack(), {options})")
    names = modules(configuration)
    assert {"libos/web/cookie_jar.py", "libos/web/client_websocket.py", "libos/http/websocket.py"} <= names
    assert "libos/hal/inflate.py" not in names
    assert "_inflate" not in configuration.resolution.builtins
    assert "connections=3, per_origin=2" in text(configuration)


def test_client_with_tls_has_a_client_of_it_and_no_server(tmp_path: Path) -> None:
    names = modules(made(tmp_path, f"https_client(generic_stack(), trust=None, pins=[{PIN}])"))
    assert {"libos/app/tls.py", "libos/tls/client.py", "libos/tls/x509/verify.py"} <= names
    assert not names & {"libos/tls/server.py", "libos/tls/server13.py", "libos/web/server.py"}


@pytest.mark.parametrize(
    ("client", "message"),
    [
        ("https_client(generic_stack(), trust=None)", "it would trust nobody"),
        ("https_client(generic_stack(), trust='nothing.pem')", "nothing.pem"),
        ("https_client(generic_stack(), trust=None, pins=['x'])", "is not a pin"),
        ("https_client(generic_stack(), client_key='k.pem')", "client_key without client_certificate"),
        ("http_client(generic_stack(), connections=0)", "connections=0"),
        ("http_client(generic_stack(), per_origin='6')", "per_origin='6'"),
        ("http_client()", "stack"),
        ("http_client(generic_stack(), trust='system')", "trust"),
    ],
)
def test_what_is_no_client_is_refused(tmp_path: Path, client: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(tmp_path, client)
