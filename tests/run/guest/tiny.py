# SPDX-License-Identifier: MIT
"""Builds the tiny guest, with a note like an application's, and runs the tool on it in processes of their own."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mirage_py.build import elf

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "guest.c"
CFLAGS = [
    *("-m32", "-Os", "-Wall", "-Wextra", "-Werror", "-mgeneral-regs-only", "-ffreestanding", "-fno-pic", "-fno-pie"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none"),
    *("-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096"),
    "-Wl,-Ttext=0x100000,--section-start=.note=0x110000,--section-start=.note.mirage=0x111000",
]

NETWORK_NOTE: dict[str, Any] = {
    "net": "direct",
    "devices": [
        {
            "name": "pci0",
            "kind": "pci_device",
            "bus": "pci",
            "vendor": 0x1AF4,
            "device": [0x1041, 0x1000],
            "driver": "virtio_net",
            "network": "net0",
            "keys": {"ipv4": "ipv4", "ipv4-gateway": "ipv4-gateway"},
        }
    ],
    "ports": [{"proto": "tcp", "key": "port", "port": 7}],
    "keys": {"runtime": [{"name": "ipv4"}, {"name": "ipv4-gateway"}, {"name": "port"}]},
}


@functools.cache
def missing() -> str | None:
    """Why the tiny guest cannot run here, None when it can."""
    for tool in ("gcc", "qemu-system-x86_64"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    return None


def build(path: Path, **note: Any) -> Path:
    """Compile the guest to `path` with a note that says `note`; its name is "tiny" unless said otherwise."""
    document = {"format": 1, "name": "tiny", "target": "hvt", "devices": [], "ports": [], "keys": [], **note}
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "note.s"
        source.write_text(elf.note_assembly(document))
        subprocess.run(["gcc", *CFLAGS, "-o", str(path), str(SOURCE), str(source)], check=True, timeout=60)
    return path


RUN = """
import sys
from pathlib import Path
from mirage_py.support.errors import UserError
from mirage_py.run import commands
from mirage_py.run.options import RunOptions
arguments = eval(sys.argv[1])
try:
    sys.exit(commands.run(RunOptions(**arguments)))
except UserError as error:
    print(f"mirage-py: error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


def run_command(image: Path, *guest_args: str, **options: Any) -> list[str]:
    """A command that calls commands.run: without the command line, which others own."""
    arguments = {"image": image, "guest_args": list(guest_args), **options}
    text = repr(arguments).replace("PosixPath(", "Path(")
    return [sys.executable, "-c", RUN, text]


def run(image: Path, *guest_args: str, stdin: bytes = b"", **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the guest to its end."""
    command = run_command(image, *guest_args, **options)
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
