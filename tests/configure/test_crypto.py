# SPDX-License-Identifier: MIT
"""crypto(…): an image has the primitives that its configuration needs, and no others."""

from __future__ import annotations

import pytest

from mirage_py.configure.device import Device
from mirage_py.configure.devices.crypto import KEY_KINDS, crypto
from mirage_py.support.errors import UserError


def primitives(**options: object) -> set[str]:
    """The kinds of the devices that such a device is built on, less those that all of them have."""
    device = crypto(**options)  # type: ignore[arg-type]
    below = {argument.kind.name for argument in device.arguments if isinstance(argument, Device)}
    assert {"hashes", "aeads"} <= below
    return below - {"hashes", "aeads", "random"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"x25519", "mlkem768", "p256_agree"}),
        ({"signs": ["p256"]}, {"x25519", "mlkem768", "p256_agree"}),
        ({"signs": ["p256"], "groups": ["x25519"]}, {"x25519", "p256"}),
        ({"groups": ["x25519"]}, {"x25519"}),
        ({"signs": ["rsa"], "groups": ["x25519"]}, {"x25519", "rsa_sign"}),
        ({"signs": ["ed25519"], "groups": ["secp256r1"]}, {"p256_agree", "ed25519"}),
        ({"signs": ["p384"], "verifies": ["rsa"], "groups": ["x25519"]}, {"x25519", "p384", "rsa_verify"}),
        (
            {"signs": ["rsa", "p384"], "verifies": ["rsa", "p384"]},
            {"x25519", "mlkem768", "p256_agree", "rsa_full", "p384_full"},
        ),
        ({"groups": ["x25519mlkem768"]}, {"x25519", "mlkem768"}),
        (
            {"verifies": KEY_KINDS, "client": True},
            {"x25519", "mlkem768_full", "p256_full", "p384_verify", "rsa_verify", "ed25519"},
        ),
    ],
)
def test_primitives_are_those_that_are_needed(options: dict[str, object], expected: set[str]) -> None:
    assert primitives(**options) == expected


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"signs": ["dsa"]}, "signs: there is no 'dsa'"),
        ({"verifies": ["p521"]}, "verifies: there is no 'p521'"),
        ({"groups": ["x448"]}, "groups: there is no 'x448'"),
        ({"groups": []}, "groups is empty"),
        ({"signs": "p256"}, "signs='p256' is one name"),
    ],
)
def test_what_there_is_not_is_one_line(options: dict[str, object], cause: str) -> None:
    with pytest.raises(UserError) as caught:
        crypto(**options)  # type: ignore[arg-type]
    assert cause in caught.value.cause
    assert caught.value.remedy
