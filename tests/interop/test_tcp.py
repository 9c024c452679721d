# SPDX-License-Identifier: MIT
"""TCP between Linux's clients and servers and the application: curl, nc, iperf3, with every octet accounted for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.interop import marks, pattern, servers
from tests.interop.guest import Guest
from tests.interop.network import Family, Namespace

pytestmark = marks.UNIX
IPERF3_BYTES = 40_000_000


def curl(near: Namespace, *arguments: str, timeout_s: float = 60.0) -> str:
    """curl's output; it fails the test when it fails, and by itself after `timeout_s`."""
    need("curl", "curl")
    return near.run("curl", "-sS", "--max-time", str(timeout_s), *arguments, check=True, timeout_s=timeout_s + 5).stdout


def fetch(near: Namespace, url: str, target: Path, *options: str) -> bytes:
    """The body that curl gets from `url`."""
    curl(near, *options, "-o", str(target), url)
    return target.read_bytes()


@pytest.mark.parametrize("count", [0, 1, 1447, 1448, 1449, 65536, 5_000_001])
def test_curl_gets_a_body_of_a_given_length(guest: Guest, family: Family, tmp_path: Path, count: int) -> None:
    body = fetch(guest.near, f"http://{family.in_url}/pattern/{count}", tmp_path / "body")
    assert body == pattern.octets(count)


def test_curl_gets_a_body_in_chunks(guest: Guest, family: Family, tmp_path: Path) -> None:
    assert fetch(guest.near, f"http://{family.in_url}/chunked/300001", tmp_path / "body") == pattern.octets(300_001)


def test_curl_gets_a_body_that_ends_with_the_connection(guest: Guest, family: Family, tmp_path: Path) -> None:
    assert fetch(guest.near, f"http://{family.in_url}/close", tmp_path / "body") == b"until the end\n"


def test_curl_asks_again_on_one_connection(guest: Guest, family: Family) -> None:
    url = f"http://{family.in_url}/pattern/1000"
    said = curl(guest.near, *[word for _ in range(10) for word in ("-o", "/dev/null", url)], "-w", "%{num_connects} ")
    assert said.split() == ["1"] + ["0"] * 9


def test_curl_uploads_after_100_continue(guest: Guest, family: Family, tmp_path: Path) -> None:
    file = pattern.file(tmp_path / "file", 3_000_000)
    said = curl(guest.near, "-T", str(file), "-H", "Expect: 100-continue", "-v", f"http://{family.in_url}/upload")
    assert json.loads(said) == {"octets": 3_000_000, "sha256": pattern.digest(3_000_000)}


def test_curl_uploads_in_chunks(guest: Guest, family: Family, tmp_path: Path) -> None:
    file = pattern.file(tmp_path / "file", 1_000_003)
    flags = ["-X", "POST", "-H", "Transfer-Encoding: chunked", "-T", str(file)]
    said = curl(guest.near, *flags, f"http://{family.in_url}/upload")
    assert json.loads(said) == {"octets": 1_000_003, "sha256": pattern.digest(1_000_003)}


def test_twenty_curls_at_once(guest: Guest, family: Family, tmp_path: Path) -> None:
    url = f"http://{family.in_url}/pattern/[100000-100019]"
    curl(guest.near, "--parallel", "--parallel-immediate", "--parallel-max", "20", "-o", f"{tmp_path}/#1", url)
    for count in range(100_000, 100_020):
        assert (tmp_path / str(count)).read_bytes() == pattern.octets(count)


def test_application_is_the_client_of_an_http_server(guest: Guest, family: Family, tmp_path: Path) -> None:
    pattern.file(tmp_path / "file", 2_000_000)
    with servers.http(guest.near, tmp_path, family.near) as port:
        got = guest.order("get", family.near, port, "/file")
        missing = guest.order("get", family.near, port, "/nothing")
    assert got == {"status": 200, "octets": 2_000_000, "sha256": pattern.digest(2_000_000)}
    assert missing["status"] == 404


@pytest.mark.parametrize("count", [1, 100_000, 2_000_000])
def test_nc_sends_ends_and_gets_it_all_back(guest: Guest, family: Family, count: int) -> None:
    file = pattern.octets(count)
    done = subprocess.run(
        [*guest.near.prefix, need("nc", "netcat-openbsd"), "-N", "-w", "10", family.guest, "7"],
        input=file,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == file


@contextmanager
def listening_nc(near: Namespace, family: Family, port: int, folder: Path) -> Iterator[Path]:
    """nc, listening for one connection; the file with what it gets."""
    got = folder / "got"
    flag = "-6" if ":" in family.near else "-4"
    with servers.listening(near, [need("nc", "netcat-openbsd"), flag, "-l", family.near, str(port)], port, got):
        yield got


def test_nc_listens_and_the_application_connects(guest: Guest, family: Family, tmp_path: Path) -> None:
    with listening_nc(guest.near, family, 4100, tmp_path) as got:
        assert guest.order("send", family.near, 4100, 1_500_000)["sent"] == 1_500_000
    assert got.read_bytes() == pattern.octets(1_500_000)


def test_port_where_nobody_listens_is_refused_both_ways(guest: Guest, family: Family) -> None:
    assert guest.order("refused", family.near, 4101) == {"errno": 111}
    done = guest.near.run("nc", "-w", "5", "-v", family.guest, "4101")
    assert "refused" in done.stderr, done.stderr


def iperf3(near: Namespace, family: Family, *options: str) -> dict[str, Any]:
    """iperf3 as client; its report."""
    command = [need("iperf3", "iperf3"), "-c", family.guest, "-J", "--connect-timeout", "5000", *options]
    done = near.run(*command, timeout_s=90)
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, report.get("error", done.stderr)
    assert "error" not in report, report["error"]
    return report


@pytest.mark.parametrize("streams", [1, 4])
def test_iperf3_sends_to_us(guest: Guest, family: Family, streams: int) -> None:
    end = iperf3(guest.near, family, "-n", str(IPERF3_BYTES), "-P", str(streams))["end"]
    assert end["sum_received"]["bytes"] == end["sum_sent"]["bytes"] >= IPERF3_BYTES


@pytest.mark.parametrize("streams", [1, 4])
def test_iperf3_receives_from_us(guest: Guest, family: Family, streams: int) -> None:
    end = iperf3(guest.near, family, "-n", str(IPERF3_BYTES), "-P", str(streams), "-R")["end"]
    # What was on its way when the client had enough is in the sender's count only.
    assert end["sum_sent"]["bytes"] >= end["sum_received"]["bytes"] >= IPERF3_BYTES


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("streams", [1, 3])
def test_we_are_iperf3s_client(guest: Guest, family: Family, tmp_path: Path, direction: str, streams: int) -> None:
    with servers.iperf3(guest.near, family.near, tmp_path) as port:
        result = guest.order("iperf3", family.near, port, IPERF3_BYTES // streams, direction, streams)
    ours, theirs = sum(result["ours"]), sum(result["theirs"])
    if direction == "forward":
        assert ours == theirs == IPERF3_BYTES // streams * streams
    else:
        assert theirs >= ours >= IPERF3_BYTES // streams * streams


def test_a_second_iperf3_client_is_told_that_the_server_is_busy(guest: Guest, family: Family, tmp_path: Path) -> None:
    command = [need("iperf3", "iperf3"), "-c", family.guest, "-t", "3", "-b", "1M", "--forceflush"]
    first = guest.near.popen(command, tmp_path / "first")
    try:
        servers.wait_for_text(tmp_path / "first", "connected", 10)
        second = guest.near.run("iperf3", "-c", family.guest, "-n", "1M")
        assert "busy" in second.stdout + second.stderr
        assert first.wait(20) == 0
    finally:
        servers.end(first)
