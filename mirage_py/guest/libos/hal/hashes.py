# SPDX-License-Identifier: MIT
"""SHA-2, HMAC, and what is done to secrets: compared in constant time, overwritten."""

import _hashes


class Hashes:
    """sha256, sha384, sha512: update(data), digest() at any time, copy(). hmac(bits, key, data): bits 256, 384 or 512.
    equal(a, b). wipe(buffer), which overwrites bytes as well, where they are the heap's.
    """

    sha256 = _hashes.sha256
    sha384 = _hashes.sha384
    sha512 = _hashes.sha512
    hmac = _hashes.hmac
    equal = _hashes.equal
    wipe = _hashes.wipe
