# SPDX-License-Identifier: MIT
"""`mirage-py cert`: an authority and certificates for development, as files that are the user's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mirage_py.configure.tls import certificates
from mirage_py.configure.tls.certificates import Identity
from mirage_py.support.errors import UserError

AUTHORITY = "mirage-py development CA"
CA_FILE, CA_KEY_FILE = "ca.pem", "ca.key"
DEFAULT_NAMES = ("localhost", "127.0.0.1", "::1")
LEAF_DAYS, CA_DAYS = 90, 3650
MAX_DAYS = 36500
KEY_MODE = 0o600
_PUBLIC_MODE = 0o644


@dataclass(frozen=True)
class Order:
    """What the user wants.

    names: hosts and addresses; none: those of the certificate that is renewed, or of this computer. name: of the files.
    client: for a TLS client. renew: the certificate and its key are there, and are to be replaced. force: whatever is
    there is replaced, the authority too.
    """

    folder: Path
    names: Sequence[str] = ()
    name: str = "site"
    kind: str = "p256"
    days: int = LEAF_DAYS
    client: bool = False
    renew: bool = False
    force: bool = False

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.name}.pem"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.name}.key"


def make(order: Order) -> list[str]:
    """Make what is wanted. Returns a line for each file, with the date until when it holds. Raises UserError."""
    if not 1 <= order.days <= MAX_DAYS:
        raise UserError(f"--days {order.days}: not a number of days", f"give one from 1 to {MAX_DAYS}", 2)
    if order.name in ("", ".", "..", "ca") or "/" in order.name or not order.name.isprintable():
        raise UserError(f"--name {order.name!r} is not a name for the files", "give one such as site", 2)
    names = certificates.check_names(order.names or _names_before(order))
    there = [path for path in (order.certificate, order.key) if os.path.lexists(path)]
    if there and not (order.renew or order.force):
        raise UserError(f"{there[0]} is there already", "replace it with --renew, or choose another --name")
    if order.renew and not there and not order.force:
        raise UserError(f"there is no {order.certificate} to renew", "leave --renew out")
    authority, is_new = _authority(order, names)
    leaf = certificates.make_leaf(authority, names, order.kind, order.days, client=order.client)
    files = []
    if is_new:
        files += [
            (order.folder / CA_KEY_FILE, certificates.key_pem(authority.key), KEY_MODE),
            (order.folder / CA_FILE, certificates.pem(authority.chain), _PUBLIC_MODE),
        ]
    files += [
        (order.key, certificates.key_pem(leaf.key), KEY_MODE),
        (order.certificate, certificates.pem(leaf.chain), _PUBLIC_MODE),
    ]
    _write(order.folder, files)
    lines = [f"{order.folder / CA_FILE} holds until {certificates.day(authority.ends)}"]
    if is_new:
        lines[0] += ": give it to whoever is to trust what it signs (curl --cacert); its key must stay yours"
    lines.append(f"{order.certificate} holds until {certificates.day(leaf.ends)}, for {', '.join(names)}")
    return lines


def _names_before(order: Order) -> Sequence[str]:
    if order.renew and order.certificate.is_file():
        names = certificates.names_of(certificates.read_chain(order.certificate)[0])
        if names:
            return names
    return DEFAULT_NAMES


def _authority(order: Order, names: Sequence[str]) -> tuple[Identity, bool]:
    """The authority that is there, or a new one; and whether it is new."""
    ca, key = order.folder / CA_FILE, order.folder / CA_KEY_FILE
    there = [path for path in (ca, key) if os.path.lexists(path)]
    if not there or order.force:
        return certificates.make_authority(AUTHORITY, days=CA_DAYS, domains=names), True
    if len(there) == 1:
        missing = key if there[0] == ca else ca
        raise UserError(
            f"{there[0]} is there and {missing.name} is not, so that nothing can be signed",
            f"bring {missing.name} back, or make a new authority with --force",
        )
    return read_authority(ca, key, names), False


def read_authority(ca: Path, key: Path, names: Sequence[str]) -> Identity:
    """An authority from its files, when it can sign for `names` today. Raises UserError."""
    authority = Identity(certificates.read_chain(ca), certificates.read_key(key))
    new = "make a new authority with --force"
    if certificates.spki(authority.leaf) != certificates.public_octets(authority.key):
        raise UserError(f"{key} is not the key of {ca}", f"bring the right one back, or {new}")
    if not certificates.is_authority(authority.leaf):
        raise UserError(f"{ca} is no authority's certificate", f"move it away, or {new}")
    if certificates.now() >= authority.ends:
        raise UserError(f"{ca} has expired on {certificates.day(authority.ends)}", new)
    refused = [name for name in names if not certificates.permits(authority.leaf, name)]
    if refused:
        raise UserError(f"{ca} may not sign for {refused[0]}: it was made for other names", new)
    return authority


def _write(folder: Path, files: Sequence[tuple[Path, str, int]]) -> None:
    """All of them beside their places first, then into them: a full disk changes nothing."""
    waiting: list[tuple[str, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text, mode in files:
            # mkstemp's files are nobody else's from the beginning.
            handle, temporary = tempfile.mkstemp(prefix=".mirage-py-", dir=folder)
            waiting.append((temporary, path))
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(text)
                os.fchmod(stream.fileno(), mode)
        while waiting:
            os.replace(*waiting[0])
            waiting.pop(0)
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename2 or error.filename or folder}: {error.strerror}",
            "choose another directory with --output",
        ) from error
    finally:
        for temporary, _ in waiting:
            Path(temporary).unlink(missing_ok=True)


def show(path: Path) -> list[str]:
    """A line for each certificate in a file: who, by whom, with what key, until when. Raises UserError."""
    lines = []
    when = certificates.now()
    for certificate in certificates.read_chain(path):
        try:
            kind = certificates.key_kind(certificate)
        except UserError:
            kind = "a key that is not supported"
        names = certificates.names_of(certificate)
        who = ", ".join(names) if names else certificates.title(certificate)
        ends = certificates.day(certificate.not_valid_after_utc)
        state = "expired on" if when > certificate.not_valid_after_utc else "holds until"
        role = "authority" if certificates.is_authority(certificate) else "certificate"
        lines.append(f"{role} for {who}: {kind}, by {certificates.issuer_title(certificate)}, {state} {ends}")
    return lines
