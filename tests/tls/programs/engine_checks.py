# SPDX-License-Identifier: MIT
"""Engines on the interpreter that images have: what tests on CPython show, and what connections take in memory."""

import gc
import sys

from primitives import make_crypto, material

from libos.tls.client import ClientContext
from libos.tls.errors import TlsError
from libos.tls.server import ServerContext

NOW_MS = 5000
WALL_S = 1800000000


class Credential:
    key_kind = "p256"

    def __init__(self, crypto, name, size=600):
        self.names = (name,)
        self.chain = [name.encode() + bytes(size)]
        self.signer = crypto.signer("p256", material(name))


class Leaf:
    not_after_s = 1900000000

    def __init__(self, public_key):
        self.public_key = public_key


class Refused(ValueError):
    alert = 48
    reason = "not trusted"


class Verifier:
    def __init__(self, crypto):
        self.crypto = crypto

    def verify(self, chain, wall_s, purpose, hostname=None):
        name = bytes(chain[0][: chain[0].find(b"\0")])
        if hostname is not None and name != hostname.encode():
            raise Refused
        return Leaf(self.crypto.signer("p256", material(name.decode())).public_key)


def contexts(groups=(0x001D, 0x0017), ours=(0x001D, 0x0017), client_auth="none", **options):
    crypto, other = make_crypto(groups), make_crypto(ours)
    names = [Credential(crypto, "localhost"), Credential(crypto, "other.example")]
    servers = ServerContext(
        crypto, names, verifier=Verifier(crypto), client_auth=client_auth, alpn=(b"http/1.1",), record_size_limit=4096
    )
    own = [Credential(other, "somebody")]
    return ClientContext(other, Verifier(other), credentials=own, alpn=(b"h2", b"http/1.1"), **options), servers


def exchange(client, server):
    while True:
        ours, theirs = client.take_output(), server.take_output()
        if not ours and not theirs:
            return
        if ours:
            server.receive_data(ours)
        if theirs:
            client.receive_data(theirs)


def connect(clients, servers, session=None, name="localhost"):
    client, server = clients.engine(name, NOW_MS, WALL_S, session), servers.engine(NOW_MS, WALL_S)
    exchange(client, server)
    if client.error is not None:
        raise client.error
    assert client.is_established and server.is_established
    return client, server


def talk(client, server):
    for count in (1, 4096, 16384, 50000):
        data = bytes(range(256)) * 200
        client.send(data[:count])
        server.send(memoryview(data)[:count])
        exchange(client, server)
        assert b"".join(client.data) == b"".join(server.data) == data[:count]
        client.data.clear()
        server.data.clear()


def check_full():
    client, server = connect(*contexts())
    assert client.cipher in ("TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256") and client.alpn == b"http/1.1"
    assert server.server_name == "localhost"
    talk(client, server)


def check_another_name():
    client, _ = connect(*contexts(), name="other.example")
    assert client.peer_chain[0].startswith(b"other.example")


def check_groups():
    for group in (0x11EC, 0x001D, 0x0017):
        client, server = connect(*contexts(groups=(group,), ours=(group,)))
        assert client.group == server.group == group
        talk(client, server)


def check_retry():
    client, server = connect(*contexts(groups=(0x0017,)))
    assert client.group == server.group == 0x0017
    talk(client, server)


def check_resumed():
    clients, servers = contexts()
    session = connect(clients, servers)[0].session
    client, server = connect(clients, servers, session)
    assert client.is_resumed and server.is_resumed
    talk(client, server)


def check_client_certificate():
    _, server = connect(*contexts(client_auth="required"))
    assert server.peer_chain[0].startswith(b"somebody")


def check_record_size():
    client, server = connect(*contexts(record_size_limit=100))
    talk(client, server)
    client.send(bytes(5000))
    server.send(bytes(5000))
    for engine, longest in ((client, 4096), (server, 100)):
        octets = engine.take_output()
        lengths = []
        while octets:
            lengths.append((octets[3] << 8 | octets[4]) - 17)
            octets = octets[lengths[-1] + 22 :]
        assert lengths == [longest] * (5000 // longest) + [5000 % longest][: 5000 % longest], lengths


def check_keys():
    client, server = connect(*contexts())
    for _ in range(3):
        client.update_keys(True)
        server.update_keys()
        talk(client, server)


def check_end():
    client, server = connect(*contexts())
    client.close()
    exchange(client, server)
    assert server.is_peer_closed and server.error is None
    server.send(b"after")
    server.close()
    exchange(client, server)
    assert client.data == [b"after"] and client.is_peer_closed and client.error is None
    client, server = connect(*contexts())
    server.receive_data(b"")
    assert server.error.reason.startswith("truncated")
    try:
        server.send(b"x")
    except TlsError:
        return
    raise AssertionError("sent")


def check_untrusted():
    clients, servers = contexts()
    try:
        connect(clients, servers, name="third.example")
    except TlsError as error:
        assert error.alert == 48
        return
    raise AssertionError("connected")


def check_damage():
    """An octet of each flight after the other."""
    clients, servers = contexts(client_auth="required")
    for number in range(3):
        at = 0
        while True:
            client, server = clients.engine("localhost", NOW_MS, WALL_S), servers.engine(NOW_MS, WALL_S)
            pair = (client, server)
            for turn in range(number):
                pair[1 - turn % 2].receive_data(pair[turn % 2].take_output())
            flight = bytearray(pair[number % 2].take_output())
            if at >= len(flight):
                break
            flight[at] ^= 0x20
            pair[1 - number % 2].receive_data(flight)
            exchange(client, server)
            for engine in pair:
                engine.receive_data(b"")
                assert engine.data == []
                assert engine.error is None or engine.error.alert != 80
            at += 3


def used():
    gc.collect()
    return gc.mem_alloc()


def check_memory():
    """Octets of heap of an idle connection, its keys' ciphers included, and of one that is half open."""
    clients, servers = contexts()
    connect(clients, servers)
    count = 40
    held = [None] * count
    before = used()
    for number in range(count):
        held[number] = connect(clients, servers)[1]
    server_bytes = (used() - before) // count
    for number in range(count):
        held[number] = None
    before = used()
    for number in range(count):
        held[number] = connect(clients, servers)[0]
    client_bytes = (used() - before) // count
    for number in range(count):
        held[number] = None
    hello = clients.engine("localhost", NOW_MS, WALL_S).take_output()
    before = used()
    for number in range(count):
        held[number] = servers.engine(NOW_MS, WALL_S)
        held[number].receive_data(hello)
        held[number].take_output()
    half_open_bytes = (used() - before) // count
    held = engine = None
    before = used()
    for _ in range(200):
        client, server = connect(clients, servers)
        client.close()
        exchange(client, server)
    client = server = None
    grown = used() - before
    print("memory", server_bytes, client_bytes, half_open_bytes, grown, engine)


CHECKS = (
    check_full,
    check_another_name,
    check_groups,
    check_retry,
    check_resumed,
    check_client_certificate,
    check_record_size,
    check_keys,
    check_end,
    check_untrusted,
    check_damage,
    check_memory,
)

for check in CHECKS:
    try:
        check()
    except Exception as error:
        print("FAILED", check.__name__)
        sys.print_exception(error)
    else:
        print("ok", check.__name__)
print("done")
