# SPDX-License-Identifier: MIT
"""The modules ssl and tls, and asyncio's streams over them, with the primitives of images over the system's sockets.

Arguments, in hexadecimal: a file with a key and its certificate for localhost; one of another kind for "other".
"""

import asyncio
import ssl
from errno import ETIMEDOUT

import _mirage
import tls
from harness import port, raises, run_all, take_ports

from libos.app.log import Log
from libos.app.socket_stack import SocketStack
from libos.app.streams import install
from libos.hal.aead import Aeads
from libos.hal.clock import Clock
from libos.hal.console import Console
from libos.hal.ed25519 import Ed25519
from libos.hal.hashes import Hashes
from libos.hal.loop import EventLoop
from libos.hal.p256_full import P256Full
from libos.hal.random import Random
from libos.hal.sockets import Sockets
from libos.hal.x25519 import X25519
from libos.tls.crypto import Crypto
from libos.tls.v12_client import ClientVersion12
from libos.tls.v12_server import ServerVersion12
from libos.tls.x509 import pem
from libos.tls.x509.pack import pack_pem
from libos.tls.x509.trust import Trust
from libos.tls.x509.verify import Verifier

HOST = "127.0.0.1"
SITE, OTHER = [bytes.fromhex(word) for word in _mirage.args()]


def certificate(text):
    return [der for label, der in pem.decode(text) if label == "CERTIFICATE"][0]


def server_context(*pems):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for text in pems or (SITE,):
        context.load_cert_chain(text)
    return context


def wrong(kind, function, *args, **named):
    try:
        function(*args, **named)
    except kind as error:
        return str(error)
    raise AssertionError("no " + str(kind))


async def tls_fails(coroutine):
    try:
        await coroutine
    except OSError as error:
        return error.reason
    raise AssertionError("no OSError")


async def upper(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


async def ask(number, **options):
    reader, writer = await asyncio.open_connection(HOST, port(number), **options)
    writer.write(b"hello\n")
    await writer.drain()
    assert await reader.readline() == b"HELLO\n"
    found = writer.get_extra_info("ssl_object")
    await writer.wait_closed()
    return found


async def client_verifies_by_itself():
    async with await asyncio.start_server(upper, HOST, port(1), ssl=server_context()):
        sock = await ask(1, ssl=True, server_hostname="localhost")
        assert sock.getpeercert(True) == certificate(SITE)
        assert sock.cipher()[1] == sock.version() == "TLSv1.3"
        wrong(NotImplementedError, sock.getpeercert)
        # Without a name it is the address that must be in the certificate.
        for options in ({}, {"server_hostname": "example.org"}):
            assert "not for" in await tls_fails(ask(1, ssl=True, **options))
        assert "not for" in await tls_fails(ask(1, ssl=ssl.create_default_context(), server_hostname="other"))


async def client_does_not_verify_when_it_is_told():
    async with await asyncio.start_server(upper, HOST, port(2), ssl=server_context(OTHER)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
        assert "whom to trust" in await tls_fails(ask(2, ssl=context, server_hostname="other"))
        context.verify_mode = ssl.CERT_NONE
        assert (await ask(2, ssl=context)).getpeercert(True) == certificate(OTHER)
        assert await ask(2, ssl=context, server_hostname="whoever")


async def what_is_loaded_is_trusted():
    async with await asyncio.start_server(upper, HOST, port(3), ssl=server_context(OTHER)):
        for data in (OTHER, OTHER.decode(), certificate(OTHER)):
            context = ssl.create_default_context(cadata=data)
            assert await ask(3, ssl=context, server_hostname="other")
            assert "not for" in await tls_fails(ask(3, ssl=context, server_hostname="localhost"))
        context.check_hostname = False
        assert await ask(3, ssl=context, server_hostname="localhost")
        context.load_verify_locations(cadata=SITE)  # besides
        assert await ask(3, ssl=context, server_hostname="localhost")
        only = ssl.create_default_context(cadata=SITE)
        assert await tls_fails(ask(3, ssl=only, server_hostname="other"))


async def name_chooses_the_certificate():
    context = server_context(SITE, OTHER)
    async with await asyncio.start_server(upper, HOST, port(4), ssl=context):
        client = ssl.create_default_context(cadata=SITE)
        client.load_verify_locations(OTHER)
        for name, text in (("localhost", SITE), ("other", OTHER)):
            assert (await ask(4, ssl=client, server_hostname=name)).getpeercert(True) == certificate(text)
        assert context.counters["handshakes"] == 2


async def certificate_may_be_der():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = [der for label, der in pem.decode(SITE) if label == "PRIVATE KEY"][0]
    context.load_cert_chain(certificate(SITE), key)
    async with await asyncio.start_server(upper, HOST, port(5), ssl=context):
        assert await ask(5, ssl=True, server_hostname="localhost")


async def client_shows_a_certificate():
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=OTHER)
    seen = []

    async def handler(reader, writer):
        seen.append(writer.get_extra_info("ssl_object").getpeercert(True))
        await upper(reader, writer)

    async with await asyncio.start_server(handler, HOST, port(6), ssl=context):
        client = ssl.create_default_context()
        client.load_cert_chain(OTHER)
        assert await ask(6, ssl=client, server_hostname="localhost")
        assert seen == [certificate(OTHER)]
        assert "116" in await tls_fails(ask(6, ssl=True, server_hostname="localhost"))
        assert len(seen) == 1


async def ciphers_and_protocols():
    context = server_context()
    context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:TLS_AES_256_GCM_SHA384")
    assert set(context.get_ciphers()) <= {"chacha20poly1305", "aes256gcm"}
    context.set_ciphers(["TLS_CHACHA20_POLY1305_SHA256"])
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with await asyncio.start_server(upper, HOST, port(7), ssl=context):
        client = ssl.create_default_context()
        client.set_alpn_protocols(["http/1.1"])
        sock = await ask(7, ssl=client, server_hostname="localhost")
        assert sock.cipher() == ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3")
        assert sock.selected_alpn_protocol() == "http/1.1"
    assert "none of these" in wrong(ValueError, context.set_ciphers, "DES-CBC3-SHA:NULL")


async def flow_is_wrapped():
    context = server_context()

    async def handler(flow):
        sock = context.wrap_socket(flow, server_side=True)
        while data := await sock.read():
            await sock.write(data)
        await sock.close()

    stack.tcp.listen(port(8), handler)
    for client in (ssl.create_default_context(), None):
        flow = await stack.tcp.connect(HOST, port(8))
        if client is None:
            sock = ssl.wrap_socket(flow, server_hostname="localhost")
        else:
            sock = client.wrap_socket(flow, server_hostname="localhost")
        assert sock.cipher() is None
        # Reader and writer may come first at once: there is one handshake.
        reading = asyncio.create_task(sock.read())
        await sock.write(b"ping")
        assert await reading == b"ping"
        sock.shutdown_write()
        assert await sock.read() == b""
        await sock.close()
    assert context.counters["handshakes"] == 2
    flow = await stack.tcp.connect(HOST, port(8))
    sock = await tls.wrap(flow, ssl.create_default_context(), False, "localhost")
    await sock.write(b"x")
    assert await sock.read() == b"x"
    await sock.close()
    flow = await stack.tcp.connect(HOST, port(8))
    assert "not for" in await tls_fails(tls.wrap(flow, ssl.create_default_context(), False, "example.org"))
    stack.tcp.unlisten(port(8))


async def stream_is_encrypted_from_now_on():
    context = server_context()

    async def handler(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        assert context.wrap_socket(writer, server_side=True) is writer
        await upper(reader, writer)

    async with await asyncio.start_server(handler, HOST, port(9)):
        reader, writer = await asyncio.open_connection(HOST, port(9))
        assert writer.get_extra_info("ssl_object") is None
        writer.write(b"STARTTLS\n")
        await writer.drain()
        assert await reader.readline() == b"go\n"
        ssl.create_default_context().wrap_socket(writer, server_hostname="localhost")
        writer.write(b"hello\n")
        await writer.drain()
        assert await reader.readline() == b"HELLO\n"
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        await writer.wait_closed()


async def silent_peers_time_out():
    async def deaf(flow):
        await asyncio.sleep_ms(1000)

    stack.tcp.listen(port(10), deaf)
    flow = await stack.tcp.connect(HOST, port(10))
    sock = ssl.create_default_context().wrap_socket(flow, server_hostname="localhost")
    await raises(ETIMEDOUT, sock.do_handshake(100))
    stack.tcp.unlisten(port(10))


async def mistakes_are_said():
    assert "tls_contexts" not in wrong(ValueError, ssl.SSLContext, 2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert "load_cert_chain" in wrong(ValueError, context.wrap_socket, None, server_side=True)
    assert "other side" in wrong(ValueError, context.wrap_socket, None)
    assert "no files" in wrong(OSError, context.load_cert_chain, "site.pem")
    wrong(NotImplementedError, context.load_cert_chain, SITE, None, "secret")
    key = SITE[: SITE.index(b"-----BEGIN CERT")]
    assert "no certificate" in wrong(ValueError, context.load_cert_chain, key)
    assert "private key is p256" in wrong(ValueError, context.load_cert_chain, OTHER, key)
    wrong(ValueError, context.load_verify_locations, cadata=b"")
    wrong(ValueError, context.load_verify_locations, cadata=b"no DER")


CHECKS = (
    client_verifies_by_itself,
    client_does_not_verify_when_it_is_told,
    what_is_loaded_is_trusted,
    name_chooses_the_certificate,
    certificate_may_be_der,
    client_shows_a_certificate,
    ciphers_and_protocols,
    flow_is_wrapped,
    stream_is_encrypted_from_now_on,
    silent_peers_time_out,
    mistakes_are_said,
)

loop = EventLoop()
sockets = Sockets()
loop.attach(sockets)
take_ports(sockets)
log = Log("error", Console())
stack = SocketStack(sockets, loop, log)
crypto = Crypto(Random(), Hashes(), Aeads(), X25519(), P256Full(), ed25519=Ed25519())
contexts = tls.Contexts(
    crypto, log, Clock(), Verifier(crypto, Trust(pack_pem(SITE))), ServerVersion12(), ClientVersion12(crypto)
)
install(stack, contexts=contexts)
loop.run(run_all(CHECKS))
