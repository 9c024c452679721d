# SPDX-License-Identifier: MIT
"""Building: what ends in the image, what is done again and what is not, and what is left when it fails."""

import errno
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirage_py.build import build, elf, frozen, mpy_tool, runtime, sources
from mirage_py.configure.codegen import configure
from mirage_py.configure.request import Request
from mirage_py.support import paths, process
from mirage_py.support.cache import Cache
from mirage_py.support.errors import UserError
from mirage_py.support.progress import Progress
from tests.conftest import need

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples" / "hello"

pytestmark = pytest.mark.build


@pytest.fixture(autouse=True)
def _toolchain() -> None:
    for program, package in (("gcc", "gcc"), ("make", "make"), ("strip", "binutils")):
        need(program, package)


@pytest.fixture
def quiet() -> Progress:
    return Progress(quiet=True)


def configured(folder: Path, target: str = "unix") -> Path:
    """A copy of examples/hello in `folder`, configured."""
    folder.mkdir(parents=True)
    for path in HELLO.glob("*.py"):
        shutil.copy(path, folder)
    configure(Request(folder / "config.py", None, target)).plan.apply()
    return folder


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    return configured(tmp_path / "hällo world")


def change(hello: Path, text: str = "changed") -> None:
    source = hello / "hello.py"
    source.write_text(source.read_text().replace('write("hello', f'write("{text}'))


def run(image: Path, *arguments: str) -> str:
    return subprocess.run([image, *arguments], capture_output=True, text=True, timeout=30, check=True).stdout


def in_dist(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "dist").iterdir())


# --- the image --------------------------------------------------------------------------------------------------------


def test_a_unix_image_runs_and_says_what_it_is(hello: Path, quiet: Progress) -> None:
    image = build.build(hello, progress=quiet)
    assert image == hello / "dist" / "hello"
    assert run(image, "--count", "2", "--pause", "1ms") == "hello\nhello\n"
    note = elf.read_note(image)
    assert note is not None
    assert (note["name"], note["target"], note["net"]) == ("hello", "unix", "none")
    assert in_dist(hello) == ["hello", "hello.debug"]


@pytest.mark.parametrize(
    "names",
    [
        ["x" * 250, "y" * 255, "back\\slash"],
        ["new\nline", " a 'b' \"c\" $HOME $(x) #%:;,=@`*?\t", "-v", os.fsdecode(b"\xff")],
    ],
)
def test_no_directory_has_a_name_that_is_in_the_way(tmp_path: Path, quiet: Progress, names: list[str]) -> None:
    folder = tmp_path.joinpath(*names)
    folder.parent.mkdir(parents=True)
    assert run(build.build(configured(folder), progress=quiet), "--count", "2", "--pause", "1ms") == "hello\nhello\n"


SPELLINGS = {
    "hello": "\ufefffrom __future__ import annotations, division, generator_stop\r\n"
    "from typing import TYPE_CHECKING, Any, Optional, Tuple, cast\r\n"
    "import spelt\r\n"
    "if TYPE_CHECKING:\r\n    from nowhere import Something\r\n"
    "Pair = Tuple[int, Optional[Any]] | None\r\n"
    "class Hello:\r\n"
    "    def __init__(self, console: Something, clock, count: Nothing[int] = 1, pause: 'Never' = 1) -> Other:\r\n"
    "        self.console: Unknown = console\r\n"
    "    async def start(self) -> None:\r\n"
    "        try:\r\n            spelt.late()\r\n        except ImportError as error:\r\n"
    "            self.console.write('%s\\n' % error)\r\n"
    "        try:\r\n            list(spelt.generator())\r\n        except RuntimeError:\r\n"
    "            self.console.write('%s %s %s\\n' % (1 // 2, cast(int, spelt.TEXT), TYPE_CHECKING))\r\n",
    "spelt": "# coding: latin-1\nTEXT = 'gr\xfc\xdfe'\ndef late():\n    a = 1\n\x0c    import absent\n"
    "def generator():\n\tyield 1\n\traise StopIteration\n",
}


def test_sources_mean_in_the_guest_what_they_mean_to_python(hello: Path, quiet: Progress) -> None:
    (hello / "hello.py").write_text(SPELLINGS["hello"], encoding="utf-8", newline="")
    (hello / "spelt.py").write_text(SPELLINGS["spelt"], encoding="latin-1", newline="")
    configure(Request(hello / "config.py", None, "unix")).plan.apply()
    image = build.build(hello, progress=quiet)
    assert run(image) == "no module named 'absent'\n0 grüße False\n"


def test_floats_of_any_size_are_constants(hello: Path, quiet: Progress) -> None:
    (hello / "hello.py").write_text(
        "class Hello:\n    def __init__(self, console, clock, count, pause):\n        self.console = console\n"
        "    async def start(self):\n"
        "        self.console.write('%s\\n' % ((1e100, -1e39, 1e999, -1e999, 1e-300, 0.1, 1.5, (2.0, 3e38)),))\n"
    )
    configure(Request(hello / "config.py", None, "unix")).plan.apply()
    assert run(build.build(hello, progress=quiet)) == "(1e+100, -1e+39, inf, -inf, 1e-300, 0.1, 1.5, (2.0, 3e+38))\n"


def test_another_mpy_tool_than_the_pinned_one_is_noticed() -> None:
    with pytest.raises(ValueError, match="not once but 0 times"):
        mpy_tool.changed("print()")
    assert [mpy_tool.c_float(value) for value in (1.5, -0.0, 1e300, math.nan)] == [
        "1.5",
        "-0.0",
        "1e+300",
        '__builtin_nan("")',
    ]


def test_an_hvt_image_keeps_the_promises(tmp_path: Path, quiet: Progress) -> None:
    image = build.build(configured(tmp_path / "app", "hvt"), progress=quiet)
    assert image.name == "hello.hvt"
    elf.check(image, "hvt")
    names = {section.name for section in elf.section_sizes(image)}
    assert {".text", ".rodata", ".bss"} <= names


def test_sizes_are_known_for_every_module_with_code(hello: Path, quiet: Progress) -> None:
    image = build.build(hello, progress=quiet)
    application = build.load(hello, Path("/unused"))
    sizes = elf.module_sizes(image.with_name("hello.debug"), [module.name for module in application.modules])
    expected = {module.name for module in application.modules if "__init__" not in module.name}
    assert expected <= set(sizes)
    assert sizes["hello.py"] > 50


def test_a_verbose_build_tells_what_takes_how_much(hello: Path) -> None:
    stream = io.StringIO()
    build.build(hello, progress=Progress(verbose=True, stream=stream))
    lines = stream.getvalue().splitlines()
    assert any(line.endswith(" .text") for line in lines)
    assert any(line.endswith(" libos/hal/loop.py") for line in lines)


def test_an_image_without_network_contains_no_network_code(hello: Path, quiet: Progress) -> None:
    content = build.build(hello, progress=quiet).read_bytes()
    for name in (b"hello.py", b"libos/hal/clock.py"):
        assert name in content
    for name in (b"libos/net", b"libos/wire", b"libos/driver"):
        assert name not in content


def test_the_same_application_elsewhere_gives_the_same_image(tmp_path: Path, quiet: Progress) -> None:
    images = [build.build(configured(tmp_path / name), progress=quiet) for name in ("one", "another place ö")]
    assert images[0].read_bytes() == images[1].read_bytes()


def test_an_assertion_and_its_line_survive_in_the_application(hello: Path, quiet: Progress) -> None:
    source = hello / "hello.py"
    source.write_text(source.read_text().replace("for turn in", "assert self.count == 77\n        for turn in"))
    image = build.build(hello, progress=quiet)
    result = subprocess.run([image], capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    line = source.read_text()[: source.read_text().index("assert")].count("\n") + 1
    assert f'File "hello.py", line {line}' in result.stdout + result.stderr
    assert "AssertionError" in result.stdout + result.stderr


# --- again ------------------------------------------------------------------------------------------------------------


def test_a_build_without_changes_touches_nothing(hello: Path, quiet: Progress) -> None:
    image = build.build(hello, progress=quiet)
    before = image.stat()
    # Times are nothing to go by.
    os.utime(hello / "hello.py")
    build.build(hello, progress=quiet)
    assert image.stat() == before


def test_a_change_is_in_the_next_image_and_undone_again(hello: Path, quiet: Progress) -> None:
    image = build.build(hello, progress=quiet)
    first = image.read_bytes()
    change(hello)
    build.build(hello, progress=quiet)
    assert run(image, "--count", "1") == "changed\n"
    shutil.copy(HELLO / "hello.py", hello)
    build.build(hello, progress=quiet)
    assert image.read_bytes() == first


def test_only_the_changed_module_is_compiled(hello: Path, quiet: Progress) -> None:
    build.build(hello, progress=quiet)
    compiled = {path.name: path.stat() for path in (hello / "mirage/build/mpy").iterdir()}
    change(hello)
    build.build(hello, progress=quiet)
    now = {path.name: path.stat() for path in (hello / "mirage/build/mpy").iterdir()}
    assert len(now) == len(compiled)
    assert sum(compiled.get(name) == status for name, status in now.items()) == len(compiled) - 1


@pytest.mark.parametrize("damage", ["image cut", "image gone", "symbols gone", "state cut", "folder gone"])
def test_what_was_damaged_is_built_again(hello: Path, quiet: Progress, damage: str) -> None:
    image = build.build(hello, progress=quiet)
    first = image.read_bytes()
    if damage == "image cut":
        image.write_bytes(first[: len(first) // 2])
    elif damage == "image gone":
        image.unlink()
    elif damage == "symbols gone":
        (hello / "dist" / "hello.debug").unlink()
    elif damage == "state cut":
        (hello / "mirage/build/state.json").write_text("{")
    else:
        shutil.rmtree(hello / "mirage" / "build")
    assert build.build(hello, progress=quiet).read_bytes() == first
    assert in_dist(hello) == ["hello", "hello.debug"]


def processor_seconds(folder: Path) -> float:
    """What a build costs: the time on the clock, on a machine that has nothing else to do."""
    before = os.times()
    subprocess.run([sys.executable, "-P", "-m", "mirage_py", "build"], cwd=folder, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.timing
def test_a_changed_line_takes_two_seconds_at_most_and_no_change_one(hello: Path, quiet: Progress) -> None:
    build.build(hello, progress=quiet)
    change(hello)
    assert processor_seconds(hello) <= 2
    assert processor_seconds(hello) <= 1


# --- errors -----------------------------------------------------------------------------------------------------------


def test_an_error_in_the_application_names_file_and_line_and_keeps_the_image(hello: Path, quiet: Progress) -> None:
    image = build.build(hello, progress=quiet)
    first = image.read_bytes()
    source = hello / "hello.py"
    source.write_text(source.read_text() + "\n\ndef f(x):\n    return x +\n")
    line = source.read_text().count("\n")
    with pytest.raises(UserError, match=rf"hello\.py:{line}: SyntaxError"):
        build.build(hello, progress=quiet)
    assert image.read_bytes() == first
    assert in_dist(hello) == ["hello", "hello.debug"]


def test_what_only_cpython_accepts_is_an_error_too(hello: Path, quiet: Progress) -> None:
    source = hello / "hello.py"
    source.write_text(source.read_text() + "\nmatch 1:\n    case 1:\n        pass\n")
    with pytest.raises(UserError, match=r"hello\.py:\d+: SyntaxError.*subset of Python"):
        build.build(hello, progress=quiet)
    assert not (hello / "dist").exists() or not in_dist(hello)


@pytest.mark.parametrize("name", ["hello", "hello.debug"])
@pytest.mark.parametrize("kind", ["text", "elf", "folder", "dangling link"])
def test_a_file_of_the_users_in_the_way_is_kept_and_named(hello: Path, quiet: Progress, name: str, kind: str) -> None:
    victim = hello / "dist" / name
    victim.parent.mkdir()
    if kind == "text":
        victim.write_text("mine")
    elif kind == "elf":
        shutil.copy("/bin/true", victim)
    elif kind == "folder":
        victim.mkdir()
    else:
        victim.symlink_to("nowhere")
    with pytest.raises(UserError, match=rf"dist/{name} is in the way.*move it away"):
        build.build(hello, progress=quiet)
    assert in_dist(hello) == [name]
    assert kind != "text" or victim.read_text() == "mine"


def test_a_file_called_dist_is_kept_and_named(hello: Path, quiet: Progress) -> None:
    (hello / "dist").write_text("mine")
    with pytest.raises(UserError, match="dist is in the way"):
        build.build(hello, progress=quiet)
    assert (hello / "dist").read_text() == "mine"


def test_nothing_configured_is_one_line(tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(UserError, match="nothing is configured in"):
        build.build(tmp_path, progress=quiet)


@pytest.mark.parametrize("name", ["config.json", "link.json", "manifest.json"])
@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 99}', '{"format": 1}', '{"format": 1, "modules": [{}]}']
)
def test_damaged_files_of_configure_are_one_line(hello: Path, quiet: Progress, name: str, content: str) -> None:
    (hello / "mirage" / name).write_text(content)
    with pytest.raises(UserError, match="run `mirage-py configure` again"):
        build.build(hello, progress=quiet)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of its own with links to everything that a build runs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gcc", "make", "objcopy", "strip", "as", "ld", "python3"):
        (folder / name).symlink_to(shutil.which(name) or "/nowhere")
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize(("program", "package"), [("gcc", "gcc"), ("strip", "binutils"), ("make", "make")])
def test_a_missing_program_names_its_package(
    hello: Path, quiet: Progress, programs: Path, program: str, package: str
) -> None:
    (programs / program).unlink()
    with pytest.raises(UserError, match=f"{program} is not installed; install the package {package}"):
        build.build(hello, progress=quiet)


def fake_gcc(programs: Path, script: str) -> None:
    """A gcc that answers --version like the real one and else does `script`."""
    real = (programs / "gcc").resolve()
    (programs / "gcc").unlink()
    (programs / "gcc").write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {real} --version\n{script}\n')
    (programs / "gcc").chmod(0o755)


def test_a_compiler_on_a_full_disk_is_one_line(hello: Path, quiet: Progress, programs: Path) -> None:
    build.build(hello, progress=quiet)
    change(hello)
    fake_gcc(programs, "echo 'fatal error: error writing to x.s: No space left on device' >&2; exit 1")
    with pytest.raises(UserError, match="the disk is full"):
        build.build(hello, progress=quiet)


def test_a_missing_static_c_library_names_its_package(hello: Path, quiet: Progress, programs: Path) -> None:
    build.build(hello, progress=quiet)
    change(hello)
    fake_gcc(programs, "echo '/usr/bin/ld: cannot find -lc: No such file or directory' >&2; exit 1")
    with pytest.raises(UserError, match="install the package libc6-dev"):
        build.build(hello, progress=quiet)


def test_a_write_error_of_our_own_is_one_line(hello: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "frozen_content.c")

    monkeypatch.setattr(frozen, "freeze", full)
    with pytest.raises(UserError, match=r"the disk is full: cannot write frozen_content\.c"):
        build.build(hello, progress=quiet)


def test_a_disk_that_is_really_full_leaves_no_image(hello: Path, quiet: Progress) -> None:
    build.build(hello, progress=quiet)
    shutil.rmtree(hello / "dist")
    (hello / "dist").mkdir()
    script = f"""
        mount -t tmpfs -o size=400k none "{hello}/dist" || exit 99
        cd "{hello}"; "{sys.executable}" -P -m mirage_py build; code=$?
        ls -A dist; exit $code
    """
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    if result.returncode == 99 or "unshare" in result.stderr:
        pytest.skip("mounting needs CAP_SYS_ADMIN")
    assert result.returncode == 1
    assert result.stdout == ""
    # What takes longer than a second is said: the first build with a new runtime, on a busy machine any.
    (error,) = [line for line in result.stderr.splitlines() if not line.endswith(" ...") and ": done in " not in line]
    assert "the disk is full" in error


# --- interrupted ------------------------------------------------------------------------------------------------------


def heeding_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def interrupted(hello: Path, quiet: Progress, programs: Path) -> Iterator[subprocess.Popen[str]]:
    """A build, of an image that is there already in another version, that hangs in the compiler."""
    build.build(hello, progress=quiet)
    change(hello)
    real = (programs / "gcc").resolve()
    marker = hello / "compiling"
    fake_gcc(programs, f'echo $$ > "{marker}"\n/bin/sleep 60\nexec {real} "$@"')
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mirage_py", "build"],
        cwd=hello,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Not as whoever started the tests in the background, or by nohup, had them.
        preexec_fn=heeding_signals,  # noqa: PLW1509 (no threads here)
    )
    deadline = time.monotonic() + 120
    while not (marker.exists() and marker.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process
    process.kill()
    process.communicate()


def compiler_is_gone(hello: Path) -> bool:
    """Whether the hanging compiler ended (soon). Whoever inherited it may take longer to notice (state Z)."""
    status = Path("/proc") / (hello / "compiling").read_text().strip() / "stat"
    for _ in range(200):
        try:
            if status.read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_build_ends_in_one_line_and_keeps_the_image(
    hello: Path, interrupted: subprocess.Popen[str], number: signal.Signals
) -> None:
    first = (hello / "dist" / "hello").read_bytes()
    interrupted.send_signal(number)
    output, _ = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 128 + number
    assert "Traceback" not in output
    assert f"the build was interrupted ({number.name})" in output.splitlines()[-1]
    assert (hello / "dist" / "hello").read_bytes() == first
    assert in_dist(hello) == ["hello", "hello.debug"]
    assert compiler_is_gone(hello)


def test_a_killed_build_keeps_the_image_and_the_next_one_works(
    hello: Path,
    interrupted: subprocess.Popen[str],
    quiet: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = (hello / "dist" / "hello").read_bytes()
    interrupted.kill()
    interrupted.communicate(timeout=60)
    os.kill(int((hello / "compiling").read_text()), signal.SIGKILL)
    assert (hello / "dist" / "hello").read_bytes() == first
    monkeypatch.setenv("PATH", os.defpath)
    assert run(build.build(hello, progress=quiet), "--count", "1") == "changed\n"


def test_two_builds_at_once_both_succeed(hello: Path, quiet: Progress) -> None:
    build.build(hello, progress=quiet)
    change(hello)
    command = [sys.executable, "-P", "-m", "mirage_py", "build"]
    both = [subprocess.Popen(command, cwd=hello, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    assert [process.communicate(timeout=60) and process.returncode for process in both] == [0, 0]
    assert run(hello / "dist" / "hello", "--count", "1") == "changed\n"


@pytest.mark.parametrize("name", ["dist/hello", "mirage/build"])
def test_clean_says_what_it_cannot_remove(hello: Path, quiet: Progress, name: str) -> None:
    build.build(hello, progress=quiet)
    if subprocess.run(["chattr", "+i", hello / name], capture_output=True, check=False).returncode != 0:
        pytest.skip("this file system, or this user, has no files that nobody may remove")
    try:
        with pytest.raises(UserError, match=rf"cannot remove .*{name}: .*; make its directory writable"):
            build.clean(hello)
    finally:
        subprocess.run(["chattr", "-i", hello / name], check=True)
    build.clean(hello)
    assert not (hello / name).exists()


def test_clean_removes_what_building_made_and_nothing_else(hello: Path, quiet: Progress) -> None:
    image = build.build(hello, progress=quiet)
    (image.parent / "notes.txt").write_text("mine")
    shutil.copy("/bin/true", image.parent / "true")
    removed = build.clean(hello)
    assert image in removed
    assert in_dist(hello) == ["notes.txt", "true"]
    assert not (hello / "mirage" / "build").exists()
    assert (hello / "mirage" / "config.json").exists()
    assert build.clean(hello) == []


# --- the runtime ------------------------------------------------------------------------------------------------------


@pytest.fixture
def private(tmp_path: Path) -> Cache:
    """An empty cache of our own, at a path that makefiles cannot cope with."""
    return Cache(tmp_path / "käsch dir", Progress(stream=io.StringIO()))


@pytest.fixture
def tree(quiet: Progress) -> Path:
    """MicroPython's source, out of the user's cache."""
    return sources.obtain(sources.MICROPYTHON, Cache(progress=quiet), sources.given_directory(None))


def test_the_environment_does_not_change_the_runtime(
    private: Cache, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CFLAGS": "-bogus", "MAKEFLAGS": "n", "TARGET": "x", "BUILD": "/x", "CPATH": "/x"}.items():
        monkeypatch.setenv(name, value)
    made = runtime.obtain("unix", [], private, tree)
    assert made.archive.stat().st_size > 100_000
    assert "-bogus" not in made.flags("cflags")
    # Nothing in it says where it was made, so that the cache may move.
    moved = private.root.with_name("moved")
    private.root.rename(moved)
    monkeypatch.undo()
    again = runtime.obtain("unix", [], Cache(moved, Progress(quiet=True)))
    assert again.folder.is_relative_to(moved)
    assert (again.folder / "mpy" / "py" / "runtime.h").is_file()


def test_a_damaged_runtime_is_compiled_again(private: Cache, tree: Path) -> None:
    made = runtime.obtain("unix", [], private, tree)
    # Which shows, too, that a runtime made again is the same.
    content = made.archive.read_bytes()
    made.archive.write_bytes(content[:1000])
    assert runtime.obtain("unix", [], private, tree).archive.read_bytes() == content
    stream = private.progress.stream
    assert isinstance(stream, io.StringIO)
    assert "was damaged; made it again" in stream.getvalue()


def test_an_error_in_the_runtime_is_one_line_and_the_log_is_kept(
    private: Cache, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = tmp_path / "targets"
    shutil.copytree(paths.targets_dir(), targets)
    with (targets / "common" / "modmirage.c").open("a") as file:
        file.write("\nint broken(void) { return nonsense; }\n")
    monkeypatch.setattr(paths, "targets_dir", lambda: targets)
    with pytest.raises(UserError, match=r"common/modmirage\.c:\d+:\d+: error: .*nonsense.*see .*runtime-build\.log"):
        runtime.obtain("unix", [], private, tree)
    assert "nonsense" in (private.root / "runtime-build.log").read_text()
    assert not list((private.root / "tmp").iterdir())


def test_the_key_depends_on_everything_that_the_runtime_does() -> None:
    keys = {
        runtime.runtime_key("unix", ["net"], "digest", "gcc 12"),
        runtime.runtime_key("hvt", ["net"], "digest", "gcc 12"),
        runtime.runtime_key("unix", ["net", "socket"], "digest", "gcc 12"),
        runtime.runtime_key("unix", ["net"], "other", "gcc 12"),
        runtime.runtime_key("unix", ["net"], "digest", "gcc 14"),
    }
    assert len(keys) == 5
    assert runtime.runtime_key("unix", ["b", "a"], "d", "g") == runtime.runtime_key("unix", ["a", "b"], "d", "g")


def test_the_key_of_a_runtime_with_cryptography_depends_on_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> tuple[str, str]:
        return (
            runtime.runtime_key("unix", ["net"], "digest", "gcc 12"),
            runtime.runtime_key("unix", ["crypto", "net"], "digest", "gcc 12"),
        )

    plain, with_cryptography = keys()
    for name in ("NSS", "BEARSSL"):
        with monkeypatch.context() as patch:
            patch.setattr(sources, name, sources.MICROPYTHON)
            assert keys()[0] == plain
            assert keys()[1] != with_cryptography
    assert runtime.further_sources(["net", "socket"]) == ()


def test_a_program_that_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match="sh did not finish in 0 s"):
        process.run(["sh", "-c", "sleep 60 & wait"], package="dash", timeout_s=0.2)
    assert time.monotonic() - started < 5
