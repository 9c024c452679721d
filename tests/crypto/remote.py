# SPDX-License-Identifier: MIT
"""The primitives of an image, called from a test: the hal's objects by proxy, over a process's input and output."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libos.tls.crypto import Crypto
from mirage_py.build import frozen, runtime
from mirage_py.configure.resolver import APPLICATION, MICROPYTHON, Trees, resolve_imports
from mirage_py.support import paths
from tests.contract import images
from tests.tls.reference_crypto import Random

PROGRAMS = Path(__file__).with_name("programs")


def link(program: str, folder: Path, features: Sequence[str] = ("crypto",), programs: Path = PROGRAMS) -> Path:
    """An executable for unix, made in `folder`, of a program and all that it imports."""
    engine = images.obtain("unix", features)
    roots = {APPLICATION: programs, MICROPYTHON: engine.source}
    source = programs / f"{program}.py"
    resolution = resolve_imports(source.read_text(), Trees(programs, paths.guest_dir()))
    modules = [frozen.Module("main.py", source, "app")]
    for module in resolution.modules:
        if module.name != "main.py":
            root = roots.get(module.origin, paths.guest_dir())
            modules.append(frozen.Module(module.name, root / module.path, module.origin))
    compiled = frozen.compile_modules([frozen.read(module) for module in modules], folder / "mpy")
    frozen_c, image = folder / "frozen_content.c", folder / "image"
    frozen.freeze(compiled, engine, frozen_c)
    command = [runtime.COMPILER, *engine.flags("cflags"), "-O0", "-g0", "-w", frozen_c, engine.archive]
    command += runtime.module_flags(resolution.builtins, ())
    subprocess.run([*command, *engine.flags("ldflags"), "-o", image], cwd=engine.working_directory, check=True)
    return image


def encode(value: Any) -> str:
    """One word of programs/agent.py."""
    if value is None or isinstance(value, bool):
        return {None: "N", True: "T", False: "F"}[value]
    if isinstance(value, bytearray):
        return "a" + value.hex()
    if isinstance(value, bytes | memoryview):
        return "b" + bytes(value).hex()
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, Proxy):
        return value.name
    return f"s{value}"


class Agent:
    """A process that has all primitives. Its exceptions are raised here by the same names."""

    ERRORS = {error.__name__: error for error in (ValueError, TypeError, RuntimeError, MemoryError)}  # noqa: RUF012

    def __init__(self, image: Path) -> None:
        self.process = subprocess.Popen([image], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, target: str, method: str, *arguments: Any, prefix: str = "") -> Any:
        """The call's result. prefix: "starved" for a call without memory."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join([prefix, target, method, *map(encode, arguments)]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().rstrip("\n")
        if line[:1] == "!":
            name, _, text = line[1:].partition(" ")
            raise self.ERRORS.get(name, AssertionError)(text or name)
        return self._decode(line)

    def _decode(self, word: str) -> Any:
        kind, rest = word[:1], word[1:]
        if kind == "(":
            return tuple(self._decode(item) for item in rest.split(","))
        if kind == "o":
            return Proxy(self, word)
        if kind in "TFN":
            return {"T": True, "F": False, "N": None}[kind]
        return {"b": bytes.fromhex, "i": int, "s": str}[kind](rest)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Proxy:
    """An object of the agent's. What is no method is read at once."""

    VALUES = ("names", "digest_size", "block_size")

    def __init__(self, agent: Agent, name: str) -> None:
        self.agent = agent
        self.name = name

    def __getattr__(self, method: str) -> Any:
        if method[:1] == "_":
            raise AttributeError(method)
        if method in self.VALUES:
            return self.agent.call(self.name, method)
        return lambda *arguments: self.agent.call(self.name, method, *arguments)


def remote_crypto(agent: Agent) -> Crypto:
    """`Crypto` over the primitives of the agent."""
    names = ("hashes", "aeads", "x25519", "p256", "p384", "mlkem768", "rsa", "ed25519")
    return Crypto(Random(), *[Proxy(agent, name) for name in names])
