# SPDX-License-Identifier: MIT
"""All primitives in one image, which checks the vectors that a test puts beside it."""

from mirage_py.dsl import console, crypto, register, unikernel

kinds = ["p256", "p384", "rsa", "ed25519"]
register("vectors", unikernel("checks.Checks", console(), crypto(signs=kinds, verifies=kinds, client=True)))
