# SPDX-License-Identifier: MIT
"""mirage_py.run.options: what is refused without looking at the machine."""

from __future__ import annotations

import pytest

from mirage_py.run.options import Forward, RunOptions, check, parse_publish
from mirage_py.support.errors import UserError


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("8080:80", Forward(8080, 80)),
        ("8080:80/tcp", Forward(8080, 80)),
        ("0.0.0.0:5353:53/udp", Forward(5353, 53, "0.0.0.0", "udp")),
    ],
)
def test_publish_well_formed(text: str, forward: Forward) -> None:
    assert parse_publish(text) == forward


@pytest.mark.parametrize(
    "text",
    ["", "80", "80:", ":80", "0:80", "80:65536", "a:80", "80:80/sctp", "80:80/", "host:80:80", "1.2.3:80:80", "٣:80"],
)
def test_publish_malformed(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_publish(text)
    assert "HOST_PORT:GUEST_PORT" in refusal.value.remedy


@pytest.mark.parametrize(
    "options",
    [
        {"memory_mb": 0},
        {"machine": "vax"},
        {"accel": "hax"},
        {"gdb": 70000},
        {"name": "../x", "detach": True},
        {"name": "x"},
        {"tap": ["tap0", "a/b"]},
        {"tap": ["pci0=sixteen-letters-"]},
    ],
)
def test_contradictions_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError) as refusal:
        check(RunOptions(**options))  # type: ignore[arg-type]
    assert refusal.value.remedy


def test_defaults_pass() -> None:
    check(RunOptions())
