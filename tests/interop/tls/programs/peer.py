# SPDX-License-Identifier: MIT
"""CPython's ssl as client or server; its orders are JSON (tests/interop/tls/peers.py)."""

import json
import socket
import ssl
import sys
import threading

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CURVES = {"x25519": "X25519", "secp256r1": "prime256v1", "secp384r1": "secp384r1"}


def context(orders):
    is_server = orders["role"] == "server"
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = made.maximum_version = VERSIONS[orders["version"]]
    if not is_server or orders["client_certificate"]:
        made.load_verify_locations(orders["trust"])
        made.verify_mode = ssl.CERT_REQUIRED
    if orders["chain"]:
        made.load_cert_chain(orders["chain"], orders["key"])
    if orders["cipher"] and orders["version"] == "1.2":
        made.set_ciphers(orders["cipher"])
    if orders["groups"]:
        made.set_ecdh_curve(CURVES[orders["groups"][0]])
    if orders["alpn"]:
        made.set_alpn_protocols(orders["alpn"])
    return made


def describe(tls, body):
    return {
        "version": tls.version(),
        "cipher": tls.cipher()[0],
        "alpn": tls.selected_alpn_protocol() or "",
        "resumed": tls.session_reused,
        "body": body,
    }


def client(orders):
    made, session, seen = context(orders), None, {}
    for _ in range(orders["connections"]):
        plain = socket.create_connection((orders["ip"], orders["port"]), timeout=20)
        with made.wrap_socket(plain, server_hostname=orders["host"], session=session) as tls:
            tls.sendall(orders["request"].encode())
            body = b""
            # An end without close_notify raises here.
            while data := tls.recv(65536):
                body += data
            session, seen = tls.session, describe(tls, body.decode())
            tls.unwrap()
    print(json.dumps(seen))


def serve(made, plain):
    try:
        with made.wrap_socket(plain, server_side=True) as tls:
            while data := tls.recv(65536):
                if data.endswith(b"\r\n\r\n"):
                    body = json.dumps(describe(tls, "")).encode()
                    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    break
            tls.unwrap()
    except OSError as error:
        print(error, file=sys.stderr, flush=True)


def server(orders):
    made = context(orders)
    with socket.create_server((orders["ip"], orders["port"])) as listener:
        while True:
            plain, _ = listener.accept()
            plain.settimeout(20)
            threading.Thread(target=serve, args=(made, plain), daemon=True).start()


if __name__ == "__main__":
    what = json.loads(sys.argv[1])
    (server if what["role"] == "server" else client)(what)
