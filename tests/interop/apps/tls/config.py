# SPDX-License-Identifier: MIT
"""The TLS interoperation tests' application: a server for each kind of key, one that asks for certificates, a client.

The test puts the certificates beside this file (tests/interop/tls/image.py).
"""

from mirage_py.dsl import generic_stack, register, tls, unikernel

KEYS = ("p256", "p384", "rsa", "ed25519")
HTTP = ("http/1.1",)

stack = generic_stack()
servers = [
    tls(
        stack,
        certificate=[f"server-{kind}.pem", "server-other.pem"],
        key=[f"server-{kind}.key", "server-other.key"],
        alpn=HTTP,
        # A queue that is small enough to be filled by a test.
        half_open=64,
    )
    for kind in KEYS
]
strict = tls(stack, certificate="server-p256.pem", key="server-p256.key", client_ca="ca.pem", alpn=HTTP)
client = tls(stack, trust="ca.pem", client_certificate="client.pem", client_key="client.key", alpn=HTTP, peer_keys=KEYS)
register("tls_peer", unikernel("peer.Peer", stack, *servers, strict, client))
