# SPDX-License-Identifier: MIT
"""Debian packages unpacked into a folder of ours, by apt with a state of its own: no root, and the system unchanged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_TIMEOUT_S = 900


class PackageError(Exception):
    """apt or dpkg did not do what was asked; the text is its own last lines."""


def _run(command: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=APT_TIMEOUT_S,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        raise PackageError(f"{' '.join(command[:4])}: {' '.join(done.stderr.splitlines()[-3:])}")
    return done.stdout


def mirror() -> str:
    """The Debian mirror that this system's apt uses already. Raises PackageError where it uses none."""
    sites = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).split()
    plain = [site for site in sites if site.rstrip("/").endswith("/debian")]
    if not plain:
        raise PackageError("apt has no package lists of a Debian mirror here: run `apt-get update` first")
    return plain[0].rstrip("/")


class Suite:
    """One Debian suite, seen by an apt that thinks nothing is installed yet.

    directory: keeps the lists and the downloaded packages; may be deleted at any time.
    """

    def __init__(self, suite: str, directory: Path) -> None:
        self.suite = suite
        self.directory = directory
        self.archives = directory / "cache" / "archives"
        self.config = directory / "apt.conf"

    def update(self) -> None:
        """Fetch the suite's package lists. Raises PackageError without a network."""
        for folder in ("etc", "state/lists/partial", "cache/archives/partial"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        (self.directory / "etc" / "sources.list").write_text(
            f"deb [signed-by={KEYRING}] {mirror()} {self.suite} main\n"
        )
        (self.directory / "state" / "status").touch()
        self.config.write_text(
            f'Dir::Etc::sourcelist "{self.directory}/etc/sources.list";\n'
            'Dir::Etc::sourceparts "-";\n'
            f'Dir::State "{self.directory}/state";\n'
            f'Dir::State::status "{self.directory}/state/status";\n'
            f'Dir::Cache "{self.directory}/cache";\n'
            'APT::Install-Recommends "false";\n'
            'APT::Architecture "amd64";\n'
            'APT::Sandbox::User "";\n'
            'Debug::NoLocking "true";\n'
        )
        self._apt("apt-get", "-q", "update")

    def _apt(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        return _run([tool, *arguments], {"APT_CONFIG": str(self.config)}, cwd)

    def dependency(self, package: str, prefix: str) -> str:
        """The name of the package that `package` depends on and that begins with `prefix`."""
        for line in self._apt("apt-cache", "depends", package).splitlines():
            name = line.partition(":")[2].strip()
            if "Depends:" in line and name.startswith(prefix):
                return name
        raise PackageError(f"{package} in {self.suite} depends on nothing that begins with {prefix}")

    def unpack(self, package: str, root: Path, *, closure: bool = False) -> str:
        """Unpack `package` (with all that it depends on, when `closure`) into `root`; its version."""
        folder = self.directory / "packages" / package
        folder.mkdir(parents=True, exist_ok=True)
        if closure:
            self._apt(
                "apt-get", "-q", "-y", "--download-only", "-o", f"Dir::Cache::archives={folder}/", "install", package
            )
        else:
            self._apt("apt-get", "-q", "download", package, cwd=folder)
        root.mkdir(parents=True, exist_ok=True)
        for archive in sorted(folder.glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(archive), str(root)])
        version = self._apt("apt-cache", "show", "--no-all-versions", package)
        return next(line.split()[1] for line in version.splitlines() if line.startswith("Version:"))
