# SPDX-License-Identifier: MIT
"""Chains of certificates, good and bad, each with what a verifier must say of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.tls.x509 import authority
from tests.tls.x509.authority import CLIENT, DAY, LEAF_USAGE, NOW, NOW_S, SERVER, Issuer, der, key, key_usage

BAD_CERTIFICATE, UNSUPPORTED, EXPIRED, UNKNOWN, UNKNOWN_CA = 42, 43, 45, 46, 48


@dataclass
class Case:
    """chain: DER, the own one first. roots: DER of who is trusted, or None. wall_s: Unix seconds, or None.

    alert, reason: what the error has; None and "" when the chain is good.
    """

    chain: Sequence[bytes]
    roots: Sequence[bytes] | None
    alert: int | None = None
    reason: str = ""
    wall_s: int | None = NOW_S
    purpose: str = "server"
    hostname: str | None = "server.example"
    pins: Sequence[bytes] = ()


CASES: dict[str, Callable[[], Case]] = {}


def case(build: Callable[[], Case]) -> Callable[[], Case]:
    CASES[build.__name__] = build
    return build


def cases(**builders: Callable[[], Case]) -> None:
    CASES.update(builders)


def root(**how: Any) -> Issuer:
    return Issuer("root", number=1, **how)


def between(parent: Issuer, subject: str = "intermediate", number: int = 2, **how: Any) -> Issuer:
    return Issuer(subject, parent=parent, number=number, **how)


def of_root(
    alert: int | None = None, reason: str = "", *, hostname: str | None = "server.example", **leaf: Any
) -> Case:
    """A leaf by a root."""
    ca = root()
    return Case([der(ca.issue(**leaf))], [ca.der], alert, reason, hostname=hostname)


def of_intermediate(alert: int | None = None, reason: str = "", leaf: Any = None, **how: Any) -> Case:
    """root -> intermediate, made so -> leaf."""
    ca = root()
    issuer = between(ca, **how)
    return Case([der(issuer.issue(**(leaf or {}))), issuer.der], [ca.der], alert, reason)


class UnfitRsa:
    """What has a public key of so many bits; there is no private one."""

    def __init__(self, bits: int) -> None:
        self._numbers = rsa.RSAPublicNumbers(65537, (1 << bits - 1) + 12345)

    def public_key(self) -> Any:
        return self._numbers.public_key()


def damaged(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1, old
    return data.replace(old, new)


# --- good ones ---

cases(
    good_leaf_by_root=of_root,
    good_intermediate=of_intermediate,
    good_with_root_in_chain=lambda: (lambda c: Case([*c.chain, c.roots[0]], c.roots))(of_intermediate()),
    good_no_key_usage=lambda: of_root(usage=None),
    good_no_extended_key_usage=lambda: of_root(purposes=None),
    good_any_extended_key_usage=lambda: of_root(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
    good_both_purposes=lambda: of_root(purposes=[CLIENT, SERVER]),
    good_no_basic_constraints=lambda: of_root(is_ca=None),
    good_without_hostname=lambda: of_root(hostname=None, names=[]),
    good_wildcard=lambda: of_root(names=["*.example.com"], hostname="www.example.com"),
    good_upper_case=lambda: of_root(names=["WWW.Example.COM"], hostname="www.EXAMPLE.com"),
    good_trailing_dot=lambda: of_root(hostname="server.example."),
    good_underscore=lambda: of_root(names=["a_b.example.com"], hostname="a_b.example.com"),
    good_one_label=lambda: of_root(names=["localhost"], hostname="localhost"),
    good_a_label=lambda: of_root(names=["xn--bcher-kva.example"], hostname="xn--bcher-kva.example"),
    good_ipv4=lambda: of_root(names=["ip:192.0.2.1"], hostname="192.0.2.1"),
    good_ipv6=lambda: of_root(names=["ip:2001:db8::1"], hostname="2001:DB8:0:0::1"),
    good_many_names=lambda: of_root(names=[f"h{number}.example" for number in range(400)], hostname="h399.example"),
    good_empty_subject=lambda: of_root(subject=""),
    good_in_the_last_second=lambda: (lambda c: Case(c.chain, c.roots, wall_s=NOW_S + 30 * 86400))(of_root()),
    good_in_the_first_second=lambda: (lambda c: Case(c.chain, c.roots, wall_s=NOW_S - 86400))(of_root()),
    good_until_9999=lambda: of_root(end=datetime.datetime(9999, 12, 31, 23, 59, 59)),
    good_since_1950=lambda: of_root(begin=datetime.datetime(1950, 1, 1)),
    good_path_length_zero=lambda: of_intermediate(path_length=0),
    good_intermediate_for_servers=lambda: of_intermediate(purposes=[SERVER]),
    good_intermediate_no_key_usage=lambda: of_intermediate(usage=None),
    good_unknown_extension=lambda: of_root(
        extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), False)]
    ),
    good_critical_policies=lambda: of_root(
        extra=[
            (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.1"), None)]), True)
        ]
    ),
    good_key_identifiers=lambda: of_root(
        extra=[(x509.SubjectKeyIdentifier(b"abc"), False), (x509.AuthorityKeyIdentifier(b"x", None, None), False)]
    ),
)


@case
def good_any_order() -> Case:
    ca = root()
    one = between(ca, "one", 2)
    two = between(one, "two", 3)
    three = between(two, "three", 4)
    return Case([der(three.issue()), one.der, ca.der, three.der, two.der], [ca.der])


@case
def good_with_strangers() -> Case:
    """Certificates that nobody needs, malformed ones too, do no harm."""
    ca = root()
    issuer = between(ca)
    stranger = between(Issuer("other", number=8), "stranger", 9)
    return Case([der(issuer.issue()), b"junk", stranger.der, issuer.der, issuer.der[:-1]], [ca.der])


@case
def good_cross_signed() -> Case:
    """Two certificates for one authority; only the one whose issuer is trusted leads anywhere."""
    old, new = Issuer("old root", number=1), Issuer("new root", number=2)
    by_old = between(old, "authority", 3)
    by_new = between(new, "authority", 3)
    return Case([der(by_new.issue()), by_old.der, by_new.der], [new.der])


@case
def good_two_roots_of_one_name() -> Case:
    one, two = Issuer("root", number=1), Issuer("root", number=2)
    return Case([der(two.issue())], [one.der, two.der])


@case
def good_expired_twin() -> Case:
    """An authority came with an expired certificate and one that holds."""
    ca = root()
    expired = between(ca, begin=NOW - 9 * DAY, end=NOW - DAY)
    return Case([der(expired.issue()), expired.der, between(ca).der], [ca.der])


@case
def good_intermediate_is_trusted() -> Case:
    issuer = between(root())
    return Case([der(issuer.issue()), issuer.der], [issuer.der])


@case
def good_self_signed_and_trusted() -> Case:
    alone = Issuer("alone", is_ca=False, names=["server.example"], usage=LEAF_USAGE)
    return Case([alone.der], [alone.der])


@case
def good_self_signed_authority_and_trusted() -> Case:
    """What `openssl req -x509` makes."""
    alone = Issuer("alone", is_ca=True, names=["server.example"], usage=None)
    return Case([alone.der], [alone.der])


@case
def good_leaf_is_trusted() -> Case:
    leaf = der(root().issue())
    return Case([leaf], [leaf])


@case
def good_self_issued() -> Case:
    """An authority that has renewed its key: its own certificate for itself counts for no path length."""
    ca = root(path_length=0)
    renewed = Issuer("root", number=5, parent=ca)
    return Case([der(renewed.issue()), renewed.der], [ca.der])


@case
def good_longest_path() -> Case:
    ca = issuer = root()
    chain = []
    for number in range(6):
        issuer = between(issuer, f"i{number}", 10 + number)
        chain.insert(0, issuer.der)
    return Case([der(issuer.issue()), *chain], [ca.der])


@case
def good_client() -> Case:
    ca = root()
    return Case([der(ca.issue(names=[], purposes=[CLIENT]))], [ca.der], purpose="client", hostname=None)


def signed_by(kind: str, algorithm: Any = None, pad: Any = None) -> Callable[[], Case]:
    def build() -> Case:
        ca = root(kind=kind)
        return Case([der(ca.issue(algorithm=algorithm, padding=pad, private=key(kind, 7)))], [ca.der])

    return build


def pss(algorithm: Any, salt: int | None = None, mask: Any = None) -> padding.PSS:
    return padding.PSS(padding.MGF1(mask or algorithm), algorithm.digest_size if salt is None else salt)


for _bits in (256, 384, 512):
    _hash = getattr(hashes, f"SHA{_bits}")()
    for _kind in ("p256", "p384"):
        CASES[f"good_{_kind}_sha{_bits}"] = signed_by(_kind, _hash)
    CASES[f"good_rsa_pkcs1_sha{_bits}"] = signed_by("rsa", _hash)
    CASES[f"good_rsa_pss_sha{_bits}"] = signed_by("rsa", _hash, pss(_hash))
CASES["good_rsa_4096"] = signed_by("rsa4096", hashes.SHA256())
CASES["good_ed25519"] = signed_by("ed25519")


# --- dates ---

cases(
    bad_expired=lambda: of_root(EXPIRED, "a certificate has expired", begin=NOW - 9 * DAY, end=NOW - DAY),
    bad_not_yet=lambda: of_root(EXPIRED, "not valid yet", begin=NOW + DAY, end=NOW + 9 * DAY),
    bad_second_after=lambda: (lambda c: Case(c.chain, c.roots, EXPIRED, "has expired", NOW_S + 30 * 86400 + 1))(
        of_root()
    ),
    bad_second_before=lambda: (lambda c: Case(c.chain, c.roots, EXPIRED, "not valid yet", NOW_S - 86401))(of_root()),
    bad_intermediate_expired=lambda: of_intermediate(EXPIRED, "has expired", begin=NOW - 9 * DAY, end=NOW - DAY),
    bad_intermediate_not_yet=lambda: of_intermediate(EXPIRED, "not valid yet", begin=NOW + DAY, end=NOW + 9 * DAY),
    bad_time_unknown=lambda: (lambda c: Case(c.chain, c.roots, UNKNOWN, "the time is not known", None))(of_root()),
)


@case
def bad_root_expired() -> Case:
    ca = root(begin=NOW - 9 * DAY, end=NOW - DAY)
    return Case([der(ca.issue())], [ca.der], EXPIRED, "an authority that is trusted has expired")


# --- who issued it ---

cases(
    bad_self_signed=lambda: Case(
        [Issuer("alone", names=["server.example"], is_ca=False, usage=LEAF_USAGE).der],
        [root().der],
        UNKNOWN_CA,
        "nobody who is trusted",
    ),
    bad_issuer_unknown=lambda: Case(
        [der(Issuer("other", number=9).issue())], [root().der], UNKNOWN_CA, "nobody who is trusted"
    ),
    bad_intermediate_missing=lambda: (lambda c: Case(c.chain[:1], c.roots, UNKNOWN_CA, "nobody who is trusted"))(
        of_intermediate()
    ),
    bad_nothing_trusted=lambda: (lambda c: Case(c.chain, [], UNKNOWN_CA, "nobody who is trusted"))(of_root()),
    bad_intermediate_no_authority=lambda: of_intermediate(BAD_CERTIFICATE, "no authority's", is_ca=False),
    bad_intermediate_no_basic_constraints=lambda: of_intermediate(BAD_CERTIFICATE, "no authority's", is_ca=None),
    bad_intermediate_may_not_sign=lambda: of_intermediate(
        BAD_CERTIFICATE, "may not sign certificates", usage=key_usage("digital_signature", "crl_sign")
    ),
    bad_intermediate_for_clients=lambda: of_intermediate(
        UNSUPPORTED, r"not for this purpose \(authority\)", purposes=[CLIENT]
    ),
    bad_intermediate_unknown_critical=lambda: of_intermediate(
        UNSUPPORTED,
        "critical extension that is not known: 1.2.3.4",
        extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)],
    ),
    bad_intermediate_malformed=lambda: (
        lambda c: Case([c.chain[0], c.chain[1][:-1]], c.roots, BAD_CERTIFICATE, "malformed: an element is cut off")
    )(of_intermediate()),
)


@case
def bad_imposter() -> Case:
    """The root's name, and another key."""
    return Case([der(Issuer("root", number=6).issue())], [root().der], BAD_CERTIFICATE, "a signature is wrong")


@case
def bad_imposter_in_between() -> Case:
    ca = root()
    true, false = between(ca), between(Issuer("root", number=6), number=7)
    return Case([der(false.issue()), true.der, false.der], [ca.der], BAD_CERTIFICATE, "a signature is wrong")


@case
def bad_leaf_issues() -> Case:
    """A certificate for one host, used as if it were an authority's (the mistake of 2002)."""
    ca = root()
    leaf = Issuer("leaf", number=4, parent=ca, is_ca=False, usage=LEAF_USAGE, names=["mine.example"])
    return Case([der(leaf.issue()), leaf.der], [ca.der], BAD_CERTIFICATE, "no authority's")


@case
def bad_trusted_leaf_issues() -> Case:
    leaf = Issuer("leaf", number=4, parent=root(), is_ca=False, usage=LEAF_USAGE, names=["mine.example"])
    return Case([der(leaf.issue())], [leaf.der], UNKNOWN_CA, "trusted, and is no authority")


@case
def bad_trusted_leaf_renames_itself() -> Case:
    """Who is trusted as one host signs a certificate for another one, with the same key and subject."""
    mine = Issuer("leaf", number=4, is_ca=False, usage=LEAF_USAGE, names=["mine.example"])
    other = Issuer("leaf", number=4, is_ca=False, usage=LEAF_USAGE, names=["server.example"])
    return Case([other.der], [mine.der], UNKNOWN_CA, "trusted, and is no authority")


@case
def bad_root_may_not_sign() -> Case:
    ca = root(usage=key_usage("digital_signature"))
    return Case([der(ca.issue())], [ca.der], UNKNOWN_CA, "trusted, and is no authority")


@case
def bad_circle() -> Case:
    """Two authorities that certify each other, and nobody else."""
    one, two = Issuer("one", number=11), Issuer("two", number=12)
    return Case(
        [
            der(one.issue()),
            der(two.issue("one", private=one.key, is_ca=True, usage=authority.CA_USAGE, names=(), purposes=None)),
            der(one.issue("two", private=two.key, is_ca=True, usage=authority.CA_USAGE, names=(), purposes=None)),
        ],
        [root().der],
        UNKNOWN_CA,
        "nobody who is trusted",
    )


# --- lengths and work ---

cases(
    bad_empty_chain=lambda: Case([], [root().der], BAD_CERTIFICATE, "no certificate"),
    bad_chain_of_hundred=lambda: (
        lambda c: Case([c.chain[0]] * 100, c.roots, BAD_CERTIFICATE, "a chain of 100 certificates")
    )(of_root()),
    bad_too_many_names=lambda: of_root(
        UNSUPPORTED, "more than 500 names", names=["server.example", *(f"h{number}.x" for number in range(600))]
    ),
    bad_too_many_purposes=lambda: of_root(
        UNSUPPORTED,
        "more than 64 purposes",
        purposes=[SERVER, *(x509.ObjectIdentifier(f"1.2.3.{number}") for number in range(99))],
    ),
    bad_too_many_extensions=lambda: of_root(
        UNSUPPORTED,
        "more than 64 extensions",
        extra=[
            (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{number}"), b""), False) for number in range(99)
        ],
    ),
)


@case
def bad_path_length() -> Case:
    ca = root(path_length=0)
    issuer = between(ca)
    return Case([der(issuer.issue()), issuer.der], [ca.der], BAD_CERTIFICATE, "longer than an authority allows")


@case
def bad_intermediate_path_length() -> Case:
    ca = root()
    one = between(ca, "one", 2, path_length=0)
    two = between(one, "two", 3)
    return Case([der(two.issue()), two.der, one.der], [ca.der], BAD_CERTIFICATE, "longer than an authority allows")


@case
def bad_path_of_seven() -> Case:
    ca = issuer = root()
    chain: list[bytes] = []
    for number in range(7):
        issuer = between(issuer, f"i{number}", 10 + number)
        chain.insert(0, issuer.der)
    return Case([der(issuer.issue()), *chain], [ca.der], UNKNOWN_CA, "more than 6 certificates")


@case
def bad_many_paths() -> Case:
    """Many authorities of the right name, none of which has signed."""
    issuers = [Issuer("x", number=20 + number, parent=Issuer("x", number=50)) for number in range(14)]
    return Case(
        [der(issuers[0].issue()), *(issuer.der for issuer in issuers[1:])], [root().der], BAD_CERTIFICATE, "signature"
    )


@case
def bad_signature_storm() -> Case:
    """All of one name, each certified by each other's key: as many paths as there are orders of them."""
    keys = [Issuer("x", number=40 + number) for number in range(4)]
    chain = [der(keys[0].issue())]
    for signer in keys:
        for owner in keys:
            if owner is not signer:
                chain.append(der(signer.issue("x", private=owner.key, is_ca=True, usage=None, names=(), purposes=None)))
    return Case(chain, [root().der], BAD_CERTIFICATE, "a signature is wrong")


@case
def bad_constraint_storm() -> Case:
    ca = root(permitted=[f"h{number}.example" for number in range(300)])
    names = [f"h{number}.example" for number in range(250)]
    leaf = der(ca.issue(names=names))
    return Case([leaf], [ca.der], UNSUPPORTED, "too many names and name constraints", hostname="h1.example")


# --- purposes and keys ---

cases(
    bad_client_as_server=lambda: of_root(UNSUPPORTED, r"not for this purpose \(server\)", purposes=[CLIENT]),
    bad_server_as_client=lambda: (
        lambda c: Case(
            c.chain, c.roots, UNSUPPORTED, r"not for this purpose \(client\)", purpose="client", hostname=None
        )
    )(of_root()),
    bad_code_signing=lambda: of_root(UNSUPPORTED, "not for this purpose", purposes=[ExtendedKeyUsageOID.CODE_SIGNING]),
    bad_key_may_not_sign=lambda: of_root(BAD_CERTIFICATE, "key may not sign", usage=key_usage("key_encipherment")),
    bad_unknown_critical=lambda: of_root(
        UNSUPPORTED,
        "critical extension that is not known: 1.3.6.1.4.1.99999.1",
        extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0"), True)],
    ),
    bad_poison=lambda: of_root(
        UNSUPPORTED,
        "critical extension that is not known: 1.3.6.1.4.1.11129.2.4.3",
        extra=[(x509.PrecertPoison(), True)],
    ),
    bad_policy_constraints=lambda: of_intermediate(
        UNSUPPORTED, "critical extension that is not known: 2.5.29.36", extra=[(x509.PolicyConstraints(0, None), True)]
    ),
    bad_inhibit_any_policy=lambda: of_intermediate(
        UNSUPPORTED, "critical extension that is not known: 2.5.29.54", extra=[(x509.InhibitAnyPolicy(0), True)]
    ),
    bad_curve=lambda: of_root(UNSUPPORTED, "curve that is not supported", private=key("p521")),
    bad_rsa_1024=lambda: of_root(UNSUPPORTED, "RSA key of 1024 bits", private=UnfitRsa(1024)),
    bad_rsa_2047=lambda: of_root(UNSUPPORTED, "RSA key of 2047 bits", private=UnfitRsa(2047)),
    bad_rsa_4097=lambda: of_root(UNSUPPORTED, "RSA key of 4097 bits", private=UnfitRsa(4097)),
    bad_name_constraints_in_leaf=lambda: of_root(
        BAD_CERTIFICATE, "name constraints in a certificate that is no authority's", permitted=["server.example"]
    ),
    bad_sha224=lambda: of_root(UNSUPPORTED, "signature of a kind that is not supported", algorithm=hashes.SHA224()),
)


def weak_root(kind: str, found: bytes, weak: bytes, text: str, alert: int = UNSUPPORTED) -> Callable[[], Case]:
    """`cryptography` makes no such signatures any more: the algorithm's name is changed in a good certificate."""

    def build() -> Case:
        ca = root(kind=kind)
        return Case([damaged(der(ca.issue()), found, weak)], [ca.der], alert, text)

    return build


_RSA_OID = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01"
CASES["bad_sha1_rsa"] = weak_root("rsa", _RSA_OID + b"\x0b", _RSA_OID + b"\x05", "signed with SHA-1, which is too weak")
CASES["bad_md5_rsa"] = weak_root("rsa", _RSA_OID + b"\x0b", _RSA_OID + b"\x04", "signed with MD5, which is too weak")
CASES["bad_algorithms_swapped"] = weak_root(
    "rsa", _RSA_OID + b"\x0b", _RSA_OID + b"\x0c", "a signature is wrong", BAD_CERTIFICATE
)


def pss_with(**how: Any) -> Callable[[], Case]:
    def build() -> Case:
        ca = root(kind="rsa")
        leaf = der(ca.issue(algorithm=hashes.SHA256(), padding=pss(hashes.SHA256(), **how)))
        return Case([leaf], [ca.der], UNSUPPORTED, "RSASSA-PSS with")

    return build


CASES["bad_pss_salt"] = pss_with(salt=20)
CASES["bad_pss_mask"] = pss_with(mask=hashes.SHA384())


@case
def bad_signature_damaged() -> Case:
    good = of_root()
    leaf = bytearray(good.chain[0])
    leaf[-1] ^= 1
    return Case([bytes(leaf)], good.roots, BAD_CERTIFICATE, "a signature is wrong")


@case
def bad_contents_damaged() -> Case:
    good = of_root(names=["server.example", "other.example"])
    return Case(
        [damaged(good.chain[0], b"other.example", b"0ther.example")],
        good.roots,
        BAD_CERTIFICATE,
        "a signature is wrong",
    )


# --- host names ---


def named(hostname: str, *names: str, reason: str = "the certificate is for") -> Callable[[], Case]:
    return lambda: of_root(BAD_CERTIFICATE, reason, names=names, hostname=hostname)


cases(
    bad_host=named("other.example", "server.example", reason="for server.example, not for other.example"),
    bad_host_parent=named("example", "server.example"),
    bad_host_child=named("a.server.example", "server.example"),
    bad_host_suffix=named("evilserver.example", "server.example"),
    bad_no_names=named("server.example", reason="for no host, not for server.example"),
    bad_common_name_only=lambda: of_root(BAD_CERTIFICATE, "for no host", subject="server.example", names=[]),
    bad_many_other_names=named(
        "x.example", *(f"h{number}.example" for number in range(9)), reason="h0.example, h1.example, h2.example, …"
    ),
    bad_wildcard_two_labels=named("a.b.example.com", "*.example.com"),
    bad_wildcard_no_label=named("example.com", "*.example.com"),
    bad_wildcard_registry=named("example.com", "*.com"),
    bad_wildcard_partial=named("www.example.com", "w*.example.com"),
    bad_wildcard_in_the_middle=named("www.a.example.com", "www.*.example.com"),
    bad_wildcard_alone=named("localhost", "*"),
    bad_wildcard_double=named("a.b.example.com", "*.*.example.com"),
    bad_hostname_is_wildcard=named("*.example.com", "*.example.com", reason="not a host name"),
    bad_hostname_empty=named("", "server.example", reason="not a host name"),
    bad_hostname_no_ascii=named("bücher.example", "server.example", reason="not a host name"),
    bad_hostname_with_space=named("server.example ", "server.example", reason="not a host name"),
    bad_hostname_with_zero=named("server.example\0.evil", "server.example", reason="not a host name"),
    bad_hostname_with_empty_label=named("server..example", "server.example", reason="not a host name"),
    bad_hostname_too_long=named(".".join(["a" * 60] * 5), "server.example", reason="not a host name"),
    bad_name_with_trailing_dot=named("server.example", "server.example."),
    bad_ip=named("192.0.2.1", "ip:192.0.2.2", reason="for 192.0.2.2, not for 192.0.2.1"),
    bad_ip_as_dns_name=named("192.0.2.1", "dns:192.0.2.1"),
    bad_ip_by_wildcard=named("192.0.2.1", "*.0.2.1"),
    bad_ipv6=named("2001:db8::1", "ip:2001:db8::2", reason="for 2001:db8:0:0:0:0:0:2, not"),
    bad_ip_for_name=named("server.example", "ip:192.0.2.1"),
    bad_mapped_ipv4=named("::ffff:192.0.2.1", "ip:192.0.2.1"),
    bad_mail_is_no_host=named("server.example", "mail:server.example@x.example"),
    bad_uri_is_no_host=named("server.example", "uri:https://server.example/"),
)


@case
def bad_zero_in_name() -> Case:
    """The trick of 2009: a name that ends early for those who write C."""
    ca = root()
    leaf = damaged(der(ca.issue(names=["server.example_x.evil"])), b"example_x", b"example\0x")
    return Case([leaf], [ca.der], BAD_CERTIFICATE, "a name that is not text")


# --- name constraints ---


def constrained(
    names: Sequence[str], reason: str = "", hostname: str | None = None, subject: Any = "", **how: Any
) -> Callable[[], Case]:
    """A leaf below an intermediate with name constraints. reason: "" when it is allowed."""

    def build() -> Case:
        ca = root()
        issuer = between(ca, **how)
        leaf = issuer.issue(subject, names=names)
        alert = (UNSUPPORTED if "not supported" in reason else BAD_CERTIFICATE) if reason else None
        return Case([der(leaf), issuer.der], [ca.der], alert, reason, hostname=hostname)

    return build


_ORGANISATION = x509.Name(
    [x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Some  One")]
)
_MEMBER = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "some one"),
        x509.NameAttribute(NameOID.COMMON_NAME, "x"),
    ]
)
_WITH_MAIL = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@evil.example")])


def in_directory(subject: x509.Name, reason: str = "", excluded: bool = False) -> Callable[[], Case]:
    def build() -> Case:
        ca = root()
        tree = [x509.DirectoryName(_ORGANISATION)]
        constraints = x509.NameConstraints(None if excluded else tree, tree if excluded else None)
        issuer = between(ca, extra=[(constraints, True)])
        alert = BAD_CERTIFICATE if reason else None
        return Case([der(issuer.issue(subject)), issuer.der], [ca.der], alert, reason)

    return build


cases(
    good_permitted=constrained(["a.example.com"], permitted=["example.com"]),
    good_permitted_itself=constrained(["example.com"], permitted=["example.com"]),
    good_permitted_second=constrained(["b.org"], permitted=["example.com", "b.org"]),
    good_permitted_case=constrained(["A.EXAMPLE.com"], permitted=["Example.COM"]),
    good_permitted_all=constrained(["a.example.com"], permitted=["dns:"]),
    good_permitted_subdomains=constrained(["a.example.com"], permitted=[".example.com"]),
    good_permitted_wildcard=constrained(["*.example.com"], permitted=["example.com"]),
    good_permitted_other_form=constrained(["ip:10.0.0.1"], permitted=["example.com"]),
    good_excluded_other=constrained(["a.example.com"], excluded=["example.org"]),
    good_excluded_deeper=constrained(["*.example.com"], excluded=["a.b.example.com"]),
    good_permitted_ip=constrained(["ip:10.1.2.3"], permitted=["ip:10.0.0.0/8"]),
    good_permitted_ipv6=constrained(["ip:2001:db8::1"], permitted=["ip:2001:db8::/32"]),
    good_permitted_mail=constrained(["mail:a@example.com"], permitted=["mail:example.com"]),
    good_permitted_mailbox=constrained(["mail:a@Example.com"], permitted=["mail:a@example.com"]),
    good_permitted_mail_domain=constrained(["mail:a@b.example.com"], permitted=["mail:.example.com"]),
    good_permitted_directory=in_directory(_MEMBER),
    good_directory_without_subject=in_directory(x509.Name([])),
    bad_not_permitted=constrained(
        ["a.example.org"], "does not permit the host name a.example.org", permitted=["example.com"]
    ),
    bad_one_not_permitted=constrained(
        ["a.example.com", "evil.org"], "does not permit the host name evil.org", permitted=["example.com"]
    ),
    bad_permitted_suffix=constrained(["evilexample.com"], "does not permit", permitted=["example.com"]),
    bad_permitted_subdomains_only=constrained(["example.com"], "does not permit", permitted=[".example.com"]),
    bad_permitted_wildcard_too_wide=constrained(["*.example.com"], "does not permit", permitted=["a.example.com"]),
    bad_excluded=constrained(["a.example.com"], "excludes the host name a.example.com", excluded=["example.com"]),
    bad_excluded_case=constrained(["a.EXAMPLE.com"], "excludes", excluded=["example.com"]),
    bad_excluded_by_wildcard=constrained(["*.example.com"], "excludes", excluded=["a.example.com"]),
    bad_excluded_all=constrained(["a.example.com"], "excludes", excluded=["dns:"]),
    bad_permitted_and_excluded=constrained(
        ["a.example.com"], "excludes", permitted=["example.com"], excluded=["a.example.com"]
    ),
    bad_ip_not_permitted=constrained(
        ["ip:11.0.0.1"], "does not permit the IP address 11.0.0.1", permitted=["ip:10.0.0.0/8"]
    ),
    bad_ip_other_family=constrained(["ip:::1"], "does not permit the IP address", permitted=["ip:10.0.0.0/8"]),
    bad_ip_excluded=constrained(["ip:10.9.9.9"], "excludes the IP address", excluded=["ip:10.0.0.0/8"]),
    bad_ip_excluded_all=constrained(["ip:10.9.9.9"], "excludes the IP address", excluded=["ip:0.0.0.0/0"]),
    bad_mail_not_permitted=constrained(
        ["mail:a@evil.example"], "does not permit the e-mail address", permitted=["mail:example.com"]
    ),
    bad_mail_subdomain=constrained(["mail:a@b.example.com"], "does not permit", permitted=["mail:example.com"]),
    bad_mail_in_subject=constrained(
        ["a.example.com"], "does not permit the e-mail address", subject=_WITH_MAIL, permitted=["mail:example.com"]
    ),
    bad_mail_excluded=constrained(["mail:a@example.com"], "excludes", excluded=["mail:example.com"]),
    bad_directory=in_directory(authority.name("somebody"), "does not permit the directory name"),
    bad_directory_prefix=in_directory(x509.Name(list(_ORGANISATION)[:1]), "does not permit the directory name"),
    bad_directory_excluded=in_directory(_MEMBER, "excludes the directory name", excluded=True),
    bad_uri_constraint=constrained(["uri:https://a.example/"], "not supported", permitted=["uri:example.com"]),
    good_uri_constraint_not_met=constrained(["a.example"], permitted=["uri:example.com"]),
)


@case
def bad_constraints_of_root() -> Case:
    """What is trusted is bound by its own constraints, and all below it is, however far."""
    ca = root(permitted=["example.com"])
    issuer = between(between(ca, "one", 2), "two", 3)
    assert issuer.parent.certificate.issuer == ca.name
    return Case(
        [der(issuer.issue()), issuer.der, issuer.parent.der],
        [ca.der],
        BAD_CERTIFICATE,
        "does not permit the host name server.example",
    )


@case
def bad_intermediate_is_constrained() -> Case:
    """The names of an authority in between count too."""
    one = between(root(), "one", 2, permitted=["example.com"])
    two = between(one, "two", 3, names=["evil.org"])
    return Case(
        [der(two.issue(names=["a.example.com"])), two.der, one.der],
        [root().der],
        BAD_CERTIFICATE,
        "does not permit the host name evil.org",
        hostname=None,
    )


def raw_constraints(value: str, reason: str, alert: int = BAD_CERTIFICATE) -> Callable[[], Case]:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), bytes.fromhex(value))
    return lambda: of_intermediate(alert, reason, extra=[(extension, True)])


cases(
    bad_constraints_empty=raw_constraints("3000", "constrain nothing"),
    bad_constraints_no_tree=raw_constraints("3002a000", "without a name"),
    bad_constraints_minimum=raw_constraints("300aa008 3006 8201 61 80 01 00", "after the end"),
    bad_constraints_no_host=raw_constraints("3007a005 3003 8201 20", "no host name"),
    bad_constraints_no_network=raw_constraints("300ba009 3007 8705 0a000000ff", "no network"),
    bad_constraints_mask=raw_constraints("300ea00c 300a 8708 0a000000 ff00ff00", "mask has gaps"),
    bad_constraints_trailing=raw_constraints("3007a005 3003 8201 61 0500", "after the end"),
    bad_constraints_text=raw_constraints("0c0161", "tag 0x0c where 0x30 is due"),
)


# --- pins ---


def pin(private: Any) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(authority.spki(private))
    return digest.finalize()


def pinned(*pins: Any, trusted: bool, alert: int | None = None, reason: str = "") -> Callable[[], Case]:
    def build() -> Case:
        good = of_intermediate()
        roots = good.roots if trusted else None
        return Case(good.chain, roots, alert, reason, pins=[pin(private) for private in pins])

    return build


_STRANGER = key("p256", 99)
cases(
    good_leaf_pinned=pinned(key("p256", 100), trusted=False),
    good_intermediate_pinned=pinned(key("p256", 2), trusted=False),
    good_second_pin=pinned(_STRANGER, key("p256", 100), trusted=False),
    good_trusted_and_leaf_pinned=pinned(key("p256", 100), trusted=True),
    good_trusted_and_intermediate_pinned=pinned(key("p256", 2), trusted=True),
    good_trusted_and_root_pinned=pinned(key("p256", 1), trusted=True),
    bad_not_pinned=pinned(_STRANGER, trusted=True, alert=BAD_CERTIFICATE, reason="none of the keys is pinned"),
    bad_not_pinned_alone=pinned(_STRANGER, trusted=False, alert=UNKNOWN_CA, reason="nobody who is trusted"),
)


@case
def bad_pinned_and_expired() -> Case:
    leaf = der(root().issue(begin=NOW - 9 * DAY, end=NOW - DAY))
    return Case([leaf], None, EXPIRED, "has expired", pins=[pin(key("p256", 100))])


@case
def bad_pinned_and_other_name() -> Case:
    leaf = der(root().issue(names=["other.example"]))
    return Case([leaf], None, BAD_CERTIFICATE, "not for server.example", pins=[pin(key("p256", 100))])
