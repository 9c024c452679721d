# SPDX-License-Identifier: MIT
"""All of P-256."""

import _p256_verify

from .p256_agree import P256Agree


class P256Full(P256Agree):
    """Also verify(point, digest, signature): a bool, for whatever the peer sent."""

    verify = _p256_verify.verify
