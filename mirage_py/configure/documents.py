# SPDX-License-Identifier: MIT
"""The generated files other than main.py: Makefile, manifest.json, config.json, link.json with the image's note."""

from __future__ import annotations

import base64
import os
import sys
from typing import Any

from mirage_py.configure import config_file, embedded
from mirage_py.configure.device import HVT, NUMBER
from mirage_py.configure.devices.loop import REPL_FEATURE
from mirage_py.configure.devices.signatures import NETWORK
from mirage_py.configure.graph import Graph, Placed
from mirage_py.configure.render import as_json, guest_type, make_quoted, render
from mirage_py.configure.request import Request
from mirage_py.configure.resolver import Resolution
from mirage_py.support import generated

_ADDRESS_KEYS = ("dhcp", "ipv4", "ipv4-gateway")


class Documents:
    """The generated files other than main.py."""

    def __init__(
        self,
        request: Request,
        registration: config_file.Registration,
        graph: Graph,
        features: tuple[str, ...],
        resolution: Resolution,
    ) -> None:
        self.request = request
        self.registration = registration
        self.graph = graph
        self.features = features
        self.resolution = resolution

    @property
    def image(self) -> str:
        suffix = ".hvt" if self.graph.context.target == HVT else ""
        return f"dist/{self.registration.name}{suffix}"

    def makefile(self) -> str:
        # -P: a file of the application's must not hide a module of the tool's.
        tool = f"{make_quoted(sys.executable)} -P -m mirage_py"
        return render(
            "Makefile.j2", name=self.registration.name, target=self.graph.context.target, image=self.image, tool=tool
        )

    def manifest(self) -> str:
        modules = [{"name": m.name, "origin": m.origin, "path": m.path} for m in self.resolution.modules]
        return as_json({"format": generated.FORMAT, "modules": modules})

    def config(self) -> str:
        return as_json(
            {
                "format": generated.FORMAT,
                **self._choices(),
                "features": list(self.features),
                "memory_mb": self.registration.memory_mb,
                "ports": self._ports(),
                "devices": [
                    {
                        "name": placed.local,
                        "kind": placed.kind.name,
                        "module": placed.kind.module,
                        "class": placed.kind.class_name,
                        "args": [argument.local for argument in placed.arguments],
                        "local": placed.local,
                    }
                    for placed in self.graph.devices
                ],
                "hardware": self._hardware(),
                "keys": {
                    "configure": dict(self.graph.configured),
                    "runtime": self._runtime_keys(),
                },
                "request": {
                    "directory": os.path.relpath(self.request.directory, self.request.output_directory),
                    "config": self.request.config.name,
                    "values": dict(self.request.values),
                },
            }
        )

    def link(self) -> str:
        return as_json(
            {
                "format": generated.FORMAT,
                "target": self.graph.context.target,
                "features": list(self.features),
                "builtins": sorted(self.resolution.builtins),
                "output": self.image,
                "note": self.note(),
                **self._embedded(),
            }
        )

    @property
    def has_secret(self) -> bool:
        """Whether link.json, and the image, have something that nobody else may read."""
        values = embedded.collected(placed.settings for placed in self.graph.devices).values()
        return any(isinstance(value, embedded.Embedded) and value.is_secret for value in values)

    def _embedded(self) -> dict[str, Any]:
        """What goes into the image besides code; nothing is said where there is nothing."""
        values = embedded.collected(placed.settings for placed in self.graph.devices)
        entries = [
            {"name": name, "folder": value.path, "compress": value.compress}
            if isinstance(value, embedded.Folder)
            else {
                "name": name,
                "base64": base64.b64encode(value.content).decode(),
                **({"secret": True} if value.is_secret else {}),
            }
            for name, value in sorted(values.items())
        ]
        return {"embedded": entries} if entries else {}

    def note(self) -> dict[str, Any]:
        """What the image says about itself."""
        return {
            "format": generated.FORMAT,
            **self._choices(),
            "devices": self._hardware(),
            "ports": self._ports(),
            "memory_mb": self.registration.memory_mb,
            **({"repl": True} if REPL_FEATURE in self.features else {}),
            "keys": self._runtime_keys(),
        }

    def _choices(self) -> dict[str, Any]:
        kinds = {placed.kind.name for placed in self.graph.devices}
        networks = [placed.kind.name for placed in self.graph.devices if placed.kind.offers is NETWORK]
        nics = [kind.removesuffix("_net") for kind in networks if kind in ("tap", "virtio_net", "ixgbe")]
        net = "socket" if "sockets" in kinds else "direct" if networks else "none"
        return {
            "name": self.registration.name,
            "target": self.graph.context.target,
            "net": net,
            "nic": nics[0] if nics else "none",
        }

    def _hardware(self) -> list[dict[str, Any]]:
        return [
            {
                "name": placed.local,
                "kind": placed.kind.name,
                **placed.kind.hardware(self._settings(placed)),
                **self._purpose(placed),
            }
            for placed in self.graph.devices
            if placed.kind.hardware is not None
        ]

    def _settings(self, placed: Placed) -> dict[str, Any]:
        """The settings, with the numbers that the graph gave."""
        numbered = [name for name, what in placed.kind.derived.items() if what == NUMBER]
        return {**placed.settings, **{name: self.graph.number(placed, name) or None for name in numbered}}

    def _purpose(self, placed: Placed) -> dict[str, Any]:
        """Of a PCI function that is a network card: its driver, and the boot arguments of the stack on it, so that
        whoever attaches the card can tell the guest its addresses."""
        above = {placed}
        drivers = [other for other in self.graph.devices if placed in other.arguments]
        networks = [driver for driver in drivers if driver.kind.offers is NETWORK]
        if not networks:
            return {}
        keys: dict[str, str] = {}
        for other in self.graph.devices:
            if not above.isdisjoint(other.arguments):
                above.add(other)
                keys |= {
                    key.name: other.keys[name].name
                    for name, key in other.kind.keys.items()
                    if key.name in _ADDRESS_KEYS and name in other.keys
                }
        return {"driver": networks[0].kind.name, "network": networks[0].local, "keys": keys}

    def _ports(self) -> list[dict[str, Any]]:
        return [
            {"proto": key.type.removesuffix("_port"), "key": key.name, "port": key.default}
            # The application's own first: what `run` says of ports, it says of the first one.
            for placed in sorted(self.graph.devices, key=lambda placed: placed is not self.graph.application)
            for key in placed.keys.values()
            if key.type in ("tcp_port", "udp_port")
        ]

    def _runtime_keys(self) -> list[dict[str, Any]]:
        return [
            {"name": key.name, "type": guest_type(key), "default": key.spelled_default, "doc": key.doc}
            for key in self.graph.runtime_keys()
        ]
