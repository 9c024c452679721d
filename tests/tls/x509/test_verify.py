# SPDX-License-Identifier: MIT
"""Chains good and bad (tests/tls/x509/chains.py), and the reason that a verifier gives."""

import re

import pytest

from libos.tls.x509.der import CertificateError
from libos.tls.x509.pack import pack
from libos.tls.x509.trust import Trust
from libos.tls.x509.verify import Verifier
from tests.tls.reference_crypto import reference_crypto
from tests.tls.x509 import chains

CRYPTO = reference_crypto()


def verify(case):
    trust = None if case.roots is None else Trust(pack(case.roots))
    return Verifier(CRYPTO, trust, case.pins).verify(case.chain, case.wall_s, case.purpose, case.hostname)


@pytest.mark.parametrize("name", chains.CASES)
def test_chain(name):
    case = chains.CASES[name]()
    assert name.startswith("bad_" if case.reason else "good_")
    if not case.reason:
        assert verify(case).der == case.chain[0]
        return
    with pytest.raises(CertificateError) as caught:
        verify(case)
    assert re.search(case.reason, caught.value.reason)
    assert caught.value.alert == case.alert, caught.value.reason
    assert str(caught.value) == caught.value.reason
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) < 200


def test_there_are_enough_kinds():
    bad = [name for name in chains.CASES if name.startswith("bad_")]
    assert len(bad) >= 80
    assert len(chains.CASES) - len(bad) >= 40
