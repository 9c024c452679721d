# SPDX-License-Identifier: MIT
"""Certificates, keys and chains that somebody has been at: a CertificateError (of keys, a ValueError), or a value.

In the suite for PROTOCOL_SECONDS each, in make nightly MIRAGE_PY_FUZZ_STEPS times: a million. A failure prints
seed and step.
"""

import os
import random
import time

import pytest

from libos.tls.x509 import names, pem, verify
from libos.tls.x509.certificate import Certificate
from libos.tls.x509.der import CertificateError
from libos.tls.x509.keys import private_key
from libos.tls.x509.pack import pack
from libos.tls.x509.trust import Trust
from tests.fuzz.duration import PROTOCOL_SECONDS
from tests.tls.reference_crypto import reference_crypto
from tests.tls.x509 import authority, chains
from tests.tls.x509.authority import NOW_S, key, pem_of_key

STEPS = int(os.environ.get("MIRAGE_PY_FUZZ_STEPS", "1_000_000"))
# What malformed octets may be called: bad, unsupported.
ALERTS = (42, 43)
INTERESTING = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    0x0C,
    0x13,
    0x16,
    0x17,
    0x18,
    0x30,
    0x31,
    0x7F,
    0x80,
    0x81,
    0x82,
    0x83,
    0x87,
    0xA0,
    0xA3,
    0xFF,
)


def damaged(rng, data, others):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.choice(INTERESTING)
        elif kind == 2 and at < len(data):
            data[at] = (data[at] + rng.choice([-2, -1, 1, 2])) & 255
        elif kind == 3:
            del data[at : at + rng.choice([1, 2, 3, 8, 40])]
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.choice([1, 1, 2, 5]))
        elif kind == 5:
            other = rng.choice(others)
            begin = rng.randrange(len(other))
            data[at : at + 4] = other[begin : begin + rng.choice([2, 6, 30])]
        elif kind == 6:
            data = data[:at]
    return bytes(data)


class Certificates:
    """Everything that is asked of a certificate, and names and constraints of one against those of another."""

    def __init__(self):
        wanted = [
            name for name in chains.CASES if "storm" not in name and "too_many" not in name and "rsa_4096" not in name
        ]
        self.seeds = [der for name in wanted for der in chains.CASES[name]().chain if 100 < len(der) < 3000]

    def step(self, rng):
        try:
            certificate = Certificate(damaged(rng, rng.choice(self.seeds), self.seeds))
            assert certificate.not_before_s <= 253402300799
            assert all(isinstance(name, str) for name in certificate.dns_names)
            assert all(len(ip) in (4, 16) for ip in certificate.ip_addresses)
            certificate.signature_algorithm  # noqa: B018
            assert certificate.public_key[0] in ("p256", "p384", "rsa", "ed25519")
            found = names.names_of(certificate)
            if certificate.name_constraints is not None:
                names.NameConstraints(certificate.name_constraints, lambda count: None).check(found)
            names.check_host(certificate, "server.example")
        except CertificateError as error:
            return error.alert
        return None


class Chains:
    """A whole chain with damage somewhere, and another order: never believed if what it says has changed."""

    def __init__(self):
        crypto = reference_crypto()
        self.cases = [
            chains.CASES[name]()
            for name in (
                "good_any_order",
                "good_cross_signed",
                "good_permitted",
                "good_longest_path",
                "good_p384_sha384",
            )
        ]
        self.verifiers = [verify.Verifier(crypto, Trust(pack(case.roots))) for case in self.cases]
        self.seeds = [der for case in self.cases for der in case.chain]

    def step(self, rng):
        number = rng.randrange(len(self.cases))
        case = self.cases[number]
        chain = list(case.chain)
        at = rng.randrange(len(chain))
        chain[at] = damaged(rng, chain[at], self.seeds)
        tail = chain[1:]
        rng.shuffle(tail)
        try:
            leaf = self.verifiers[number].verify([chain[0], *tail], NOW_S, "server", case.hostname)
        except CertificateError as error:
            return error.alert
        assert leaf.der == case.chain[0]
        return None


class Keys:
    """Private keys in each form, and the PEM around them."""

    def __init__(self):
        found = [
            pem_of_key(key(kind), form, "DER") for kind in ("p256", "p384", "rsa") for form in ("pkcs8", "traditional")
        ]
        found.append(pem_of_key(key("ed25519"), "pkcs8", "DER"))
        self.seeds = found + [pem_of_key(key(kind)) for kind in ("p256", "rsa", "ed25519")]
        self.seeds.append(authority.pem(authority.Issuer("CA").certificate))

    def step(self, rng):
        data = damaged(rng, rng.choice(self.seeds), self.seeds)
        alert = reason = None
        try:
            kind, material = private_key(data)
            assert kind in ("p256", "p384", "rsa", "ed25519")
            assert material
        except ValueError as error:
            alert, reason = getattr(error, "alert", None), str(error)
        assert reason is None or (reason.isprintable() and len(reason) < 300)
        try:
            pem.decode(data)
        except ValueError as error:
            reason = str(error)
            if not reason.startswith("PEM: "):
                raise
        return alert


TARGETS = {"certificates": Certificates, "chains": Chains, "keys": Keys}


def fuzz(name, seed, goes_on):
    target, alerts = TARGETS[name](), set()
    step = 0
    while goes_on(step):
        rng = random.Random(f"{seed} {step}")
        try:
            alerts.add(target.step(rng))
        except Exception as error:
            raise AssertionError(f"{name}: seed {seed}, step {step}") from error
        step += 1
    return alerts


@pytest.mark.parametrize("name", TARGETS)
def test_damage(name):
    end = time.monotonic() + PROTOCOL_SECONDS
    alerts = fuzz(name, 1, lambda step: step < 200 or time.monotonic() < end)
    assert 42 in alerts
    # A chain may break for other reasons: a damaged name has no issuer.
    assert alerts <= {None, *ALERTS} if name != "chains" else alerts <= {None, *ALERTS, 45, 48}


@pytest.mark.nightly
@pytest.mark.parametrize("name", TARGETS)
def test_damage_a_million_times(name):
    seed = random.randrange(1 << 30)
    alerts = fuzz(name, seed, lambda step: step < STEPS)
    assert 42 in alerts
