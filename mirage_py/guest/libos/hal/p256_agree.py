# SPDX-License-Identifier: MIT
"""P-256 for a server: its signatures, and the group secp256r1."""

import _p256_agree

from .p256 import P256


class P256Agree(P256):
    """Also agree(scalar, share): 32 octets; ValueError for what is no point."""

    agree = _p256_agree.agree
