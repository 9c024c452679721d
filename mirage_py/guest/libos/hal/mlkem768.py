# SPDX-License-Identifier: MIT
"""ML-KEM-768 (FIPS 203) for a server."""

import _mlkem768


class MlKem768:
    """encapsulate(key, noise): (ciphertext, secret); ValueError for a key that is none."""

    encapsulate = _mlkem768.encapsulate
