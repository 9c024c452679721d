# SPDX-License-Identifier: MIT
"""Makes .venv with this checkout in it. Run by any Python >= 3.11; needs nothing but the standard library.

The wheels are kept in the tool's cache: another checkout, or the same one after `make distclean`, needs no network.
"""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
TIMEOUT_S = 1200


def cache_dir() -> Path:
    """The same folder as mirage_py.support.paths.cache_dir(), which cannot be imported yet."""
    override = os.environ.get("MIRAGE_PY_CACHE")
    if override:
        return Path(override).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mirage-py"


def pip(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [VENV / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", *words]
    return subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
    )


def fail(cause: str, result: subprocess.CompletedProcess[str]) -> None:
    lines = result.stderr.splitlines() or [f"exit code {result.returncode}"]
    # pip calls a package that it could not ask for a conflict of versions: the connection comes first.
    for sign in ("certificate verify failed", "connection broken", "Could not fetch URL", "ERROR"):
        found = [line for line in lines if sign in line]
        if found:
            reason = found[0].removeprefix("ERROR: ") if sign == "ERROR" else f"no connection to the index ({sign})"
            sys.exit(f"set-up: error: {cause}: {reason}")
    sys.exit(f"set-up: error: {cause}: {lines[-1]}")


def has_pip() -> bool:
    python = VENV / "bin" / "python"
    if not python.exists():
        return False
    return subprocess.run([python, "-c", "import pip"], check=False, capture_output=True).returncode == 0


def main() -> None:
    if not has_pip():
        shutil.rmtree(VENV, ignore_errors=True)
        print(f"set-up: making .venv with Python {sys.version.split()[0]}", flush=True)
        venv.create(VENV, with_pip=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = project["dependencies"] + project["optional-dependencies"]["dev"]
    wheels = cache_dir() / "wheels" / f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheels.mkdir(parents=True, exist_ok=True)
    install = ("install", "--no-index", "--find-links", wheels, "-c", CONSTRAINTS, *requirements)
    if pip(*install).returncode != 0:
        print("set-up: fetching the Python packages", flush=True)
        fetched = pip("wheel", "--wheel-dir", wheels, "-c", CONSTRAINTS, *requirements)
        if fetched.returncode != 0:
            fail("the Python packages are not in the cache and pip could not fetch them", fetched)
        installed = pip(*install)
        if installed.returncode != 0:
            fail("pip could not install the Python packages", installed)
    # The build back end is there already, so that pip need not fetch one for the purpose.
    installed = pip("install", "--no-index", "--no-build-isolation", "--no-deps", "--editable", ROOT)
    if installed.returncode != 0:
        fail("pip could not install this checkout", installed)


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"set-up: error: {error}")
