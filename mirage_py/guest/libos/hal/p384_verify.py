# SPDX-License-Identifier: MIT
"""P-384: signatures verified, as chains of certificates need it."""

import _p384_verify


class P384Verify:
    """verify(point, digest, signature): a bool, for whatever the peer sent."""

    verify = _p384_verify.verify
