# SPDX-License-Identifier: MIT
"""http_server(...) in a config.py: which devices, ports and modules come of it."""

import json
from pathlib import Path

import pytest

from mirage_py.configure.codegen import Configuration, configure
from mirage_py.configure.request import Request
from mirage_py.support.errors import UserError

APP = """
class App:
    def __init__(self, *devices):
        pass
    async def start(self):
        pass
"""
# What stands in for TLS has its name, and what a stack offers.
TLS = """
class Tls:
    tcp = udp = None
    def __init__(self, stack):
        self.stack = stack
    def listen(self):
        pass
"""


def configured(folder: Path, devices: str, target: str = "unix") -> Configuration:
    (folder / "app.py").write_text(APP)
    (folder / "tls_device.py").write_text(TLS)
    (folder / "config.py").write_text(
        "from mirage_py.dsl import *\n"
        'TLS = Kind(name="tls", offers=STACK, implementation="tls_device.Tls", arguments={"stack": STACK})\n'
        f'register("app", unikernel("app.App", {devices}))\n'
    )
    return configure(Request(folder / "config.py", None, target))


def main_file(configuration: Configuration) -> str:
    return next(file.text for file in configuration.plan.files if file.path == "mirage/main.py")


def modules(configuration: Configuration) -> set[str]:
    manifest = next(file.text for file in configuration.plan.files if file.path == "mirage/manifest.json")
    return {module["name"] for module in json.loads(manifest)["modules"]}


@pytest.mark.parametrize("target", ["unix", "hvt"])
def test_a_server_is_on_8080_and_its_port_is_forwarded(tmp_path: Path, target: str) -> None:
    configuration = configured(tmp_path, "http_server(generic_stack())", target)
    assert 'HttpServer(stack0, log0, clock0, port=KEYS["port"], health="/health")' in main_file(configuration)
    assert configuration.note["ports"] == [{"proto": "tcp", "key": "port", "port": 8080}]


def test_what_is_not_asked_for_is_not_in_the_image(tmp_path: Path) -> None:
    plain = modules(configured(tmp_path, "http_server(generic_stack())"))
    assert "libos/web/server.py" in plain
    assert not {"libos/web/metrics.py", "libos/web/access.py", "libos/web/redirect.py"} & plain
    assert not {"libos/http/client.py", "libos/web/client.py", "libos/http/cookies.py"} & plain
    full = configured(tmp_path, "http_server(TLS(generic_stack()), https_only=True, metrics=True, access_log=True)")
    assert {"libos/web/metrics.py", "libos/web/access.py", "libos/web/redirect.py"} <= modules(full)


def test_on_tls_it_is_on_8443_and_may_send_everybody_there(tmp_path: Path) -> None:
    configuration = configured(tmp_path, "http_server(TLS(generic_stack()), https_only=True, metrics='/counters')")
    text = main_file(configuration)
    assert 'redirect0 = Redirect(stack0, log0, clock0, port=KEYS["http-port"])' in text
    assert 'metrics0 = Metrics(path="/counters")' in text
    assert "server0 = HttpServer(tls0, log0, clock0, " in text
    assert "hsts_s=31536000" in text
    ports = {port["key"]: port["port"] for port in configuration.note["ports"]}
    assert ports == {"port": 8443, "http-port": 8080}


def test_a_port_of_one_s_own_and_two_servers(tmp_path: Path) -> None:
    configuration = configured(tmp_path, "http_server(generic_stack(), port=80, health=None)")
    assert configuration.note["ports"][0]["port"] == 80
    assert "health" not in main_file(configuration)
    both = configured(tmp_path, 'http_server(TLS(generic_stack())), http_server(generic_stack(), group="plain")')
    assert {port["key"]: port["port"] for port in both.note["ports"]} == {"port": 8443, "plain-port": 8080}


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        ("http_server(generic_stack(), https_only=True)", "is on a stack without TLS"),
        ('http_server(generic_stack(), health="health")', "health='health' is not a path"),
        ('http_server(generic_stack(), metrics="m")', "metrics='m' is not a path"),
        ("http_server(generic_stack(), port=70000)", "--port: 70000 is not a TCP port"),
        ("http_server(console())", "argument stack must offer stack, and console offers console"),
        ("http_server(generic_stack()), http_server(TLS(generic_stack()))", "two devices have the key --port"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, call: str, cause: str) -> None:
    with pytest.raises(UserError) as caught:
        configured(tmp_path, call)
    assert cause in caught.value.cause
    assert caught.value.remedy


def test_an_application_s_own_port_comes_first(tmp_path: Path) -> None:
    configuration = configured(
        tmp_path, 'http_server(generic_stack()), keys=[key("echo-port", type="tcp_port", default=7)]'
    )
    assert [port["key"] for port in configuration.note["ports"]] == ["echo-port", "port"]
