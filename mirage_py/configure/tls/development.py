# SPDX-License-Identifier: MIT
"""A certificate for development, where config.py names none: made by `configure`, signed by an authority of its own.

Both are kept from one configure to the next while they hold, so that a browser is told of the authority once.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mirage_py.configure.plan import MARK, File, is_generated
from mirage_py.configure.tls import CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, certificates, making
from mirage_py.configure.tls.certificates import Identity
from mirage_py.support.errors import UserError

NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Development:
    """identity: what the server has. authority: who signed it. files: for the plan. is_new, is_new_authority: whether
    they were not there before, or did not hold any more."""

    identity: Identity
    authority: Identity
    files: tuple[File, ...]
    is_new: bool
    is_new_authority: bool


def obtain(output: Path, names: Sequence[str], when: datetime.datetime | None = None) -> Development:
    """The certificate for `names` (of certificates.check_names), as it is in `output`, or made now and not written."""
    when = when or certificates.now()
    authority = _kept_authority(output, names, when)
    is_new_authority = authority is None
    if authority is None:
        authority = certificates.make_authority(making.AUTHORITY, days=making.CA_DAYS, domains=names, when=when)
    identity = None if is_new_authority else _kept(output, authority, names, when)
    is_new = identity is None
    if identity is None:
        identity = certificates.make_leaf(authority, names, days=making.LEAF_DAYS, when=when)
    files = (
        _file(CA_FILE, "whom to trust (curl --cacert, a browser)", certificates.pem(authority.chain)),
        _file(CA_KEY_FILE, "keep it to yourself", certificates.key_pem(authority.key), is_secret=True),
        _file(CERTIFICATE_FILE, f"for {', '.join(names)}", certificates.pem(identity.chain)),
        _file(KEY_FILE, "it is in the image, too", certificates.key_pem(identity.key), is_secret=True),
    )
    return Development(identity, authority, files, is_new, is_new_authority)


def _file(path: str, what: str, text: str, *, is_secret: bool = False) -> File:
    # RFC 7468 section 2: what stands before the first line of dashes is for people.
    return File(path, f"# {MARK}: {what}\n{text}", is_secret)


def _read(output: Path, certificate: str, key: str) -> Identity | None:
    """The pair, when we made both."""
    try:
        if not all(is_generated(output / path) for path in (certificate, key)):
            return None
        return Identity(certificates.read_chain(output / certificate), certificates.read_key(output / key))
    except (UserError, OSError):
        return None


def _kept_authority(output: Path, names: Sequence[str], when: datetime.datetime) -> Identity | None:
    found = _read(output, CA_FILE, CA_KEY_FILE)
    if found is None or certificates.spki(found.leaf) != certificates.public_octets(found.key):
        return None
    is_good = (
        certificates.is_authority(found.leaf)
        # A leaf must have its time under it.
        and when + datetime.timedelta(days=making.LEAF_DAYS) < found.ends
        and all(certificates.permits(found.leaf, name) for name in names)
    )
    return found if is_good else None


def _kept(output: Path, authority: Identity, names: Sequence[str], when: datetime.datetime) -> Identity | None:
    found = _read(output, CERTIFICATE_FILE, KEY_FILE)
    if found is None or certificates.spki(found.leaf) != certificates.public_octets(found.key):
        return None
    is_good = (
        certificates.has_issued(authority.leaf, found.leaf)
        and not certificates.expires_soon(found, when)
        and set(certificates.names_of(found.leaf)) == set(names)
    )
    return found if is_good else None
