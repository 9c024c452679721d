# SPDX-License-Identifier: MIT
"""The connections that every peer is asked for."""

from __future__ import annotations

from tests.interop.tls.peers import MLKEM, SUITES_12, SUITES_13, Seen, Wish

KEYS = ("p256", "p384", "rsa", "ed25519")
HTTP = ("http/1.1",)

BASIC = (
    *(Wish(key=key) for key in KEYS),
    *(Wish("1.2", key=key) for key in ("p256", "rsa")),
)
SUITES = (
    *(Wish(cipher=cipher) for cipher in SUITES_13),
    *(Wish("1.2", "rsa" if "_RSA_" in cipher else "p256", cipher) for cipher in SUITES_12),
)
GROUPS = (
    *(Wish(groups=(group,)) for group in ("x25519", "secp256r1", MLKEM)),
    # With RSA: of an ECDSA certificate 1.2 asks that its curve is among the groups.
    *(Wish("1.2", "rsa", groups=(group,)) for group in ("x25519", "secp256r1")),
)
# The client sends a share of a group that our server has not, and may send one of the other: HelloRetryRequest.
RETRIED = (Wish(groups=("secp384r1", "x25519")), Wish(groups=("secp384r1", "secp256r1")))
MORE = (
    Wish(alpn=HTTP),
    Wish("1.2", alpn=HTTP),
    Wish(alpn=("imaginary/9", *HTTP)),
    Wish(has_client_certificate=True),
    Wish("1.2", has_client_certificate=True),
)
RESUMED = (Wish(is_resumed=True), Wish("1.2", is_resumed=True))
ALL = (*BASIC, *SUITES, *GROUPS, *MORE, *RESUMED)


def check(seen: Seen, wish: Wish, alpn: bool = True) -> None:
    """That a connection is what was wished, where its peer says so. alpn: whether the server has it."""
    assert "200" in seen.body, seen.text
    told = (seen.version or wish.version, seen.cipher or wish.cipher)
    assert told == (wish.version, wish.cipher or told[1]), seen.text
    if wish.groups and seen.group:
        assert seen.group.lower() in [name.lower() for name in wish.groups], seen.text
    if alpn and seen.alpn:
        # curl offers it whatever is wished.
        assert seen.alpn in (*wish.alpn, *HTTP), seen.text
    if seen.is_resumed is not None:
        assert seen.is_resumed == wish.is_resumed, seen.text
