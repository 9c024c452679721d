# SPDX-License-Identifier: MIT
"""RSA: signatures verified."""

import _rsa


class RsaVerify:
    """verify(n, e, is_pss, digest, signature): a bool, for whatever the peer sent."""

    verify = _rsa.verify
