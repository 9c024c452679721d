# SPDX-License-Identifier: MIT
"""How a client gets to an origin: the name, the connection, the proxy's tunnel, TLS; each step with its time."""

from asyncio import create_task
from binascii import b2a_base64

from libos.http import url as urls
from libos.http.client import ClientConnection
from libos.http.connection import NEED_DATA
from libos.http.errors import RemoteError
from libos.http.percent import decode

from .failure import TransferError, failed, timed_out, wrong


class Proxy:
    """text: "http://[user:password@]host[:port]"; without: host names, with all names below them, and addresses that
    are connected to without it, or "*". ValueError for what is no such URL.
    """

    def __init__(self, text, without=()):
        url = urls.parse(text if "://" in text else "http://" + text)
        if url.scheme != "http":
            raise ValueError("a proxy is an http:// URL")
        if url.target != "/" or url.fragment is not None:
            raise ValueError("a proxy has no path")
        self.host = url.host
        self.port = url.port
        self.headers = []
        if url.userinfo is not None:
            self.headers.append((b"Proxy-Authorization", basic(url.userinfo)))
        self._without = [name.strip().lower().lstrip(".") for name in without if name.strip()]

    def is_for(self, host):
        for name in self._without:
            if name == "*" or host == name or host.endswith("." + name):
                return False
        return True


def basic(userinfo):
    """The value of Authorization (RFC 7617) for "user:password" as a URL has it, percent-encoded; or for a pair."""
    if isinstance(userinfo, str):
        user, _, password = userinfo.partition(":")
        pair = decode(user.encode()) + b":" + decode(password.encode())
    else:
        user, password = userinfo
        if ":" in user:
            raise ValueError("a user's name with a colon")
        pair = ("%s:%s" % (user, password)).encode()
    return b"Basic " + b2a_base64(pair).strip()


class Connector:
    """eyeballs: app.happy_eyeballs.HappyEyeballs, or whatever has connect(host, port, timeout_ms); tls:
    app.tls.TlsStack or None; proxy: Proxy or None.

    times: has connect_ms, for the name and for connecting; tls_ms, for the handshake; proxy_ms, for a proxy's answer.
    """

    def __init__(self, times, eyeballs, clock, tls, proxy):
        self.times = times
        self.eyeballs = eyeballs
        self.clock = clock
        self.tls = tls
        self.proxy = proxy

    def proxy_for(self, url):
        proxy = self.proxy
        return proxy if proxy is not None and proxy.is_for(url.host) else None

    def key(self, url, verify, is_tunnel):
        """What requests must have in common to share a connection."""
        if not url.is_secure and not is_tunnel and self.proxy_for(url) is not None:
            return "proxy"
        return url.is_secure, url.host, url.port, verify

    async def open(self, url, verify, is_tunnel):
        """A flow over which `url` can be asked for. is_tunnel: through a proxy without its taking part.

        Raises TransferError with the step that failed.
        """
        if url.is_secure and self.tls is None:
            raise TransferError(95, "tls", "this client has no TLS: make it with https_client(...)")
        proxy = self.proxy_for(url)
        try:
            flow = await self._reach(proxy or url)
        except OSError as error:
            # app.dns, which is no room of ours, tells what is wrong with a name by a class of its own.
            raise failed("name" if type(error).__name__ == "ResolveError" else "connect", error)
        if hasattr(flow, "set_no_delay"):
            flow.set_no_delay(True)
        if proxy is not None and (url.is_secure or is_tunnel):
            await self._tunnel(flow, url, proxy)
        if not url.is_secure:
            return flow
        try:
            tls_flow = await self.tls.wrap(flow, url.host, self.times.tls_ms, verify)
        except OSError as error:
            raise failed("tls", error)
        if tls_flow.tls.alpn not in (None, b"http/1.1"):
            tls_flow.abort()
            raise wrong("tls", "the server speaks another protocol than HTTP/1.1")
        return tls_flow

    async def _reach(self, way):
        connect = self.eyeballs.connect
        timeout_ms = self.times.connect_ms
        if way.host != "localhost":
            return await connect(way.host, way.port, timeout_ms)
        # RFC 6761 section 6.3: a name that nobody need be asked for.
        try:
            return await connect("127.0.0.1", way.port, timeout_ms)
        except OSError as error:
            first = error
        try:
            return await connect("::1", way.port, timeout_ms)
        except OSError:
            raise first

    async def _tunnel(self, flow, url, proxy):
        """RFC 9110 section 9.3.6."""
        late = []
        watch = create_task(self._expire(flow, late))
        is_done = False
        try:
            await _connect(flow, url, proxy)
            is_done = True
        except OSError as error:
            raise timed_out("proxy") if late else failed("proxy", error)
        except RemoteError as error:
            raise wrong("proxy", error.reason)
        finally:
            watch.cancel()
            if not is_done:
                flow.abort()

    async def _expire(self, flow, late):
        await self.clock.sleep_ms(self.times.proxy_ms)
        late.append(True)
        flow.abort()


async def _connect(flow, url, proxy):
    host = "[" + url.host + "]" if ":" in url.host else url.host
    target = "%s:%d" % (host, url.port)
    http = ClientConnection()
    await flow.write(http.send_request(b"CONNECT", target, target, proxy.headers))
    while True:
        event = http.next_event()
        if event is NEED_DATA:
            http.receive_data(await flow.read(4096))
        elif not event.is_informational:
            break
    if not 200 <= event.status < 300:
        reason = (
            "the proxy wants a user and a password" if event.status == 407 else "the proxy answers %d" % event.status
        )
        raise wrong("proxy", reason)
    if http.take_rest():
        # A server that speaks TLS or HTTP waits for us.
        raise wrong("proxy", "the proxy sent what nobody asked for")
