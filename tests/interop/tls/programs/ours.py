# SPDX-License-Identifier: MIT
"""Our engines on CPython, over sockets, as client or server; the orders are JSON (tests/interop/tls/peers.py).

Primitives are those of tests/tls/reference_crypto.py: what is under test here is the protocol alone. It has all that it
can do, but for the version: what is wished beyond that, the other side asks for.
"""

import json
import socket
import sys
import threading
import time
from pathlib import Path

from libos.tls.client import ClientContext
from libos.tls.credential import Credential
from libos.tls.server import ServerContext
from libos.tls.x509.pack import pack_pem
from libos.tls.x509.trust import Trust
from libos.tls.x509.verify import Verifier
from tests.tls.reference_crypto import reference_crypto

VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
GROUPS = {0x11EC: "X25519MLKEM768", 0x1D: "x25519", 0x17: "secp256r1"}


def now_ms():
    return time.monotonic_ns() // 1_000_000


def v12_for(orders, crypto):
    """What makes handshakes of TLS 1.2, where it is wished."""
    if orders["version"] != "1.2":
        return None
    from libos.tls.v12_client import ClientVersion12
    from libos.tls.v12_server import ServerVersion12

    return ServerVersion12() if orders["role"] == "server" else ClientVersion12(crypto)


def contexts(orders):
    crypto = reference_crypto()
    verifier = Verifier(crypto, Trust(pack_pem(Path(orders["trust"]).read_bytes())))
    mine = []
    if orders["chain"]:
        mine = [Credential.of_pem(crypto, Path(orders["chain"]).read_bytes(), Path(orders["key"]).read_bytes())]
    alpn = tuple(name.encode() for name in orders["alpn"])
    if orders["role"] == "server":
        client_auth = "required" if orders["client_certificate"] else "none"
        return ServerContext(
            crypto, mine, verifier=verifier, client_auth=client_auth, alpn=alpn, v12=v12_for(orders, crypto)
        )
    return ClientContext(crypto, verifier, credentials=mine, alpn=alpn, v12=v12_for(orders, crypto))


def describe(engine, body):
    return {
        "version": VERSIONS[engine.version],
        "cipher": engine.cipher,
        "group": GROUPS.get(engine.group, ""),
        "alpn": (engine.alpn or b"").decode(),
        "resumed": engine.is_resumed,
        "host": engine.server_name,
        "certificates": len(engine.peer_chain),
        "body": body,
    }


def pump(plain, engine):
    """What there is goes out; then what comes goes in."""
    plain.sendall(engine.take_output())
    if engine.error is None and not engine.is_peer_closed:
        engine.receive_data(plain.recv(65536))
    if engine.error is not None:
        plain.sendall(engine.take_output())
        raise engine.error


def client(orders):
    context, session, seen = contexts(orders), None, {}
    for _ in range(orders["connections"]):
        with socket.create_connection((orders["ip"], orders["port"]), timeout=20) as plain:
            engine = context.engine(orders["host"], now_ms(), int(time.time()), session)
            if engine.error is not None:
                raise engine.error
            while not engine.is_established:
                pump(plain, engine)
            if orders.get("key_updates"):
                engine.update_keys(request_peer=True)
            engine.send(orders["request"].encode())
            while not engine.is_peer_closed:
                pump(plain, engine)
            seen = describe(engine, b"".join(engine.data).decode())
            session = engine.session
            engine.close()
            plain.sendall(engine.take_output())
    print(json.dumps(seen))


def serve(context, plain):
    engine = context.engine(now_ms(), int(time.time()))
    try:
        with plain:
            plain.settimeout(20)
            asked = b""
            while not asked.endswith(b"\r\n\r\n") and not engine.is_peer_closed:
                pump(plain, engine)
                asked += b"".join(engine.data)
                engine.data.clear()
            if asked.endswith(b"\r\n\r\n"):
                body = json.dumps(describe(engine, "")).encode()
                engine.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            engine.close()
            plain.sendall(engine.take_output())
            plain.shutdown(socket.SHUT_WR)
            # So that nothing of ours is lost by a reset.
            while plain.recv(65536):
                pass
    except OSError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)


def server(orders):
    context = contexts(orders)
    with socket.create_server((orders["ip"], orders["port"])) as listener:
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=serve, args=(context, plain), daemon=True).start()


if __name__ == "__main__":
    what = json.loads(sys.argv[1])
    (server if what["role"] == "server" else client)(what)
