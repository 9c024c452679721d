# SPDX-License-Identifier: MIT
"""What a built file says about itself: its ELF note, else the config.json that it was built by."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirage_py.build import elf
from mirage_py.run import cards
from mirage_py.run.cards import Card
from mirage_py.run.options import RunOptions
from mirage_py.support.errors import UserError

DEFAULT_MEMORY_MB = 16
_ELF_MAGIC = b"\x7fELF"


@dataclass(frozen=True)
class Port:
    """A port that the application listens on, as far as it was known when it was configured."""

    port: int
    proto: str
    key: str | None = None  # the runtime key that sets it


@dataclass(frozen=True)
class Image:
    """A built application: where it is and what it needs to run.

    cards: the PCI devices that it drives. memory_mb: what it is given; minimum_memory_mb: with less it does not start.
    has_power_button: it ends in order when the machine's is pressed.
    """

    path: Path
    name: str
    target: str
    net: str = "none"
    cards: tuple[Card, ...] = ()
    memory_mb: int = DEFAULT_MEMORY_MB
    minimum_memory_mb: int = 1
    has_power_button: bool = False
    ports: list[Port] = field(default_factory=list)
    keys: frozenset[str] = frozenset()
    defaults: dict[str, str] = field(default_factory=dict)

    @property
    def needs_network(self) -> bool:
        """Whether it drives a network interface of its own."""
        return self.net == "direct"


def _ports(document: dict[str, Any]) -> list[Port]:
    return [
        Port(int(entry["port"]), entry.get("proto", "tcp"), entry.get("key"))
        for entry in document.get("ports", ())
        if entry.get("port")
    ]


def from_document(path: Path, document: dict[str, Any]) -> Image:
    """The image at `path` out of its note's or its config.json's `document`; both have the same shape here."""
    keys = document.get("keys", {})
    runtime = keys.get("runtime", ()) if isinstance(keys, dict) else keys
    net = document.get("net") or ("direct" if document.get("devices") else "none")
    return Image(
        path=path,
        name=document["name"],
        target=document["target"],
        net=net,
        cards=cards.from_note(document.get("hardware") or document.get("devices", ())),
        memory_mb=int(document.get("memory_mb") or DEFAULT_MEMORY_MB),
        minimum_memory_mb=int(document.get("minimum_memory_mb") or 1),
        has_power_button=document.get("power_button") is True,
        ports=_ports(document),
        keys=frozenset(key["name"] for key in runtime),
        defaults={key["name"]: str(key["default"]) for key in runtime if key.get("default") is not None},
    )


def _read_config(output_dir: Path) -> dict[str, Any]:
    path = output_dir / "mirage" / "config.json"
    try:
        document = json.loads(path.read_text())
        _ = document["name"], document["target"]
    except FileNotFoundError:
        raise UserError(
            f"nothing is configured in {output_dir.absolute()}",
            "run `mirage-py configure -t hvt && make` there first, or name an image",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error})", "run `mirage-py configure` again") from None
    assert isinstance(document, dict)
    return document


def load(options: RunOptions) -> Image:
    """Find the image that `options` mean, and read what it needs.

    Raises UserError when nothing is configured or built there, or the file is not one of ours.
    """
    path = options.image
    if path is None:
        document = _read_config(options.output_dir)
        suffix = ".hvt" if document["target"] == "hvt" else ""
        path = options.output_dir / "dist" / f"{document['name']}{suffix}"
        if not path.exists():
            raise UserError(f"{path} is not built yet", "run `make` first")
    try:
        with path.open("rb") as file:
            magic = file.read(len(_ELF_MAGIC))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", "name what `make` built, as in dist/echo.hvt") from None
    if magic != _ELF_MAGIC:
        raise UserError(f"{path} is not an image (no ELF file)", "name what `make` built, as in dist/echo.hvt")
    note = elf.read_note(path)
    if note is not None:
        return from_document(path, note)
    # An image stripped of its note by other tools still runs from where it was built.
    beside = path.absolute().parent.parent
    if (beside / "mirage" / "config.json").exists():
        document = _read_config(beside)
        if path.name in (document["name"], f"{document['name']}.hvt"):
            return from_document(path, document)
    raise UserError(f"{path} is an ELF file but not one that mirage-py built", "name the image that `make` built")
