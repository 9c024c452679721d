# SPDX-License-Identifier: MIT
"""P-384: public keys and signatures."""

import _p384


class P384:
    """public(scalar), 97 octets; sign(scalar, digest, extra), DER. ValueError for a scalar that is none."""

    public = _p384.public
    sign = _p384.sign
