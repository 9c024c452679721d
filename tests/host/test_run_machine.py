# SPDX-License-Identifier: MIT
"""mirage_py.run.machine: what is chosen by looking, with a computer that is made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirage_py.errors import UserError
from mirage_py.run import machine


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Set the processor's flags, and whether /dev/kvm can be opened."""
    cpuinfo, kvm = tmp_path / "cpuinfo", tmp_path / "kvm"
    monkeypatch.setattr(machine, "CPUINFO", cpuinfo)
    monkeypatch.setattr(machine, "KVM", kvm)

    def make(flags: str, *, has_kvm: bool) -> None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\nvmx flags\t: vnmi\n")
        if has_kvm:
            kvm.touch()

    return make


@pytest.mark.parametrize(
    ("flags", "has_kvm", "chosen"),
    [("vmx", True, "kvm"), ("svm", True, "kvm"), ("vmx", False, "tcg"), ("avx", True, "tcg"), ("vmxx", True, "tcg")],
)
def test_accelerator(computer, flags: str, has_kvm: bool, chosen: str) -> None:
    computer(flags, has_kvm=has_kvm)
    assert machine.choose_accelerator(None) == chosen
    assert machine.choose_accelerator("tcg") == "tcg"


@pytest.mark.parametrize(("flags", "cause"), [("avx", "no virtualisation"), ("vmx", "cannot be opened")])
def test_kvm_asked_for_and_not_there(computer, flags: str, cause: str) -> None:
    computer(flags, has_kvm=False)
    with pytest.raises(UserError, match=cause):
        machine.choose_accelerator("kvm")


@pytest.mark.parametrize(
    ("wanted", "needs_pci", "kind"),
    [
        (None, True, "q35"),
        (None, False, "microvm"),
        ("microvm", True, "microvm"),
        ("microvm", False, "microvm"),
        ("pc", False, "pc"),
    ],
)
def test_machine(wanted: str | None, needs_pci: bool, kind: str) -> None:
    chosen = machine.choose_machine(wanted, needs_pci=needs_pci).split(",")
    assert chosen[0] == kind
    assert ("pcie=on" in chosen) == (kind == "microvm" and needs_pci)


def fake(directory: Path, script: str) -> str:
    path = directory / "qemu-system-fake"
    path.write_text(f"#!/bin/sh\n{script}\n")
    os.chmod(path, 0o755)
    return str(path)


def test_qemu_found(tmp_path: Path) -> None:
    found = machine.probe_qemu(fake(tmp_path, "echo 'QEMU emulator version 11.1.3 (Debian)'"))
    assert found.version == (11, 1)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo 'QEMU emulator version 5.2.0'", "too old"),
        ("echo 'no such library' >&2; exit 127", "no such library"),
        ("true", "no output"),
    ],
)
def test_qemu_that_will_not_do(tmp_path: Path, script: str, cause: str) -> None:
    with pytest.raises(UserError, match=cause):
        machine.probe_qemu(fake(tmp_path, script))


def test_no_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as refusal:
        machine.probe_qemu(None)
    assert "apt install qemu-system-x86" in refusal.value.remedy
