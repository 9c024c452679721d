# SPDX-License-Identifier: MIT
"""ML-KEM-768 (FIPS 203), both sides."""

import _mlkem768_client

from .mlkem768 import MlKem768


class MlKem768Full(MlKem768):
    """Also generate(seed): (key, share); decapsulate(key, ciphertext): the secret, or another one."""

    generate = _mlkem768_client.generate
    decapsulate = _mlkem768_client.decapsulate
