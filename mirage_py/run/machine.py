# SPDX-License-Identifier: MIT
"""Choosing QEMU, the accelerator and the machine type by looking at what this computer has and the image needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mirage_py.run import private_qemu
from mirage_py.support.cache import Cache
from mirage_py.support.errors import UserError

DEFAULT_QEMU = "qemu-system-x86_64"
MINIMUM_QEMU = (7, 2)
MODEL_QEMU = (10, 1)  # has vfio-user-pci
VERSION_TIMEOUT_S = 10
QEMU_REMEDY = "install it: `sudo apt install qemu-system-x86`, or name one with --qemu"

CPUINFO = Path("/proc/cpuinfo")
KVM = Path("/dev/kvm")

# What no unikernel uses and the firmware would look for: q35 starts 10 ms sooner without.
_MACHINE_PROPERTIES = {
    "q35": ("sata=off", "smbus=off", "usb=off", "vmport=off", "hpet=off"),
    "pc": ("smbus=off", "usb=off", "vmport=off", "hpet=off"),
}


@dataclass(frozen=True)
class Qemu:
    """A QEMU binary that was found to run."""

    path: str
    version: tuple[int, int]


def find_qemu(name: str | None) -> str:
    """The path of the QEMU binary. Raises UserError when there is none."""
    wanted = name or DEFAULT_QEMU
    path = shutil.which(wanted)
    if path is None:
        raise UserError(f"{wanted} is not there or cannot be executed", QEMU_REMEDY)
    return path


def probe_qemu(name: str | None) -> Qemu:
    """Find QEMU and ask its version. Raises UserError when it is missing, does not start, or is too old."""
    path = find_qemu(name)
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{path} does not start ({error})", QEMU_REMEDY) from None
    match = re.search(r"version (\d+)\.(\d+)", said.stdout)
    if match is None:
        detail = (said.stderr or said.stdout).strip().splitlines()
        raise UserError(f"{path} does not tell its version ({detail[0] if detail else 'no output'})", QEMU_REMEDY)
    version = int(match[1]), int(match[2])
    if version < MINIMUM_QEMU:
        raise UserError(
            f"{path} is QEMU {version[0]}.{version[1]}, too old", f"QEMU {MINIMUM_QEMU[0]}.{MINIMUM_QEMU[1]} or newer"
        )
    return Qemu(path, version)


def qemu_for_model(name: str | None, wanted_by: str = "the emulated 82599") -> str:
    """A QEMU that can attach a device outside itself (vfio-user): `name`, else the system's, else one in our cache.

    wanted_by: the card that needs it, for messages.
    Raises UserError when the one that was named is too old, or none can be had.
    """
    if name is None:
        try:
            found = probe_qemu(None)
        except UserError:
            found = None
        if found is None or found.version < MODEL_QEMU:
            try:
                return str(private_qemu.obtain(Cache()))
            except UserError as error:
                raise UserError(f"{wanted_by} cannot be attached: {error.cause}", error.remedy) from error
        return found.path
    found = probe_qemu(name)
    if found.version < MODEL_QEMU:
        raise UserError(
            f"{wanted_by} cannot be attached: {found.path} is QEMU {found.version[0]}.{found.version[1]}, "
            "too old for the emulated 82599",
            f"leave --qemu out, or name QEMU {MODEL_QEMU[0]}.{MODEL_QEMU[1]} or newer",
        )
    return found.path


def has_virtualisation() -> bool:
    """Whether the processor says vmx or svm. /dev/kvm alone may be an emulation, slower than TCG by far."""
    try:
        text = CPUINFO.read_text()
    except OSError:
        return False
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return flags is not None and not {"vmx", "svm"}.isdisjoint(flags[1].split())


def can_open_kvm() -> bool:
    """Whether this user may use /dev/kvm."""
    return os.access(KVM, os.R_OK | os.W_OK)


def choose_accelerator(wanted: str | None) -> str:
    """The accelerator: `wanted` where given, else KVM if it is real and ours, else TCG. Raises UserError."""
    if wanted == "kvm":
        if not has_virtualisation():
            raise UserError("--accel kvm: this processor offers no virtualisation (vmx or svm)", "leave --accel out")
        if not can_open_kvm():
            raise UserError(f"--accel kvm: {KVM} cannot be opened", "`sudo adduser $USER kvm`, then log in again")
    if wanted is not None:
        return wanted
    return "kvm" if has_virtualisation() and can_open_kvm() else "tcg"


def cpu_model(accelerator: str) -> str:
    """The -cpu value; both have RDRAND, the guest's source of entropy."""
    return "host" if accelerator == "kvm" else "max"


def choose_machine(wanted: str | None, *, needs_pci: bool) -> str:
    """The -machine value: `wanted` where given, else q35 for an image with PCI devices and microvm for one without."""
    kind = wanted or ("q35" if needs_pci else "microvm")
    properties = list(_MACHINE_PROPERTIES.get(kind, ()))
    if kind == "microvm" and needs_pci:
        properties.append("pcie=on")
    return ",".join((kind, *properties))
