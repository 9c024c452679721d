# SPDX-License-Identifier: MIT
"""RSA for a server with such a certificate: signatures."""

import _rsa_sign


class RsaSign:
    """key(n, e, d, p, q, dp, dq, qi), octets each: it has sign(digest, salt), wipe(). ValueError for what is no key."""

    key = _rsa_sign.Key
