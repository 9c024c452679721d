# SPDX-License-Identifier: MIT
"""The 82599 in a config.py: its settings as numbers and as keys, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mirage_py.configure.codegen import configure
from mirage_py.configure.devices.ixgbe import ixgbe
from mirage_py.configure.request import Request
from mirage_py.support.errors import UserError

CONFIG = """
from mirage_py.configure.devices.ixgbe import ixgbe
from mirage_py.dsl import generic_stack, key, register, unikernel
register("app", unikernel("app.App", generic_stack(ixgbe({settings}))))
"""
APP = """
class App:
    def __init__(self, stack):
        self.stack = stack

    async def start(self):
        await self.stack.listen()
"""


def main_of(directory: Path, settings: str, **values: str) -> str:
    (directory / "config.py").write_text(CONFIG.format(settings=settings))
    (directory / "app.py").write_text(APP)
    plan = configure(Request(directory / "config.py", None, "hvt", dict(values))).plan
    return next(file.text for file in plan.files if file.path == "mirage/main.py")


def device_line(text: str) -> str:
    return next(line for line in text.splitlines() if "= Ixgbe(" in line)


def test_settings_are_arguments_of_the_driver(tmp_path: Path) -> None:
    line = device_line(main_of(tmp_path, "queues=4, mtu=9000, coalesce=False"))
    for argument in ("queues=4", "mtu=9000", "coalesce=False"):
        assert argument in line
    assert "queues" not in device_line(main_of(tmp_path, ""))


def test_queues_may_be_a_key_of_configure_or_a_boot_argument(tmp_path: Path) -> None:
    configured = 'queues=key("nic-queues", type="int", default=2, stage="configure")'
    assert "queues=2" in device_line(main_of(tmp_path, configured))
    assert "queues=8" in device_line(main_of(tmp_path, configured, **{"nic-queues": "8"}))
    booted = device_line(main_of(tmp_path, 'queues=key("nic-queues", type="int", default=2)'))
    assert "queues=" in booted
    assert "queues=2" not in booted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queues": 17}, r"ixgbe: queues=17; give a whole number from 1 to 16"),
        ({"queues": 0}, r"ixgbe: queues=0; "),
        ({"queues": True}, r"ixgbe: queues=True; "),
        ({"mtu": 9001}, r"ixgbe: mtu=9001; give a whole number from 68 to 9000"),
        ({"mtu": "1500"}, r"ixgbe: mtu='1500'; "),
    ],
)
def test_settings_that_the_card_does_not_have_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ixgbe(**settings)
