# SPDX-License-Identifier: MIT
"""An HTTP client (RFC 9110, 9112): `response = await client.get("https://example.com/")`.

Under it are a stack, what connects to names, and TLS; beside it the connections that are kept (client_pool), the way to
an origin (client_connect), and the content as it comes (client_response).
"""

import json as _json
import sys

from libos.http import query as forms
from libos.http import url as urls
from libos.http.connection import CLOSED, NEED_DATA
from libos.http.errors import RemoteError
from libos.http.limits import Limits

from .client_connect import Connector, Proxy, basic
from .client_pool import Pool
from .client_response import ClientResponse
from .failure import failed, timed_out, wrong

_READ_BYTES = 65536
# Content up to here goes with the head in one write.
_TOGETHER_BYTES = 16384
# Those that may be sent twice without more coming of it than once (RFC 9110 section 9.2.2).
_IDEMPOTENT = (b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE")
_REDIRECTS = (301, 302, 303, 307, 308)
_EXIT_USAGE = 64  # as app.args has it
_CONTINUE_MS = 1000
# Not for another origin: what the first one was given in confidence.
_CONFIDENTIAL = (b"authorization", b"cookie", b"proxy-authorization")
_ABOUT_CONTENT = (b"content-type", b"content-encoding", b"content-language", b"content-location")


class HttpClient:
    """stack: app.stack.Stack or app.socket_stack.SocketStack; eyeballs: what connects to names; clock: hal.clock.Clock.

    tls: app.tls.TlsStack with a client's context, None: http only. inflate: hal.inflate.Inflate, None: nothing is
    decompressed. cookies: cookie_jar.CookieJar; websockets: client_websocket.WebSockets; None: without. proxy: text as
    client_connect.Proxy has it; no_proxy: names with commas between.

    May be changed: connect_ms (name and connection), tls_ms, proxy_ms, pool_ms (until a connection is free), head_ms
    (until the response's head), body_ms (until more of the content comes, or goes), read_limit (octets that read()
    takes), max_redirects, user_agent. counters: requests, redirects, retries, failures, and the pool's.
    """

    def __init__(
        self,
        stack,
        eyeballs,
        clock,
        tls=None,
        inflate=None,
        cookies=None,
        websockets=None,
        proxy=None,
        no_proxy=None,
        connections=16,
        per_origin=6,
    ):
        self.stack = stack
        self.clock = clock
        self.inflate = inflate
        try:
            proxy = Proxy(proxy, (no_proxy or "").split(",")) if proxy else None
        except ValueError as error:
            # As an argument that does not parse.
            print("error: --proxy: %s" % error)
            sys.exit(_EXIT_USAGE)
        self.connector = Connector(self, eyeballs, clock, tls, proxy)
        limits = Limits()
        limits.body_bytes = None
        self.pool = Pool(clock, limits, connections, per_origin)
        self.counters = self.pool.counters
        for name in ("requests", "redirects", "retries", "failures"):
            self.counters[name] = 0
        name = "http_client"
        while name in stack.more_counters:
            name += "_"
        stack.more_counters[name] = self.counters
        self.connect_ms = 15000
        self.proxy_ms = 15000
        self.tls_ms = 15000
        self.pool_ms = 30000
        self.head_ms = 30000
        self.body_ms = 30000
        self.read_limit = 1 << 20
        self.max_redirects = 10
        self.user_agent = "mirage-py"
        self.cookies = cookies
        self._websockets = websockets

    def get(self, url, **options):
        return self.request("GET", url, **options)

    def head(self, url, **options):
        return self.request("HEAD", url, **options)

    def post(self, url, **options):
        return self.request("POST", url, **options)

    def put(self, url, **options):
        return self.request("PUT", url, **options)

    def patch(self, url, **options):
        return self.request("PATCH", url, **options)

    def delete(self, url, **options):
        return self.request("DELETE", url, **options)

    async def request(
        self,
        method,
        url,
        headers=(),
        query=None,
        json=None,
        form=None,
        body=None,
        length=None,
        auth=None,
        expect=False,
        redirects=None,
        downgrade=False,
        verify=True,
    ):
        """Sends a request and returns a ClientResponse when its head is there.

        url: text, with or without a query and `user:password@`. headers: a dict or pairs. query: a dict or pairs, which
        go behind the url's own. One of json (anything that json.dumps takes), form (a dict or pairs) and body: octets,
        text, or what gives octets piece by piece: something iterable, also asynchronously, or with `await read(n)`;
        length: of such a body, where it is known (else it goes in chunks). auth: (user, password). expect: the body is
        sent when the server says 100 (Continue), or nothing for a second. redirects: how many are followed, 0: the
        response that asks for one is returned. downgrade: also those from https to http. verify=False: any certificate
        is good for this request; whoever is on the way can read and change it.

        Raises TransferError, an OSError, with the step that failed and why; ValueError for what cannot be sent.
        """
        request = _Request(self, method, url, headers, query, json, form, body, length, auth)
        request.expect = expect and request.body is not None
        request.verify = verify
        left = self.max_redirects if redirects is None else redirects
        follow = left > 0
        self.counters["requests"] += 1
        try:
            while True:
                response = await self._once(request)
                if not follow or response.status not in _REDIRECTS:
                    return response
                location = response.headers.get(b"location")
                if location is None:
                    return response
                await response.close()
                if not left:
                    raise wrong("redirect", "too many redirects, the last to %s" % _shown(location))
                left -= 1
                request.redirect(response.status, location, downgrade)
                self.counters["redirects"] += 1
        except OSError:
            self.counters["failures"] += 1
            raise

    async def websocket(self, url, **options):
        """Opens a WebSocket; url: ws:// or wss://. Returns a client_websocket.ClientWebSocket.

        protocols: those that we speak, preferred first; headers, verify: as for request(); max_message_bytes: of a
        message that comes, 1 MiB; ping_ms: how long the server may be silent before it is asked, and again before the
        connection ends (None: for ever). Raises TransferError, ValueError as request().
        """
        if self._websockets is None:
            raise ValueError("this client has no WebSockets: make it with websocket=True")
        return await self._websockets.open(self, url, **options)

    async def close(self):
        """Ends the connections that are kept. The client can go on."""
        await self.pool.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback):
        await self.close()

    # --- one request, one response ---

    async def _once(self, request):
        """The response to one request, without redirects. One more try where a connection was kept too long."""
        fresh = False
        while True:
            channel = await self.acquire(request.url, request.verify, False, fresh)
            is_first = channel.uses == 0
            channel.uses += 1
            started = []
            try:
                head = await self._exchange(channel, request, started)
            except BaseException as error:
                channel.abort()
                if isinstance(error, OSError) and not channel.has_timed_out:
                    if not (is_first or started or fresh) and request.can_repeat(channel):
                        self.counters["retries"] += 1
                        fresh = True
                        continue
                raise
            url = str(request.url)
            if self.cookies is not None:
                self.cookies.store(request.url, head.headers.get_all(b"set-cookie"), self.clock.wall_ns() // 1000000000)
            return ClientResponse(self, channel, head, url, head.length != 0)

    async def acquire(self, url, verify, is_tunnel, fresh=False):
        """A Channel to a Url, which is the caller's until the pool's release() or its own abort()."""
        connector = self.connector
        key = connector.key(url, verify, is_tunnel)

        async def connect():
            return await connector.open(url, verify, is_tunnel)

        return await self.pool.acquire(key, connect, self.pool_ms, fresh)

    async def _exchange(self, channel, request, started):
        """Sends the request; returns the event of the response's head. started: gets an element when it begins."""
        step = "send"
        try:
            channel.expect(self.body_ms)
            try:
                head = await request.send(channel, self.body_ms, started)
            except OSError:
                if channel.has_timed_out:
                    raise
                # A server that has heard enough answers, and closes while we still send.
                step = "head"
                head = await self._early(channel)
                if head is None:
                    raise
            if head is None:
                step = "head"
                channel.expect(self.head_ms)
                head = await receive_head(channel, started)
            return head
        except RemoteError as error:
            raise wrong("head", error.reason)
        except OSError as error:
            raise timed_out(step) if channel.has_timed_out else failed(step, error)

    async def _early(self, channel):
        """The head that came although the request could not be sent; None when there is none."""
        channel.http.keep_alive = False
        channel.expect(_CONTINUE_MS)
        try:
            return await receive_head(channel, [])
        except (OSError, RemoteError):
            return None


async def receive_head(channel, started, wants_informational=False):
    """The event of a response's head. Raises RemoteError, OSError."""
    http = channel.http
    while True:
        event = http.next_event()
        if event is NEED_DATA:
            data = await channel.flow.read(_READ_BYTES)
            if data:
                started.append(1)
            http.receive_data(data)
        elif event is CLOSED:
            raise wrong("head", "the connection ended before the response")
        elif not event.is_informational or event.status == 101 or wants_informational:
            return event


class _Request:
    """What is asked for; after a redirect, what is asked for next."""

    def __init__(self, client, method, url, headers, query, json, form, body, length, auth):
        self.client = client
        self.method = method.upper().encode() if isinstance(method, str) else method
        self.url = url if isinstance(url, urls.Url) else urls.parse(url)
        if query:
            text = forms.build(query)
            self.url.query = text if not self.url.query else self.url.query + "&" + text
        self.expect = False
        self.verify = True
        self.headers = [
            (_octets(name), value) for name, value in (headers.items() if hasattr(headers, "items") else headers)
        ]
        kind = None
        if (json is not None) + (form is not None) + (body is not None) > 1:
            raise ValueError("more than one of json, form and body")
        if json is not None:
            body = _json.dumps(json)
            kind = b"application/json"
        elif form is not None:
            body = forms.build(form)
            kind = b"application/x-www-form-urlencoded"
        if isinstance(body, str):
            body = body.encode()
        self.body = body
        self.is_whole = body is None or isinstance(body, (bytes, bytearray, memoryview))
        self.length = length
        if self.is_whole and body is not None:
            if length is not None and length != len(body):
                raise ValueError("the body has %d octets, and length is %d" % (len(body), length))
            self.length = len(body)
        elif body is None and self.method in (b"POST", b"PUT", b"PATCH"):
            self.body = b""
            self.length = 0
        if kind is not None:
            self._default(b"Content-Type", kind)
        if self.url.userinfo is not None and auth is None:
            auth = self.url.userinfo
        self.url.userinfo = None
        if auth is not None:
            self._default(b"Authorization", basic(auth))
        self._default(b"User-Agent", client.user_agent)
        self._default(b"Accept", b"*/*")
        if client.inflate is not None and not self._has(b"range"):
            self._default(b"Accept-Encoding", b"gzip, deflate")

    def _has(self, name):
        return any(have.lower() == name for have, _ in self.headers)

    def _default(self, name, value):
        if not self._has(name.lower()):
            self.headers.append((name, value))

    def can_repeat(self, channel):
        return self.method in _IDEMPOTENT and self.is_whole

    def redirect(self, status, location, downgrade):
        """RFC 9110 section 15.4."""
        try:
            url = urls.join(self.url, location)
        except ValueError as error:
            raise wrong("redirect", str(error))
        if url.scheme not in ("http", "https"):
            raise wrong("redirect", "to what is not http: %s" % url)
        if self.url.is_secure and not url.is_secure and not downgrade:
            raise wrong("redirect", "from https to %s, which is not encrypted" % url)
        dropped = ()
        if (status == 303 and self.method != b"HEAD") or (status in (301, 302) and self.method == b"POST"):
            self.method = b"GET"
            self.body = None
            self.length = None
            self.is_whole = True
            self.expect = False
            dropped = _ABOUT_CONTENT
        elif not self.is_whole:
            raise wrong("redirect", "to %s, and the body cannot be sent again" % url)
        if url.origin != self.url.origin:
            dropped += _CONFIDENTIAL
        self.headers = [pair for pair in self.headers if pair[0].lower() not in dropped]
        # What a server puts before an "@" is not ours.
        url.userinfo = None
        self.url = url

    # --- sending ---

    async def send(self, channel, body_ms, started):
        """The whole request. Returns the response's head where that came before the body was sent, else None."""
        client = self.client
        http = channel.http
        flow = channel.flow
        url = self.url
        headers = self.headers
        target = url.target
        if channel.key == "proxy":
            # RFC 9112 section 3.2.2: the proxy gets the whole URL.
            target = "http://%s%s" % (url.authority, target)
            headers = headers + client.connector.proxy.headers
        if client.cookies is not None:
            cookies = client.cookies.header(url, client.clock.wall_ns() // 1000000000)
            if cookies and not self._has(b"cookie"):
                headers = headers + [(b"Cookie", cookies)]
        body = self.body
        is_chunked = body is not None and self.length is None
        data = http.start_request(
            self.method, target, url.authority, headers, self.length, is_chunked, expect_continue=self.expect
        )
        if body is None:
            await flow.write(data)
            return None
        if self.expect:
            await flow.write(data)
            head = await self._go_ahead(channel, started)
            if head is not None:
                return head
            channel.expect(body_ms)
        elif self.is_whole and len(body) <= _TOGETHER_BYTES:
            await flow.write(data + http.send_data(bytes(body)) + http.send_end())
            return None
        else:
            await flow.write(data)
        if self.is_whole:
            body = memoryview(body)
            for start in range(0, len(body), _READ_BYTES):
                await self._piece(channel, body[start : start + _READ_BYTES], body_ms)
        elif hasattr(body, "__aiter__"):
            async for piece in body:
                await self._piece(channel, piece, body_ms)
        elif hasattr(body, "read"):
            while True:
                piece = await body.read(_READ_BYTES)
                if not piece:
                    break
                await self._piece(channel, piece, body_ms)
        else:
            for piece in body:
                await self._piece(channel, piece, body_ms)
        data = http.send_end()
        if data:
            await flow.write(data)
        return None

    async def _piece(self, channel, piece, body_ms):
        if isinstance(piece, str):
            piece = piece.encode()
        channel.expect(body_ms)
        data = channel.http.send_data(piece)
        if data:
            await channel.flow.write(data)
        channel.expect(body_ms)

    async def _go_ahead(self, channel, started):
        """RFC 9110 section 10.1.1: None when the body may be sent, else the head of what the server says instead."""
        client = self.client
        http = channel.http
        until_ms = client.clock.now_ms() + _CONTINUE_MS
        while True:
            event = http.next_event()
            if event is NEED_DATA:
                data = channel.flow.read_now(_READ_BYTES)
                if data is not None:
                    if data:
                        started.append(1)
                    http.receive_data(data)
                elif client.clock.now_ms() >= until_ms:
                    return None
                else:
                    await client.clock.sleep_ms(10)
            elif event is CLOSED:
                raise wrong("head", "the connection ended before the response")
            elif not event.is_informational:
                # The body was announced and will not come: this connection can have no other request.
                http.keep_alive = False
                return event
            elif event.status == 100:
                return None


def _octets(text):
    return text.encode() if isinstance(text, str) else text


def _shown(location):
    return "".join([chr(octet) if 32 <= octet < 127 else "?" for octet in location[:200]])
