# SPDX-License-Identifier: MIT
"""Client against server in memory, with every combination of what can be negotiated (RFC 8446)."""

from __future__ import annotations

import pytest

from tests.tls.engines import (
    client_context,
    established,
    exchange,
    server_context,
    take_data,
)
from tests.tls.reference_crypto import reference_crypto


def check_data(client, server):
    client.send(b"question")
    server.send(b"answer" * 10000)
    exchange(client, server)
    assert take_data(server) == b"question"
    assert take_data(client) == b"answer" * 10000


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
@pytest.mark.parametrize("aead", ["aes128gcm", "aes256gcm", "chacha20poly1305"])
@pytest.mark.parametrize("without", [(), ("mlkem768",), ("mlkem768", "x25519")])
def test_established(kind, aead, without):
    crypto = reference_crypto(aeads=(aead,), without=without)
    client, server = established(client_context(crypto=crypto), server_context(crypto=crypto, kinds=[kind]))
    assert client.version == server.version == 0x0304
    assert client.cipher == server.cipher
    assert client.group == server.group == crypto.groups[0]
    check_data(client, server)
