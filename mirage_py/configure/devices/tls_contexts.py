# SPDX-License-Identifier: MIT
"""What the modules ssl and tls, and ssl=True of asyncio's streams, make their contexts of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mirage_py.configure import config_file
from mirage_py.configure.device import Choice, Kind, Node, optional
from mirage_py.configure.devices.clock import clock
from mirage_py.configure.devices.crypto import crypto as default_crypto
from mirage_py.configure.devices.log import log
from mirage_py.configure.devices.signatures import CLOCK, CRYPTO, LOG, TLS12, TLS_CONTEXTS, VERIFIER
from mirage_py.configure.devices.tls import (
    CLIENT12_KIND,
    GROUPS,
    SERVER12_KIND,
    SYSTEM,
    TLS_GROUPS,
    TLS_MIN,
    TRUST_KIND,
    VERIFIER_KIND,
)
from mirage_py.support.errors import UserError

CONTEXTS = Kind(
    name="tls_contexts",
    offers=TLS_CONTEXTS,
    implementation="tls.Contexts",
    doc="what the modules ssl and tls make their contexts of",
    arguments={
        "crypto": CRYPTO,
        "log": LOG,
        "clock": CLOCK,
        "verifier": optional(VERIFIER),
        "server12": optional(TLS12),
        "client12": optional(TLS12),
    },
)


def tls_contexts(
    trust: str | None = None,
    *,
    signs: Sequence[str] = ("p256", "rsa"),
    verifies: Sequence[str] = ("p256", "p384", "rsa"),
    crypto: Node | None = None,
    group: str = "",
) -> Choice:
    """For an application that imports ssl or tls, or calls open_connection(ssl=True): primitives, the clock, and trust.

    trust: whom such a client believes, "system" (this computer's store) or a PEM file, counted from where config.py is;
    None: only whom the application loads itself. signs: kinds of keys that load_cert_chain() may be given; verifies: of
    certificates that can be verified: "p256", "p384", "rsa", "ed25519". crypto: the primitives, where they are to be
    others. group: prefix of its keys.
    """
    from mirage_py.configure.tls import embedding  # what it stands on is only needed here, and takes its time to load

    if trust is not None and (not isinstance(trust, str) or not trust):
        raise UserError(f"tls_contexts: trust={trust!r}", f'give "{SYSTEM}", or the name of a PEM file')
    verifier: Callable[[Node], Node | None] = lambda _node: None  # noqa: E731 - one of two
    if trust is not None:
        path = None if trust == SYSTEM else config_file.directory() / trust
        store = TRUST_KIND(blob=embedding.FileTrust(path, "servers"))
        verifier = lambda node: VERIFIER_KIND(node, store)  # noqa: E731

    def primitives(groups: Sequence[str]) -> Callable[[], Node]:
        return lambda: default_crypto(signs=signs, verifies=verifies, groups=groups, client=True)

    options: dict[Any, Node | Callable[[], Node]] = {name: primitives(groups) for name, groups in GROUPS.items()}
    node = crypto or Choice(TLS_GROUPS.grouped(group), options, CRYPTO, follows=TLS_GROUPS)
    versions: dict[Any, Node | Callable[[], Node]] = {
        "1.2": lambda: CONTEXTS(node, log(), clock(), verifier(node), SERVER12_KIND(), CLIENT12_KIND(node)),
        "1.3": lambda: CONTEXTS(node, log(), clock(), verifier(node)),
    }
    return Choice(TLS_MIN.grouped(group), versions, TLS_CONTEXTS, follows=TLS_MIN)
