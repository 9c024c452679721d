# SPDX-License-Identifier: MIT
"""Our engines with our certificates: who is verified by whom, and what the peer is told when it fails."""

import contextlib
import ssl

import pytest

from libos.tls.client import ClientContext
from libos.tls.credential import Credential
from libos.tls.errors import TlsError
from libos.tls.identity import EmbeddedIdentities
from libos.tls.server import ServerContext
from libos.tls.v12_client import ClientVersion12
from libos.tls.x509.pack import pack
from libos.tls.x509.trust import Trust
from libos.tls.x509.verify import Verifier
from mirage_py.configure.tls import certificates, octets
from tests.tls.reference_crypto import reference_crypto
from tests.tls.x509 import authority
from tests.tls.x509.authority import CLIENT, NOW_S, Issuer, key, pem_of_key

CRYPTO = reference_crypto()
KINDS = ["p256", "p384", "rsa", "ed25519"]


def credential(issuer, kind="p256", **how):
    """Of a leaf by an authority that is not trusted itself, but through `issuer`."""
    between = Issuer("between", number=7, parent=issuer)
    leaf = between.issue(private=key(kind, 9), **how)
    return Credential.of_pem(CRYPTO, authority.pem(leaf, between.certificate), pem_of_key(key(kind, 9)))


def verifier(*roots):
    return Verifier(CRYPTO, Trust(pack([root.der for root in roots])))


def handshake(server, client, hostname="server.example", wall_s=NOW_S):
    """Both engines, after all that they had to say to each other."""
    ends = [client.engine(hostname, 0, wall_s), server.engine(0, NOW_S)]
    for _ in range(10):
        for this, other in (ends, ends[::-1]):
            if data := this.take_output():
                other.receive_data(data)
    return ends


def assert_works(ends):
    client, server = ends
    assert client.error is None
    assert server.error is None
    client.send(b"hello")
    server.receive_data(client.take_output())
    assert b"".join(server.data) == b"hello"


@pytest.mark.parametrize("kind", KINDS)
def test_server_is_verified(kind):
    root = Issuer("root", number=1)
    own = [credential(root, kind)]
    ends = handshake(ServerContext(CRYPTO, own), ClientContext(CRYPTO, verifier(root)))
    assert_works(ends)
    assert ends[0].peer_chain == own[0].chain


# Not P-384 in 1.2: there a client's groups say which curves certificates may have (RFC 8422 section 5.1), and we have
# no key agreement over P-384.
@pytest.mark.parametrize(
    ("kind", "version"),
    [(kind, ssl.TLSVersion.TLSv1_3) for kind in KINDS]
    + [(kind, ssl.TLSVersion.TLSv1_2) for kind in KINDS if kind != "p384"],
)
def test_servers_of_others_are_verified(tmp_path, kind, version):
    """OpenSSL's, with the same files, in both versions; and one for another host is not believed."""
    root = Issuer("root", number=1)
    between = Issuer("between", number=7, parent=root, kind="rsa" if kind == "rsa" else "p256")
    leaf = between.issue(private=key(kind, 9), names=["server.example"])
    (tmp_path / "site.pem").write_bytes(authority.pem(leaf, between.certificate))
    (tmp_path / "site.key").write_bytes(pem_of_key(key(kind, 9)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(tmp_path / "site.pem", tmp_path / "site.key")
    ours = ClientContext(CRYPTO, verifier(root), v12=ClientVersion12(CRYPTO))
    for hostname in ("server.example", "other.example"):
        client = ours.engine(hostname, 0, NOW_S)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(incoming, outgoing, server_side=True)
        for _ in range(6):
            incoming.write(client.take_output())
            with contextlib.suppress(ssl.SSLError):
                server.do_handshake()
            if data := outgoing.read():
                client.receive_data(data)
        if hostname == "server.example":
            assert client.error is None
            assert client.is_established
            assert client.version == (0x0303 if version == ssl.TLSVersion.TLSv1_2 else 0x0304)
        else:
            assert (client.error.alert, client.is_established) == (42, False)


@pytest.mark.parametrize(
    ("how", "hostname", "alert", "reason"),
    [
        ({}, "other.example", 42, "the certificate is for server.example, not for other.example"),
        ({"end": authority.NOW - authority.DAY / 2}, "server.example", 45, "has expired"),
        ({"purposes": [CLIENT]}, "server.example", 43, "not for this purpose"),
        ({"names": ["*.server.example"]}, "server.example", 42, "not for server.example"),
    ],
)
def test_server_that_is_not_believed(how, hostname, alert, reason):
    """The client says why, tells the server by an alert, and sends nothing else."""
    root = Issuer("root", number=1)
    client, server = handshake(
        ServerContext(CRYPTO, [credential(root, **how)]), ClientContext(CRYPTO, verifier(root)), hostname
    )
    assert client.error.alert == alert
    assert reason in client.error.reason
    assert not client.error.is_remote
    assert not client.is_established
    assert server.error.alert == alert
    assert server.error.is_remote
    with pytest.raises(TlsError):
        client.send(b"secret")


def test_server_of_an_authority_that_is_not_trusted():
    root, other = Issuer("root", number=1), Issuer("other", number=2)
    client, server = handshake(ServerContext(CRYPTO, [credential(other)]), ClientContext(CRYPTO, verifier(root)))
    assert (client.error.alert, server.error.alert) == (48, 48)
    assert "nobody who is trusted" in client.error.reason


def test_time_that_is_not_known():
    root = Issuer("root", number=1)
    client, _ = handshake(ServerContext(CRYPTO, [credential(root)]), ClientContext(CRYPTO, verifier(root)), wall_s=None)
    assert "time" in client.error.reason
    assert not client.is_established


@pytest.mark.parametrize("kind", KINDS)
def test_client_is_verified(kind):
    root = Issuer("root", number=1)
    own = [credential(root, kind, names=[], subject="alice", purposes=[CLIENT])]
    server = ServerContext(CRYPTO, [credential(root)], verifier=verifier(root), client_auth="required")
    ends = handshake(server, ClientContext(CRYPTO, verifier(root), credentials=own))
    assert_works(ends)
    assert ends[1].peer_chain == own[0].chain


@pytest.mark.parametrize("purposes", [[authority.SERVER], None])
def test_client_with_a_servers_certificate(purposes):
    root = Issuer("root", number=1)
    own = [credential(root, purposes=purposes)]
    server = ServerContext(CRYPTO, [credential(root)], verifier=verifier(root), client_auth="required")
    client, server = handshake(server, ClientContext(CRYPTO, verifier(root), credentials=own))
    if purposes is None:
        assert_works([client, server])
    else:
        assert server.error.alert == 43
        assert "not for this purpose (client)" in server.error.reason


def test_name_chooses_among_embedded_identities(tmp_path):
    """Octets of the tool, verified by the guest."""
    ca = certificates.make_authority("CA")
    made = [certificates.make_leaf(ca, names) for names in (["a.test"], ["b.test", "*.c.test"])]
    server = ServerContext(CRYPTO, EmbeddedIdentities(CRYPTO, [octets.pack_identity(one) for one in made]))
    store = octets.pack_trust(ca.chain)
    client = ClientContext(CRYPTO, Verifier(CRYPTO, Trust(memoryview(store.blob))))
    wall_s = int(certificates.now().timestamp())
    for host, number in (("a.test", 0), ("b.test", 1), ("x.c.test", 1)):
        ends = handshake(server, client, host, wall_s)
        assert_works(ends)
        assert ends[0].peer_chain == [certificates.der(made[number].leaf)]
    ends = handshake(server, client, "d.test", wall_s)
    assert "for a.test, not for d.test" in ends[0].error.reason


def test_development_authority_is_bound_to_its_names():
    """What its key signs for a real host, nobody believes: neither openssl (tests/cli/test_cert.py) nor we."""
    ca = certificates.make_authority("CA", domains=["mine.org"])
    wall_s = int(certificates.now().timestamp())
    client = ClientContext(CRYPTO, Verifier(CRYPTO, Trust(octets.pack_trust(ca.chain).blob)))
    for name, is_good in [
        ("www.bank.com", False), ("8.8.8.8", False), ("www.mine.org", True), ("10.0.0.2", True), ("::1", True),
        ("localhost", True), ("printer.local", True), ("mine.org", True), ("notmine.org", False), ("2000::1", False),
    ]:  # fmt: skip
        leaf = certificates.make_leaf(ca, [name])
        assert certificates.permits(ca.leaf, name) == is_good, name
        server = ServerContext(CRYPTO, EmbeddedIdentities(CRYPTO, [octets.pack_identity(leaf)]))
        ends = handshake(server, client, name, wall_s)
        if is_good:
            assert_works(ends)
        else:
            assert "does not permit" in ends[0].error.reason
