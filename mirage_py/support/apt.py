# SPDX-License-Identifier: MIT
"""Packages of another Debian release through apt, without root and without touching the system's own apt.

Everything that apt writes goes to a private folder (its lists, its status, its cache), and its only source is a list
made here: the mirror that the system's apt uses already, for one suite, verified with Debian's archive keyring. The
rest of apt's configuration (proxies, credentials, certificates) stays in force.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from mirage_py.support import process
from mirage_py.support.errors import UserError

_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
)
_UPDATE_TIMEOUT_S = 900
_QUERY_TIMEOUT_S = 60
_UNPACK_TIMEOUT_S = 120
_MIRRORS_MAX = 3
_OFFLINE = re.compile(
    r"Temporary failure|Could not resolve|Could not connect|Cannot initiate|Unable to connect|Network is unreachable"
    r"|Connection timed out|Connection refused|Failed to fetch"
)


def is_available() -> bool:
    """Whether this system has apt and Debian's keyring."""
    return shutil.which("apt-get") is not None and _keyring() is not None


def _keyring() -> Path | None:
    return next((path for path in _KEYRINGS if path.is_file()), None)


def mirrors() -> list[str]:
    """Addresses of the Debian mirrors that the system's apt uses, best first; empty when it uses none."""
    listed = process.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)", "Created-By: Packages"],
        package="apt",
        timeout_s=_QUERY_TIMEOUT_S,
    )
    found = [line.split()[0] for line in listed.stdout.splitlines() if line.split()[1:] == ["Debian", "Debian"]]
    if not found:
        # No package lists on this system yet: take the addresses that an update would ask.
        planned = process.run(
            ["apt-get", "update", "--print-uris", "-o", "Debug::NoLocking=1"],
            package="apt",
            timeout_s=_QUERY_TIMEOUT_S,
        )
        found = [match[1] for match in re.finditer(r"'([^']+)/dists/[^/']+/InRelease'", planned.stdout)]
    return _usable_mirrors(found)


def _usable_mirrors(addresses: Iterable[str]) -> list[str]:
    """The addresses of main archives among those, each once, with a final slash."""
    usable: list[str] = []
    for address in addresses:
        address = address.rstrip("/") + "/"
        if re.match(r"(https?|ftp|file|copy|mirror\+\w+|tor\+https?):", address) is None:
            continue
        if re.search(r"security|backports|debug|debian-ports|ubuntu", address) or address in usable:
            continue
        usable.append(address)
    return usable[:_MIRRORS_MAX]


class PrivateApt:
    """An apt of our own in `folder`; kind: "deb" or "deb-src".

    suites: such as "trixie"; of several ("trixie", "trixie-backports") packages come from the last one first.
    """

    def __init__(self, folder: Path, *suites: str, kind: str) -> None:
        self.folder = folder.absolute()
        self.suites = suites
        self.kind = kind

    def update(self) -> None:
        """Fetches the suite's lists. Raises UserError when there is no mirror, no network or no valid signature."""
        keyring = _keyring()
        if shutil.which("apt-get") is None or keyring is None:
            raise UserError("this system has no apt with Debian's archive keyring")
        addresses = mirrors()
        if not addresses:
            raise UserError("apt on this system uses no Debian mirror")
        failure = ""
        for address in addresses:
            self._write_configuration(address, keyring)
            result = self._apt("update", "--error-on=any")
            if result.code == 0:
                return
            failure = _explanation(result)
        raise UserError(f"apt could not fetch the package lists of Debian {self.suites[-1]}: {failure}")

    def download_source(self, package: str) -> list[Path]:
        """Downloads a source package's archive, not what describes it and Debian's changes to it; returns the files,
        in the private folder. Raises UserError."""
        target = self.folder / "download"
        target.mkdir(exist_ok=True)
        result = self._apt("source", "--download-only", "--only-source", "--tar-only", package, cwd=target)
        if result.code != 0:
            suite = self.suites[-1]
            raise UserError(f"apt could not fetch the source of {package} from {suite}: {_explanation(result)}")
        return sorted(path for path in target.iterdir() if path.is_file())

    def download_packages(self, *packages: str, closure: bool = True) -> list[Path]:
        """Downloads binary packages and, unless `closure` is off, all they depend on; the files. Raises UserError."""
        target = self.folder / "download"
        shutil.rmtree(target, ignore_errors=True)
        (target / "partial").mkdir(parents=True)
        if closure:
            # To an apt whose status is empty nothing is installed, so an "install" brings the whole closure.
            options = ["-y", "--download-only", "-o", f"Dir::Cache::archives={target}/", "-t", self.suites[-1]]
            result = self._apt(*options, "install", *packages)
        else:
            result = self._apt("download", *packages, cwd=target)
        if result.code != 0:
            raise UserError(f"apt could not fetch {' '.join(packages)}: {_explanation(result)}")
        return sorted(target.glob("*.deb"))

    def _write_configuration(self, address: str, keyring: Path) -> None:
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        sources = [f"{self.kind} [signed-by={keyring}] {address} {suite} main\n" for suite in self.suites]
        (self.folder / "sources.list").write_text("".join(sources), encoding="utf-8")
        (self.folder / "apt.conf").write_text(
            f"""\
Dir::Etc::sourcelist "{self.folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "{self.folder}/state";
Dir::State::status "/dev/null";
Dir::Cache "{self.folder}/cache";
APT::Architecture "amd64";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
APT::Sandbox::User "{_user_name()}";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
""",
            encoding="utf-8",
        )

    def _apt(self, *words: str, cwd: Path | None = None) -> process.Result:
        return process.run(
            ["apt-get", "-q", "-c", self.folder / "apt.conf", *words],
            package="apt",
            timeout_s=_UPDATE_TIMEOUT_S,
            cwd=cwd,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        )


def _user_name() -> str:
    # apt run by root would drop to a user of its own, which cannot write to a private folder.
    return "root" if os.geteuid() == 0 else ""


def _explanation(result: process.Result) -> str:
    """The reason in apt's output, without the addresses in it."""
    errors = [line for line in result.stderr.splitlines() if line.startswith(("E:", "W:"))] or [result.last_line()]
    if any(_OFFLINE.search(line) for line in errors):
        return "no connection to the mirror"
    return re.sub(r"\w+://\S+", "the mirror", errors[0].removeprefix("E: ").removeprefix("W: "))


def unpack(archives: Iterable[Path], root: Path) -> None:
    """Unpacks binary packages into the folder `root`, running nothing of them. Raises UserError."""
    root.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        result = process.run(["dpkg-deb", "--extract", archive, root], package="dpkg", timeout_s=_UNPACK_TIMEOUT_S)
        if result.code != 0:
            raise UserError(f"cannot unpack {archive.name}: {result.last_line()}")
