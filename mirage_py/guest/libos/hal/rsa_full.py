# SPDX-License-Identifier: MIT
"""All of RSA: signatures, and verifying them."""

import _rsa

from .rsa_sign import RsaSign


class RsaFull(RsaSign):
    """Also verify(n, e, is_pss, digest, signature): a bool, for whatever the peer sent."""

    verify = _rsa.verify
