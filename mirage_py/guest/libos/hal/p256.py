# SPDX-License-Identifier: MIT
"""P-256: public keys and signatures, for a server with such a certificate. p256_agree and p256_full have more."""

import _p256


class P256:
    """public(scalar), 65 octets; sign(scalar, digest, extra), DER. ValueError for a scalar that is none."""

    public = _p256.public
    sign = _p256.sign
