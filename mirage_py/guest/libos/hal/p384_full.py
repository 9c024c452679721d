# SPDX-License-Identifier: MIT
"""All of P-384."""

import _p384_verify

from .p384 import P384


class P384Full(P384):
    """Also verify(point, digest, signature): a bool, for whatever the peer sent."""

    verify = _p384_verify.verify
