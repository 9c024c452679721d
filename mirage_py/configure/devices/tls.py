# SPDX-License-Identifier: MIT
"""TLS over a stack: contexts, identities, whom to trust; and the keys that choose what of it an image has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mirage_py.configure import config_file
from mirage_py.configure.device import Choice, Device, Kind, Node, optional
from mirage_py.configure.devices.clock import clock
from mirage_py.configure.devices.console import console
from mirage_py.configure.devices.crypto import crypto as default_crypto
from mirage_py.configure.devices.log import log
from mirage_py.configure.devices.signatures import (
    CLOCK,
    CONSOLE,
    CRYPTO,
    IDENTITIES,
    KEY_LOG,
    LOG,
    STACK,
    TLS12,
    TLS_CLIENT,
    TLS_SERVER,
    TRUST,
    VERIFIER,
)
from mirage_py.configure.keys import CONFIGURE, Key
from mirage_py.support.errors import UserError

if TYPE_CHECKING:
    from mirage_py.configure.tls import embedding

DEVELOPMENT = "development"
SYSTEM = "system"
CLIENT_AUTH = ("none", "optional", "required")
KEY_KINDS = ("p256", "p384", "rsa", "ed25519")
# What certificates of the web are signed with.
WEB_KEY_KINDS = ("p256", "p384", "rsa")
_FILE_REMEDY = "give the name of a file, counted from where config.py is"

TLS_MIN = Key(
    "tls-min",
    type="choice",
    choices=("1.2", "1.3"),
    default="1.2",
    doc="the oldest version of TLS that is spoken; 1.3 leaves 1.2 out of the image",
    stage=CONFIGURE,
)
GROUPS = {
    "all": ("x25519mlkem768", "x25519", "secp256r1"),
    "classic": ("x25519", "secp256r1"),
    "x25519": ("x25519",),
    "p256": ("secp256r1",),
}
TLS_GROUPS = Key(
    "tls-groups",
    type="choice",
    choices=tuple(GROUPS),
    default="all",
    doc="key exchanges: all (X25519MLKEM768, X25519, P-256), classic (without ML-KEM), or one alone",
    stage=CONFIGURE,
)
TLS_KEY_LOG = Key(
    "tls-key-log",
    type="choice",
    choices=("off", "on"),
    default="off",
    doc="write the keys of connections to the console, for Wireshark: only to look for a fault",
    stage=CONFIGURE,
)

IDENTITIES_KIND = Kind(
    name="identities",
    offers=IDENTITIES,
    implementation="libos.tls.identity.EmbeddedIdentities",
    doc="certificates of ours, with their keys",
    arguments={"crypto": CRYPTO},
    settings={"blobs": None},
)
TRUST_KIND = Kind(
    name="trust",
    offers=TRUST,
    implementation="libos.tls.x509.trust.Trust",
    doc="whom to trust: authorities' names and keys",
    settings={"blob": None},
)
VERIFIER_KIND = Kind(
    name="verifier",
    offers=VERIFIER,
    implementation="libos.tls.x509.verify.Verifier",
    doc="verifies certificates (RFC 5280)",
    arguments={"crypto": CRYPTO, "trust": optional(TRUST)},
    settings={"pins": None},
)
SERVER12_KIND = Kind(
    name="tls12_server",
    offers=TLS12,
    implementation="libos.tls.v12_server.ServerVersion12",
    doc="the server's side of TLS 1.2",
)
CLIENT12_KIND = Kind(
    name="tls12_client",
    offers=TLS12,
    implementation="libos.tls.v12_client.ClientVersion12",
    doc="the client's side of TLS 1.2",
    arguments={"crypto": CRYPTO},
)
KEY_LOG_KIND = Kind(
    name="tls_key_log",
    offers=KEY_LOG,
    implementation="libos.tls.key_log.KeyLog",
    doc="writes the keys of connections to the console",
    arguments={"console": CONSOLE},
    settings={"caution": None},
)
SERVER_KIND = Kind(
    name="tls_server",
    offers=TLS_SERVER,
    implementation="libos.tls.server.ServerContext",
    doc="a TLS server (RFC 8446)",
    arguments={
        "crypto": CRYPTO,
        "credentials": IDENTITIES,
        "verifier": optional(VERIFIER),
        "v12": optional(TLS12),
        "keylog": optional(KEY_LOG),
    },
    settings={"client_auth": None, "alpn": None, "tickets": None, "record_size_limit": None},
)
CLIENT_KIND = Kind(
    name="tls_client",
    offers=TLS_CLIENT,
    implementation="libos.tls.client.ClientContext",
    doc="a TLS client (RFC 8446)",
    arguments={
        "crypto": CRYPTO,
        "verifier": VERIFIER,
        "credentials": optional(IDENTITIES),
        "v12": optional(TLS12),
        "keylog": optional(KEY_LOG),
    },
    settings={"alpn": None, "record_size_limit": None},
)
TLS_KIND = Kind(
    name="tls",
    offers=STACK,
    implementation="libos.app.tls.TlsStack",
    doc="encrypted connections over a stack",
    arguments={
        "stack": STACK,
        "log": LOG,
        "clock": CLOCK,
        "server": optional(TLS_SERVER),
        "client": optional(TLS_CLIENT),
    },
    settings={"timeout_ms": None, "half_open": None},
)


def tls(
    stack: Node,
    certificate: str | Sequence[str] | None = None,
    key: str | Sequence[str] | None = None,
    client_ca: str | None = None,
    trust: str | None = None,
    *,
    pins: Iterable[str] = (),
    client_auth: str | None = None,
    client_certificate: str | None = None,
    client_key: str | None = None,
    alpn: Sequence[str] = (),
    tickets: bool = True,
    peer_keys: Sequence[str] | None = None,
    timeout_ms: int | None = None,
    half_open: int | None = None,
    crypto: Node | None = None,
    group: str = "",
) -> Device:
    """A stack whose TCP connections are encrypted, over another stack. Files count from where config.py is.

    As a server: certificate and key, PEM files of the chain (the own one first) and of its private key, or lists of
    them, the first for names that none is for. Without them, and without trust and pins, or as certificate=
    "development": a certificate that `configure` makes. client_ca: a file of authorities whose clients' certificates
    are asked for; client_auth: "required" then, unless "optional". tickets: whether sessions can be resumed.

    As a client: trust, whom to believe: "system", this computer's store, or a PEM file; pins, SHA-256 of keys
    (SubjectPublicKeyInfo) in hexadecimal, in addition or alone. client_certificate, client_key: what proves who we are.

    alpn: protocols, preferred first. peer_keys: kinds of keys that can be verified with, of "p256", "p384", "rsa",
    "ed25519"; by default those of the web and those of the files. timeout_ms: of a client's handshake; half_open: how
    many of them at once. crypto: the primitives, where they are to be others. group: prefix of its keys.
    """
    served = certificate is not None or (trust is None and not pins)
    files = _Files()
    identities = files.identities(certificate, key, "server") if served else []
    own = files.identities(client_certificate, client_key, "client") if client_certificate else []
    clients = files.trust(client_ca, "clients") if client_ca else None
    servers = files.trust(None if trust == SYSTEM else trust, "servers") if trust is not None else None
    pinned = [_pin(text) for text in pins]
    for given, needs, missing in (
        (key, certificate, "key without certificate"),
        (client_key, client_certificate, "client_key without client_certificate"),
        (client_certificate, servers or pinned, "client_certificate without trust or pins"),
        (client_auth, client_ca, "client_auth without client_ca"),
        (client_ca, served, "client_ca without certificate"),
    ):
        if given and not needs:
            raise UserError(f"tls: {missing}", "give both, or neither")
    if client_auth is not None and client_auth not in CLIENT_AUTH:
        raise UserError(f"tls: client_auth={client_auth!r}", f"choose one of {', '.join(CLIENT_AUTH)}")
    signs = {identity.kind for identity in (*identities, *own)}
    verifies = _peer_keys(peer_keys, clients, servers, bool(pinned))
    node = crypto or _crypto(signs, verifies, group, is_client=bool(servers or pinned))
    for what, value in (("timeout_ms", timeout_ms), ("half_open", half_open)):
        if value is not None and (type(value) is not int or value < 1):
            raise UserError(f"tls: {what}={value!r}", "give a number from 1 on")
    if isinstance(alpn, str):
        raise UserError(f"tls: alpn={alpn!r} is one name", 'give a list of them, as ["http/1.1"]')
    protocols = [_protocol(name) for name in alpn] or None

    def server() -> Node | None:
        if not served:
            return None
        verifier = VERIFIER_KIND(node, TRUST_KIND(blob=clients)) if clients else None
        fixed: dict[str, Any] = {"alpn": protocols, "client_auth": (client_auth or "required") if clients else None}
        if not tickets:
            fixed["tickets"] = False
        credentials = IDENTITIES_KIND(node, blobs=identities)
        return _by_version(
            lambda is_old, key_log: SERVER_KIND(
                node, credentials, verifier, SERVER12_KIND() if is_old else None, key_log, **fixed
            ),
            TLS_SERVER,
            group,
        )

    def client() -> Node | None:
        if not servers and not pinned:
            return None
        store = TRUST_KIND(blob=servers) if servers else None
        verifier = VERIFIER_KIND(node, store, pins=pinned or None)
        credentials = IDENTITIES_KIND(node, blobs=own) if own else None
        return _by_version(
            lambda is_old, key_log: CLIENT_KIND(
                node, verifier, credentials, CLIENT12_KIND(node) if is_old else None, key_log, alpn=protocols
            ),
            TLS_CLIENT,
            group,
        )

    return TLS_KIND(stack, log(), clock(), server(), client(), timeout_ms=timeout_ms, half_open=half_open, group=group)


def _by_version(make: Callable[[bool, Node | None], Node], offers: Any, group: str) -> Choice:
    """The context by --tls-min and --tls-key-log. make: gets whether 1.2 is in, and a key log or None."""

    def by_key_log(is_old: bool) -> Choice:
        return Choice(
            TLS_KEY_LOG.grouped(group),
            {"off": lambda: make(is_old, None), "on": lambda: make(is_old, _key_log())},
            offers,
            follows=TLS_KEY_LOG,
        )

    options: dict[Any, Node | Callable[[], Node]] = {"1.2": lambda: by_key_log(True), "1.3": lambda: by_key_log(False)}
    return Choice(TLS_MIN.grouped(group), options, offers, follows=TLS_MIN)


def _key_log() -> Device:
    from mirage_py.configure.tls import embedding

    text = "--tls-key-log on: the keys of TLS connections are written to the console, and whoever sees it can read them"
    return KEY_LOG_KIND(console(), caution=embedding.Caution(text))


class _Files:
    """What the arguments name, read from where config.py is."""

    def __init__(self) -> None:
        self.directory = config_file.directory()

    def identities(
        self, certificate: str | Sequence[str] | None, key: str | Sequence[str] | None, purpose: str
    ) -> list[embedding.FileIdentity | embedding.DevelopmentIdentity]:
        from mirage_py.configure.tls import embedding

        if certificate is None or certificate == DEVELOPMENT:
            if key:
                raise UserError("tls: key without certificate", "give both, or neither")
            return [embedding.DevelopmentIdentity()]
        certificates, keys = _listed(certificate, "certificate"), _listed(key or certificate, "key")
        if len(certificates) != len(keys):
            raise UserError(
                f"tls: {len(certificates)} certificates and {len(keys)} keys",
                "give a key for each certificate, in order",
            )
        return [
            embedding.FileIdentity.read(self.directory / one, self.directory / other, purpose)
            for one, other in zip(certificates, keys, strict=True)
        ]

    def trust(self, path: str | None, what: str) -> embedding.FileTrust:
        from mirage_py.configure.tls import embedding

        if path is None:
            return embedding.FileTrust(None, what)
        if not isinstance(path, str) or not path:
            raise UserError(f"tls: {path!r} is not the name of a file", f'{_FILE_REMEDY}, or "{SYSTEM}"')
        return embedding.FileTrust(self.directory / path, what)


def _listed(value: str | Sequence[str], what: str) -> list[str]:
    names = [value] if isinstance(value, str) else list(value)
    if not names or not all(isinstance(name, str) and name and "\0" not in name for name in names):
        raise UserError(f"tls: {what}={value!r} is not the name of a file", _FILE_REMEDY)
    return names


def _pin(text: str) -> bytes:
    try:
        pin = bytes.fromhex(text.replace(":", ""))
    except (ValueError, AttributeError):
        pin = b""
    if len(pin) != 32:
        raise UserError(
            f"tls: {text!r} is not a pin", "give the SHA-256 of a SubjectPublicKeyInfo: 64 hexadecimal digits"
        )
    return pin


def _protocol(name: str) -> bytes:
    if not isinstance(name, str) or not name.isascii() or not 1 <= len(name) <= 255:
        raise UserError(f"tls: alpn={name!r} is not the name of a protocol", "give one such as http/1.1")
    return name.encode()


def _peer_keys(
    given: Sequence[str] | None,
    clients: embedding.FileTrust | None,
    servers: embedding.FileTrust | None,
    is_pinned: bool,
) -> set[str]:
    """The kinds of keys that peers' chains may have."""
    if given is not None:
        unknown = [kind for kind in given if kind not in KEY_KINDS]
        if unknown or isinstance(given, str):
            raise UserError(f"tls: peer_keys={given!r}", f"choose of {', '.join(KEY_KINDS)}")
        return set(given)
    found: set[str] = set()
    if servers or is_pinned:
        found.update(WEB_KEY_KINDS)
    if clients:
        # Their own certificates are mostly of the kind that mirage-py cert makes.
        found.add("p256")
    for store in (clients, servers):
        if store and store.path:
            found |= store.read().kinds
    return found


def _crypto(signs: set[str], verifies: set[str], group: str, *, is_client: bool) -> Node:
    """The primitives, by --tls-groups."""

    def primitives(groups: tuple[str, ...]) -> Callable[[], Node]:
        return lambda: default_crypto(signs=sorted(signs), verifies=sorted(verifies), groups=groups, client=is_client)

    options: dict[Any, Node | Callable[[], Node]] = {name: primitives(groups) for name, groups in GROUPS.items()}
    return Choice(TLS_GROUPS.grouped(group), options, CRYPTO, follows=TLS_GROUPS)
