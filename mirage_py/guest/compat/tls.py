# SPDX-License-Identifier: MIT
"""MicroPython's module `tls`, over the engines of libos.tls: contexts as packages make them, for flows and streams.

What differs: a client verifies unless it is told not to (verify_mode = CERT_NONE), and there are no files, so that
certificates and keys are octets, in PEM or DER. The primitives, the clock and whom to trust are those of the device
tls_contexts() in config.py.
"""

from asyncio import sleep_ms
from time import ticks_ms

from libos.app.flow import serve
from libos.app.tls import HalfOpen, TlsFlow, finish, wall_s
from libos.tls.client import ClientContext
from libos.tls.credential import Credential
from libos.tls.server import ServerContext
from libos.tls.x509 import pem
from libos.tls.x509.keys import private_key
from libos.tls.x509.pack import pack
from libos.tls.x509.trust import Trust
from libos.tls.x509.verify import Verifier

PROTOCOL_TLS_CLIENT = 0
PROTOCOL_TLS_SERVER = 1
CERT_NONE = 0
CERT_OPTIONAL = 1
CERT_REQUIRED = 2

_TIMEOUT_MS = 10000
_HALF_OPEN = 64
_VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_given = []  # the device of config.py


class Contexts:
    """The device tls_contexts(): what the contexts of this module are made of. Made once, by the generated main.

    crypto: libos.tls.crypto.Crypto; log: app.log.Log; clock: hal.clock.Clock. verifier: of whoever config.py trusts, or
    None; server12, client12: what makes TLS 1.2, or None.
    """

    def __init__(self, crypto, log, clock, verifier=None, server12=None, client12=None):
        self.crypto = crypto
        self.log = log
        self.clock = clock
        self.verifier = verifier
        self.server12 = server12
        self.client12 = client12
        _given[:] = [self]

    def context(self):
        """A client's, which trusts whom config.py trusts: what `ssl=True` stands for."""
        context = SSLContext(PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        return context


class _Limited:
    """The primitives with some of their AEADs."""

    def __init__(self, crypto, aeads):
        self._crypto = crypto
        self.aeads = aeads

    def __getattr__(self, name):
        return getattr(self._crypto, name)


class _AnyName:
    """A verifier that asks for no name."""

    def __init__(self, verifier):
        self._verifier = verifier

    def verify(self, chain, now_s, purpose, hostname=None):
        return self._verifier.verify(chain, now_s, purpose)


class SSLContext:
    """protocol: PROTOCOL_TLS_CLIENT or PROTOCOL_TLS_SERVER.

    verify_mode: CERT_REQUIRED of a client, CERT_NONE of a server, until it is set. check_hostname: whether a server's
    certificate must be for the name that was asked for. What is set or loaded counts for connections made afterwards.
    """

    def __init__(self, protocol):
        if protocol not in (PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER):
            raise ValueError("protocol")
        if not _given:
            raise ValueError("TLS without cryptography: give unikernel(...) a tls_contexts() in config.py")
        self._parts = _given[0]
        self._is_server = protocol == PROTOCOL_TLS_SERVER
        self._crypto = self._parts.crypto
        self._credentials = []
        self._trusted = []
        self._verifier = None
        self._alpn = ()
        self._context = self._made_of = None
        self._half_open = None
        self.protocol = protocol
        self.verify_mode = CERT_NONE if self._is_server else CERT_REQUIRED
        self.check_hostname = not self._is_server

    # --- what it is made of ------------------------------------------------------------------------------------------

    def load_cert_chain(self, certfile, keyfile=None, password=None):
        """Our certificate, the chain above it, and its key: octets or text, PEM or DER; one text may have them all.

        Again for another certificate: a client's server name chooses. ValueError says what is wrong with one.
        """
        if password is not None:
            raise NotImplementedError("password")
        chain = [der for label, der in _blocks(certfile) if label in ("", "CERTIFICATE")]
        if not chain:
            raise ValueError("no certificate")
        key = private_key(_octets(certfile if keyfile is None else keyfile))
        self._credentials = self._credentials + [Credential.of_der(self._crypto, chain, key)]

    def load_verify_locations(self, cafile=None, cadata=None):
        """Certificates of authorities to trust, octets or text in PEM or DER, besides those that were loaded before."""
        found = [der for label, der in _blocks(cafile if cadata is None else cadata) if label in ("", "CERTIFICATE")]
        if not found:
            raise ValueError("no certificate")
        trusted = self._trusted + found
        self._verifier = Verifier(self._crypto, Trust(pack(trusted)))
        self._trusted = trusted

    def load_default_certs(self):
        """Whoever config.py trusts."""
        if self._parts.verifier is None:
            raise ValueError("nobody is trusted: give tls_contexts() a trust= in config.py")
        self._verifier = self._parts.verifier

    def set_ciphers(self, ciphers):
        """Only the ciphers of the suites that are named, as IANA or OpenSSL do: a list, or text with colons."""
        if isinstance(ciphers, str):
            ciphers = ciphers.split(":")
        wanted = []
        for name in ciphers:
            plain = name.upper().replace("-", "").replace("_", "")
            for aead, mark in (
                ("aes128gcm", "AES128GCM"),
                ("aes256gcm", "AES256GCM"),
                ("chacha20poly1305", "CHACHA20"),
            ):
                if mark in plain:
                    wanted.append(aead)
        aeads = tuple([name for name in self._parts.crypto.aeads if name in wanted])
        if not aeads:
            raise ValueError("none of these ciphers is in this image")
        self._crypto = _Limited(self._parts.crypto, aeads)
        self._made_of = None

    def get_ciphers(self):
        """The names of the ciphers, preferred first."""
        return list(self._crypto.aeads)

    def set_alpn_protocols(self, protocols):
        """list of text, preferred first."""
        self._alpn = tuple([name.encode() for name in protocols])

    def _engines(self):
        """The ServerContext or ClientContext of what is set now; the same one while nothing changes."""
        made_of = (self._credentials, self._verifier, self.verify_mode, self.check_hostname, self._alpn, self._crypto)
        if self._made_of != made_of:
            parts = self._parts
            if self._is_server:
                if not self._credentials:
                    raise ValueError("a server needs load_cert_chain()")
                mode = ("none", "optional", "required")[self.verify_mode]
                context = ServerContext(
                    self._crypto,
                    self._credentials,
                    verifier=self._verifier,
                    client_auth=mode,
                    alpn=self._alpn,
                    v12=parts.server12,
                )
            else:
                verifier = self._verifier
                if verifier is not None and not self.check_hostname:
                    verifier = _AnyName(verifier)
                context = ClientContext(
                    self._crypto, verifier, credentials=self._credentials, alpn=self._alpn, v12=parts.client12
                )
            if self._context is not None:
                context.counters = self._context.counters
            self._context = context
            self._made_of = made_of
        return self._context

    @property
    def counters(self):
        """As `tls` of a stack's counters."""
        return self._engines().counters

    def _flow(self, flow, server_side, hostname):
        """An SSLSocket that has yet to shake hands."""
        if bool(server_side) != self._is_server:
            raise ValueError("a context of the other side")
        context = self._engines()
        now_s = wall_s(self._parts.clock)
        if server_side:
            engine = context.engine(ticks_ms(), now_s)
        else:
            is_verifying = self.verify_mode != CERT_NONE
            if hostname is None and not (is_verifying and self.check_hostname):
                hostname = flow.remote[0]
            engine = context.engine(hostname, ticks_ms(), now_s, None, is_verifying)
        return SSLSocket(flow, engine)

    # --- connections -------------------------------------------------------------------------------------------------

    def wrap_socket(self, sock, server_side=False, do_handshake_on_connect=True, server_hostname=None):
        """TLS over a flow; the handshake comes with the first read or write, whatever do_handshake_on_connect says.

        An asyncio stream is encrypted from now on (STARTTLS) and returned.
        """
        if hasattr(sock, "drain"):
            sock._flow = self._flow(sock._flow, server_side, server_hostname)
            return sock
        return self._flow(sock, server_side, server_hostname)

    async def wrap(self, flow, hostname, timeout_ms=_TIMEOUT_MS):
        """A client's flow after its handshake; OSError. What open_connection(ssl=context) asks for."""
        tls_flow = self._flow(flow, False, hostname)
        await tls_flow.do_handshake(timeout_ms)
        return tls_flow

    async def serve(self, flow, handler):
        """handler(flow) for a client, after the handshake. What start_server(ssl=context) asks for."""
        half_open = self._half_open
        if half_open is None:
            half_open = self._half_open = HalfOpen(_HALF_OPEN, _TIMEOUT_MS, self._engines().counters)
        tls_flow = self._flow(flow, True, None)
        tls_flow._is_ready = True
        half_open.add(tls_flow)
        try:
            await tls_flow.handshake()
        except OSError as error:
            self._parts.log.debug("tls", "%s:%d: %s" % (flow.remote[0], flow.remote[1], error))
            await tls_flow.drain()
            return
        except BaseException:
            tls_flow.abort()
            raise
        finally:
            half_open.remove(tls_flow)
        await serve(tls_flow, handler, self._parts.log)
        await tls_flow.drain()


class SSLSocket(TlsFlow):
    """A TlsFlow that shakes hands with its first read or write, and has the names that packages ask for."""

    _is_ready = False
    _is_shaking = False

    async def do_handshake(self, timeout_ms=_TIMEOUT_MS):
        """OSError when it fails; the flow is closed then."""
        while self._is_shaking:
            await sleep_ms(5)
        if self._is_ready:
            return
        self._is_shaking = True
        try:
            await finish(self, timeout_ms)
        finally:
            self._is_shaking = False
            self._is_ready = True

    async def read(self, n=65536):
        if not self._is_ready:
            await self.do_handshake()
        return await super().read(n)

    async def write(self, data):
        if not self._is_ready:
            await self.do_handshake()
        await super().write(data)

    def getpeercert(self, binary_form=False):
        """The peer's certificate in DER, or None. Only with binary_form, as MicroPython has it."""
        if not binary_form:
            raise NotImplementedError("binary_form=True")
        chain = self.tls.peer_chain
        return chain[0] if chain else None

    def cipher(self):
        """(name of IANA, version); None before the handshake."""
        return None if self.tls.cipher is None else (self.tls.cipher, self.version())

    def version(self):
        return _VERSIONS.get(self.tls.version)

    def selected_alpn_protocol(self):
        alpn = self.tls.alpn
        return None if alpn is None else alpn.decode()


async def wrap(flow, context, server_side=False, hostname=None, timeout_ms=_TIMEOUT_MS):
    """TLS over a flow, after the handshake. context: an SSLContext. Raises OSError, and the flow is closed then."""
    tls_flow = context._flow(flow, server_side, hostname)
    await tls_flow.do_handshake(timeout_ms)
    return tls_flow


def _octets(data):
    if isinstance(data, str):
        if "-----BEGIN " not in data:
            raise OSError("there are no files: give the octets of " + data)
        return data.encode()
    return bytes(data)


def _blocks(data):
    """list of (label, DER); the label of what is no PEM is ""."""
    data = _octets(data)
    return pem.decode(data) if b"-----BEGIN " in data else [("", data)]
