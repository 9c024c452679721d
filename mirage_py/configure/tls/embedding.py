# SPDX-License-Identifier: MIT
"""What of files gets into an image for TLS, as settings of device kinds. What is told of it, `configure` prints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mirage_py.configure.embedded import Embedded
from mirage_py.configure.keys import Value
from mirage_py.configure.later import Later, Preparation
from mirage_py.configure.tls import certificates, development, octets
from mirage_py.configure.tls.certificates import Identity
from mirage_py.support.errors import UserError

_SHOWN_NAMES = 4


def _shown(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + rest if names else "nobody"


def _embedded_identity(identity: Identity) -> Embedded:
    # By the certificate: the key is in no name, not even as a hash.
    digest = hashlib.sha256(certificates.der(identity.leaf)).hexdigest()
    return Embedded(f"tls/identity-{digest[:12]}", octets.pack_identity(identity), is_secret=True)


@dataclass(frozen=True)
class FileIdentity(Later):
    """A certificate and its key from two files, which have been looked at."""

    certificate: Path
    key: Path
    identity: Identity = field(repr=False)

    @classmethod
    def read(cls, certificate: Path, key: Path, purpose: str) -> FileIdentity:
        """purpose: "server" or "client". Raises UserError for what a peer would refuse."""
        return cls(certificate, key, certificates.read_identity(certificate, key, purpose))

    @property
    def kind(self) -> str:
        """Of its key."""
        return self.identity.kind

    def __hash__(self) -> int:
        return hash((self.certificate, self.key, certificates.der(self.identity.leaf)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileIdentity) and hash(self) == hash(other)

    def prepare(self, preparation: Preparation) -> Embedded:
        identity, ends = self.identity, certificates.day(self.identity.ends)
        names = _shown(certificates.names_of(identity.leaf))
        if certificates.expires_soon(identity):
            preparation.warnings.append(f"{self.certificate} holds only until {ends}: renew it, and build again")
        else:
            preparation.notes.append(f"{self.certificate}: for {names}, holds until {ends}")
        try:
            if self.key.stat().st_mode & 0o077:
                preparation.warnings.append(f"{self.key} can be read by others: chmod 600 {self.key}")
        except OSError as error:
            raise UserError(f"the private key {self.key} cannot be read: {error.strerror}", "bring it back") from error
        return _embedded_identity(identity)


@dataclass(frozen=True)
class DevelopmentIdentity(Later):
    """A certificate that configure makes: for this computer, and for the guest's own addresses. kind: of its key."""

    kind = "p256"

    def prepare(self, preparation: Preparation) -> Embedded:
        names = certificates.check_names([*development.NAMES, *_addresses(preparation.defaults)])
        made = development.obtain(preparation.output, names)
        preparation.files += made.files
        ends, ca = certificates.day(made.identity.ends), made.files[0].path
        new = "made now" if made.is_new else "kept"
        preparation.notes.append(
            f"a certificate for development ({new}): for {_shown(list(names))}, holds until {ends}"
        )
        which = "made now: give it to curl --cacert or a browser" if made.is_new_authority else "kept"
        until = certificates.day(made.authority.ends)
        preparation.notes.append(f"whom to trust: {ca} ({which}), until {until}")
        return _embedded_identity(made.identity)


def _addresses(defaults: Mapping[str, Value]) -> list[str]:
    """The guest's own, of the boot arguments' defaults; and what an interface has where nobody says one."""
    found, count = [], 0
    for name, value in defaults.items():
        end = name.rpartition("-")[2]
        if end in ("ipv4", "ipv6") and not name.endswith(f"host-{end}"):
            if value:
                found.append(str(value).partition("/")[0])
            elif end == "ipv4":
                found.append(f"10.{count}.0.2")
            count += end == "ipv4"
    return found


@dataclass(frozen=True)
class FileTrust(Later):
    """The authorities of a file, or of this computer: path is None then. what: whom they are trusted for."""

    path: Path | None
    what: str

    def read(self) -> octets.TrustStore:
        return octets.read_trust(self.path or octets.system_store())

    def prepare(self, preparation: Preparation) -> Embedded:
        store = self.read()
        where = self.path or "this computer's trust store"
        one = "authority" if store.count == 1 else "authorities"
        preparation.notes.append(f"{where}: {store.count} {one} trusted for {self.what} ({len(store.blob):,} octets)")
        if self.path is not None:
            preparation.warnings += [f"{self.path}: not trusted: {line}" for line in store.left_out]
        digest = hashlib.sha256(store.blob).hexdigest()
        return Embedded(f"tls/trust-{digest[:12]}", store.blob)


@dataclass(frozen=True)
class Caution(Later):
    """No value, but a warning of what is switched on."""

    text: str

    def prepare(self, preparation: Preparation) -> None:
        preparation.warnings.append(self.text)
