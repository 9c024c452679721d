# SPDX-License-Identifier: MIT
"""mirage_py.run.machine: what is chosen by looking, with a computer that is made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirage_py.run import machine
from mirage_py.support.errors import UserError


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


# --- a QEMU that attaches devices outside itself ---


NEW, OLD = "echo 'QEMU emulator version 10.1.2'", "echo 'QEMU emulator version 10.0.9'"


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Puts a QEMU that runs `script` into the path, or none; and says what fetching another one does."""

    def make(script: str | None, fetched: Path | UserError) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        if script is not None:
            path = folder / machine.DEFAULT_QEMU
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin" if script is not None else str(folder))

        def obtain(cache: object) -> Path:
            if isinstance(fetched, UserError):
                raise fetched
            return fetched

        monkeypatch.setattr(machine.private_qemu, "obtain", obtain)

    return make


def test_model_takes_the_systems_qemu_where_it_is_new_enough(system, tmp_path: Path) -> None:
    system(NEW, UserError("must not be asked"))
    assert machine.qemu_for_model(None) == str(tmp_path / "bin" / machine.DEFAULT_QEMU)


@pytest.mark.parametrize("script", [OLD, None, "exit 1"])
def test_model_takes_the_caches_qemu_where_the_systems_will_not_do(system, script: str | None) -> None:
    system(script, Path("/cache/qemu"))
    assert machine.qemu_for_model(None) == "/cache/qemu"


@pytest.mark.parametrize("script", [OLD, None])
def test_where_neither_works_the_card_is_named_and_what_to_do(system, script: str | None) -> None:
    system(script, UserError("it is not in the cache, and the network is down", "connect once"))
    with pytest.raises(UserError, match=r"pci0 \(ixgbe\) cannot be attached: .*network is down") as refusal:
        machine.qemu_for_model(None, "pci0 (ixgbe)")
    assert refusal.value.remedy == "connect once"
    if script == OLD:
        # What needs no such QEMU goes on with the system's.
        assert machine.probe_qemu(None).version == (10, 0)


def test_qemu_that_was_named_is_taken_or_refused(tmp_path: Path, system) -> None:
    system(None, UserError("must not be asked"))
    assert machine.qemu_for_model(fake(tmp_path, NEW)) == str(tmp_path / "qemu-system-fake")
    with pytest.raises(UserError, match=r"QEMU 10\.0, too old") as refusal:
        machine.qemu_for_model(fake(tmp_path, OLD))
    assert "10.1 or newer" in refusal.value.remedy
