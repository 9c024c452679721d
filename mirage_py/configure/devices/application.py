# SPDX-License-Identifier: MIT
"""The application: the device on top."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices.signatures import APPLICATION
from mirage_py.configure.keys import RUNTIME, Key
from mirage_py.support.errors import UserError


def application(implementation: str, devices: Sequence[Node], keys: Sequence[Key]) -> Device:
    """The application whose class `implementation` ("echo.Echo") is made with these devices and keys.

    The class gets the devices in order, then each key by name ('-' becomes '_').
    """
    for node in devices:
        if not isinstance(node, Node):
            raise UserError(f"unikernel: {node!r} is not a device", "give devices, then keys=[...]")
    for key in keys:
        if not isinstance(key, Key):
            raise UserError(f"unikernel: {key!r} is not a key", 'make it with key("name", ...)')
    twice = [key.name for index, key in enumerate(keys) if key.name in {other.name for other in keys[:index]}]
    if twice:
        raise UserError(f"unikernel: the key {twice[0]!r} occurs twice", "give each key a name of its own")
    module, _, name = str(implementation).rpartition(".")
    kind = Kind(
        name=module or str(implementation),
        local="application",
        offers=APPLICATION,
        implementation=implementation,
        doc="the application",
        arguments={f"device{number}": node.offers for number, node in enumerate(devices)},
        keys={key.parameter: key for key in keys if key.stage == RUNTIME},
        settings={key.parameter: key for key in keys if key.stage != RUNTIME},
    )
    local = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return kind(*devices, local=f"{local}_" if keyword.iskeyword(local) else local)
