# SPDX-License-Identifier: MIT
"""The wheel, installed alone in a new environment, builds the same images: elsewhere, and as an ordinary user."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirage_py.build import build, sources
from mirage_py.configure.codegen import configure
from mirage_py.configure.request import Request
from mirage_py.support import paths
from mirage_py.support.cache import Cache
from mirage_py.support.progress import Progress
from tests.conftest import REQUIRE_ALL, need

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300

pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.xdist_group("packaging")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert result.returncode == 0, result.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_all_that_is_needed_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, prefix in (
        (ROOT / "targets", "mirage_py/_data/targets"),
        (ROOT / "templates", "mirage_py/_data/templates"),
        (ROOT / "mirage_py", "mirage_py"),
    ):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{prefix}/{path.relative_to(folder).as_posix()}" in names
    assert all(name.startswith(("mirage_py/", "mirage_py-")) for name in names)
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


@dataclass
class Installed:
    """An environment with the wheel, and a user to work in it."""

    environment: Path
    home: Path
    user: int | None

    def run(self, *command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            env={
                "HOME": str(self.home),
                "PATH": f"{self.environment / 'bin'}:/usr/bin:/bin",
                "MIRAGE_PY_MICROPYTHON": str(self.home / "micropython"),
            },
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    def application(self, name: str, *options: str) -> Path:
        """A configured and made copy of an example."""
        folder = self.home / f"wörk dir {name} {'-'.join(options)}"
        folder.mkdir()
        for path in (ROOT / "examples" / name).glob("*.py"):
            shutil.copy(path, folder)
        if self.user is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, self.user, self.user)
        self.run("configure", *options, cwd=folder)
        self.run("make", cwd=folder)
        return folder


def can_run(python: str, user: int | None) -> bool:
    """Whether the user may run this Python, and it has our version (the wheels at hand are for it)."""
    script = f"import ensurepip, venv, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        return subprocess.run([python, "-c", script], user=user, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Installed]:
    need("gcc", "gcc")
    wheels = paths.cache_dir() / "wheels" / f"cp{sys.version_info.major}{sys.version_info.minor}"
    if not wheels.is_dir() and not REQUIRE_ALL:
        pytest.skip("the wheels of the dependencies are not in the cache: make setup")
    base = os.path.realpath(sys.executable)
    nobody = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    choices = [(python, user) for user in (nobody, None) for python in ("/usr/bin/python3", base)]
    python, user = next(choice for choice in choices if can_run(*choice))
    # Not pytest's folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="mirage-py-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        environment = folder / "new environment"
        subprocess.run([python, "-m", "venv", environment], check=True, timeout=TIMEOUT_S)
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels]
        subprocess.run([*pip, wheel], check=True, timeout=TIMEOUT_S, env={"PATH": os.defpath, "HOME": name})
        home = folder / "hömé dir"
        home.mkdir()
        source = sources.obtain(
            sources.MICROPYTHON, Cache(progress=Progress(quiet=True)), sources.given_directory(None)
        )
        shutil.copytree(source, home / "micropython")
        if user is not None:
            os.chown(home, user, user)
        yield Installed(environment, home, user)


def test_the_installed_tool_is_not_this_checkout(installed: Installed) -> None:
    script = "import mirage_py.support.paths as p; print(p.__file__); print(p.targets_dir()); print(p.templates_dir())"
    result = installed.run("python", "-c", script, cwd=installed.home)
    assert all(Path(line).is_relative_to(installed.environment) for line in result.stdout.splitlines())


@pytest.mark.parametrize("target", ["unix", "hvt"])
def test_hello_of_the_wheel_is_the_image_of_the_checkout(installed: Installed, tmp_path: Path, target: str) -> None:
    folder = installed.application("hello", "-t", target)
    image = next(path for path in (folder / "dist").iterdir() if path.suffix != ".debug")
    for path in (ROOT / "examples" / "hello").glob("*.py"):
        shutil.copy(path, tmp_path)
    configure(Request(tmp_path / "config.py", None, target)).plan.apply()
    assert image.read_bytes() == build.build(tmp_path, progress=Progress(quiet=True)).read_bytes()
    if target == "unix":
        assert installed.run(image, "--count", "1", cwd=folder).stdout == "hello\n"


@pytest.mark.parametrize(
    "options", [("-t", "unix", "--net", "direct"), ("-t", "unix", "--net", "socket"), ("-t", "hvt")]
)
def test_the_three_builds_of_the_echo_server(installed: Installed, options: tuple[str, ...]) -> None:
    folder = installed.application("echo", *options)
    names = {path.name for path in (folder / "dist").iterdir()}
    assert names == ({"echo.hvt", "echo.hvt.debug"} if "hvt" in options else {"echo", "echo.debug"})
    # Nothing to do, and done as the same user.
    installed.run("make", cwd=folder)
    # The cache is the user's own.
    assert (installed.home / ".cache" / "mirage-py" / "runtime").is_dir()
