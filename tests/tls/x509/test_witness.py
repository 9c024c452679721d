# SPDX-License-Identifier: MIT
"""What OpenSSL says of the same chains: it takes and refuses what we do, but where a line here says why."""

from __future__ import annotations

import base64
import ipaddress
import subprocess
from pathlib import Path

import pytest

from tests.conftest import need
from tests.tls.x509 import chains

# Good ones that `openssl verify` refuses. It needs a path to a self-signed certificate, takes the first of one name
# where there is no key identifier, ends a second earlier, and does not know a trailing dot or anyExtendedKeyUsage.
FOUND_BY_US = {
    "good_any_extended_key_usage", "good_cross_signed", "good_in_the_last_second", "good_intermediate_is_trusted",
    "good_leaf_is_trusted", "good_self_issued", "good_trailing_dot", "good_two_roots_of_one_name", "good_expired_twin",
}  # fmt: skip
# Bad ones that it takes: bounds of ours, keys and hashes that are too weak or of no use here, keyUsage of a server that
# may only decipher (RSA's key exchange, which we have not), common names, wildcards within a label, policies, and
# constraints that say nothing.
REFUSED_BY_US = {
    "bad_chain_of_hundred", "bad_too_many_names", "bad_too_many_purposes", "bad_too_many_extensions",
    "bad_path_of_seven", "bad_constraint_storm", "bad_curve", "bad_rsa_1024", "bad_rsa_2047", "bad_rsa_4097",
    "bad_sha224", "bad_pss_salt", "bad_pss_mask", "bad_key_may_not_sign", "bad_policy_constraints",
    "bad_inhibit_any_policy", "bad_name_constraints_in_leaf", "bad_common_name_only", "bad_wildcard_partial",
    "bad_hostname_is_wildcard", "bad_hostname_empty", "bad_excluded_by_wildcard", "bad_constraints_empty",
    "bad_constraints_no_tree", "bad_constraints_no_network", "bad_constraints_mask", "bad_constraints_minimum",
    "bad_uri_constraint",
}  # fmt: skip


def pem(*certificates: bytes) -> bytes:
    blocks = (base64.encodebytes(der) for der in certificates)
    return b"".join(b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % block for block in blocks)


def believes(case: chains.Case, folder: Path) -> bool:
    """Whether `openssl verify` takes the chain."""
    leaf, rest, roots = folder / "leaf.pem", folder / "rest.pem", folder / "roots.pem"
    leaf.write_bytes(pem(case.chain[0]))
    rest.write_bytes(pem(*case.chain[1:] or case.chain))
    roots.write_bytes(pem(*case.roots or ()))
    command = ["openssl", "verify", "-no-CApath", "-no-CAstore", "-attime", str(case.wall_s)]
    command += ["-purpose", f"ssl{case.purpose}", "-CAfile", str(roots), "-untrusted", str(rest)]
    if case.hostname is not None:
        try:
            ipaddress.ip_address(case.hostname)
            command += ["-verify_ip", case.hostname]
        except ValueError:
            command += ["-verify_hostname", case.hostname]
    done = subprocess.run([*command, leaf], capture_output=True, timeout=60, check=False)
    return done.returncode == 0


@pytest.mark.slow
def test_openssl_says_the_same(tmp_path: Path) -> None:
    need("openssl", "openssl")
    count, others = 0, []
    for name, build in chains.CASES.items():
        case = build()
        # It has no pins, always a clock, and takes no such arguments.
        if case.roots is None or case.wall_s is None or not case.chain or case.pins or "\0" in (case.hostname or ""):
            continue
        count += 1
        is_good = not case.reason
        if believes(case, tmp_path) != is_good and name not in (FOUND_BY_US if is_good else REFUSED_BY_US):
            others.append(name)
    assert others == []
    assert count > 180
