# SPDX-License-Identifier: MIT
"""Ed25519 (RFC 8032)."""

import _ed25519


class Ed25519:
    """public(seed), sign(seed, message), verify(point, message, signature): a bool, for whatever the peer sent."""

    public = _ed25519.public
    sign = _ed25519.sign
    verify = _ed25519.verify
