# SPDX-License-Identifier: MIT
"""X25519 (RFC 7748)."""

import _x25519


class X25519:
    """public(scalar), agree(scalar, share): 32 octets each; ValueError for a share of low order."""

    public = _x25519.public
    agree = _x25519.agree
