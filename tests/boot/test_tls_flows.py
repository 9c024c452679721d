# SPDX-License-Identifier: MIT
"""TLS flows, streams over TLS, the modules ssl and tls: in the three builds, beside CPython's ssl."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.boot import guests
from tests.boot.guests import APPS, GUEST_IP, HOST_IP, Guest, Namespace
from tests.tls import engines

pytestmark = [pytest.mark.build, pytest.mark.slow]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root")
PEER = Path(__file__).with_name("tls_peer.py")
VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


@dataclass
class Secure:
    guest: Guest
    ca: Path
    host: str  # this computer, as the guest sees it

    def command(self, scenario: str, host: str, port: int, **options: object) -> list[str]:
        flags = [f"--{name}={value}" for name, value in {"ca": self.ca, **options}.items()]
        return [*self.guest.prefix, sys.executable, str(PEER), scenario, host, str(port), *flags]

    def run(self, scenario: str, port: int = 443, **options: object) -> dict[str, Any]:
        command = self.command(scenario, self.guest.host, self.guest.ports[port], **options)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout, f"{done.stderr}\nguest said:\n{self.guest.text()}"
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def order(self, text: str) -> str:
        return str(self.run("ask", 9, text=text)["answer"])

    def counters(self) -> dict[str, int]:
        found: dict[str, int] = ast.literal_eval(self.order("counters"))
        return found


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("socket", marks=pytest.mark.xdist_group("processes")),
        pytest.param("direct", marks=[NEEDS_ROOT, pytest.mark.tap, pytest.mark.xdist_group("processes")]),
        pytest.param("hvt", marks=[pytest.mark.qemu, pytest.mark.xdist_group("machine")]),
    ],
)
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    kind = request.param
    source = tmp_path_factory.mktemp("source") / "sealed"
    directory = tmp_path_factory.mktemp("secure") / kind
    shutil.copytree(APPS / "sealed", source)
    certificate = engines.certificate_pem("p256", ("localhost",))
    pem = engines.key_pem("p256") + certificate
    (source / "ca.pem").write_bytes(certificate)
    (source / "site.pem").write_bytes(pem)
    (source / "site.pem").chmod(0o600)
    (source / "pems.py").write_text(f"PEM = {pem!r}\n")
    ca, ports = source / "ca.pem", {443, 444, 9}
    if kind == "socket":
        binary = guests.build(source, directory, "-t", "unix", "--net", "socket")
        with guests.start_socket(binary, {"port": 443, "ssl-port": 444, "control-port": 9}) as guest:
            yield Secure(guest, ca, "127.0.0.1")
    elif kind == "direct":
        binary = guests.build(source, directory, "-t", "unix", "--net", "direct")
        with Namespace() as namespace:
            command = [str(binary), "--interface", "tap0", "--ipv4", f"{GUEST_IP}/24"]
            with guests.started(command, ports, prefix=namespace.prefix, host=GUEST_IP) as guest:
                yield Secure(guest, ca, HOST_IP)
    else:
        image = guests.build(source, directory, "-t", "hvt")
        with guests.start_hvt(image, ports) as guest:
            yield Secure(guest, ca, "10.0.2.2")


@VERSIONS
def test_sizes_come_back_and_sessions_resume(secure: Secure, version: str) -> None:
    before = secure.counters()
    result = secure.run("echo", version=version)
    assert result["wrong"] == []
    assert result["version"] == f"TLSv{version}"
    assert result["resumed"] == [False, True]
    after = secure.counters()
    assert after["handshakes"] - before["handshakes"] == 2
    assert after["resumed"] - before["resumed"] == 1
    assert after["truncated"] == before["truncated"]


@VERSIONS
def test_streams_with_a_context(secure: Secure, version: str) -> None:
    result = secure.run("line", 444, version=version)
    assert result["answer"] == "HELLO\n"
    assert result["version"] == f"TLSv{version}"


def test_name_is_the_certificates(secure: Secure) -> None:
    assert "Hostname mismatch" in secure.run("name", name="example.org")["refused"]


@VERSIONS
@pytest.mark.parametrize("way", ["connect", "ssl"])
def test_guest_as_a_client(secure: Secure, version: str, way: str) -> None:
    address = HOST_IP if secure.host == HOST_IP else "127.0.0.1"
    command = secure.command("serve", address, 0, version=version, count=3)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        answers = [secure.order(f"{way} {secure.host} {port} localhost") for _ in range(2)]
        assert all(answer.startswith("from the guest\n") for answer in answers), answers
        assert ("TLS_ECDHE" in answers[0]) == (version == "1.2")
        if way == "connect":
            assert [answer.split()[-1] for answer in answers] == ["False", "True"]
        refused = secure.order(f"{way} {secure.host} {port} example.org")
        assert refused == "OSError: certificate: the certificate is for localhost, not for example.org"
        assert server.wait(30) == 0
    finally:
        server.kill()


def test_what_is_no_tls_gets_an_alert(secure: Secure) -> None:
    before = secure.counters()["failures"]
    assert secure.run("garbage")["answer"].startswith("150303000202")  # fatal
    assert secure.counters()["failures"] > before


def test_silent_clients_are_bounded_and_timed_out(secure: Secure) -> None:
    before = secure.counters()
    count = 60 if secure.host == "10.0.2.2" else 150
    result = secure.run("silent", count=count)
    assert result["healthy"]
    assert result["ended"] == count
    after = secure.counters()
    dropped = after["half_open_dropped"] - before["half_open_dropped"]
    # QEMU's user-mode network lets them in slowly, under TCG: the first have timed out when the last come.
    assert dropped > 0 or secure.host == "10.0.2.2"
    assert dropped + after["handshake_timeouts"] - before["handshake_timeouts"] == count


@VERSIONS
def test_idle_connection_takes_less_than_8_kb(secure: Secure, version: str) -> None:
    count = 20 if secure.host == "10.0.2.2" else 100
    options = {"count": count, "text": secure.guest.ports[9]}
    plain = secure.run("idle", **options)["each"]
    each = secure.run("idle", version=version, **options)["each"]
    print(f"{each:.0f} octets, {plain:.0f} of them TCP's")
    # A connection of our own stack is in the heap as well.
    assert plain + 1000 < each < 8000 + (0 if secure.host == "127.0.0.1" else plain)


def test_heap_is_flat_after_many_handshakes(secure: Secure) -> None:
    count = 5 if secure.host == "10.0.2.2" else 20
    for _ in range(3):
        secure.run("echo")
    before = int(secure.order("heap"))
    for _ in range(count):
        secure.run("echo")
    assert int(secure.order("heap")) - before < 30_000
