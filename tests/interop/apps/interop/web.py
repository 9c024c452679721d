# SPDX-License-Identifier: MIT
"""HTTP/1.1 (RFC 9112), as much as curl asks for: persistent connections, chunks both ways, 100-continue.

GET /pattern/N, GET /chunked/N, PUT or POST /upload (answers with count and SHA-256), GET /close.
"""

import hashlib
import json

import pattern
from reader import Reader

LINE_LIMIT = 4000
HEADERS_LIMIT = 50
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


async def serve(flow, about=None):
    """A connection with any number of requests. about: a function; GET / answers with the octets that it returns."""
    reader = Reader(flow)
    while line := await reader.line(LINE_LIMIT):
        words = line.decode().split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            await respond(flow, 400, b"not a request\n", True)
            return
        headers = await read_headers(reader)
        is_last = words[2] == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        if headers.get("expect", "").lower() == "100-continue":
            await flow.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        count, digest = await read_body(reader, headers, False)
        if words[1] == "/" and about is not None:
            await respond(flow, 200, about(), is_last)
        else:
            is_last = await answer(flow, words[0], words[1], count, digest, is_last)
        if is_last:
            return


async def answer(flow, method, path, count, digest, is_last):
    """Answers one request. Returns True when the connection ends with it."""
    parts = path.split("/")
    if path == "/upload" and method in ("PUT", "POST"):
        await respond(flow, 200, json.dumps({"octets": count, "sha256": digest}).encode(), is_last)
    elif method not in ("GET", "HEAD"):
        await respond(flow, 405, b"not with this method\n", is_last)
    elif len(parts) == 3 and parts[1] == "pattern" and parts[2].isdigit():
        await flow.write(head(200, is_last, "Content-Length: " + parts[2]))
        if method == "GET":
            await pattern.write(flow, int(parts[2]))
    elif len(parts) == 3 and parts[1] == "chunked" and parts[2].isdigit():
        await flow.write(head(200, is_last, "Transfer-Encoding: chunked"))
        if method == "GET":
            await write_chunks(flow, int(parts[2]))
    elif path == "/close":
        # RFC 9112 section 6.3: without a length, the body ends with the connection.
        await flow.write(head(200, True, "X-Length: none") + b"until the end\n")
        return True
    else:
        await respond(flow, 404, b"nothing here\n", is_last)
    return is_last


def head(status, is_last, header):
    connection = "close" if is_last else "keep-alive"
    return ("HTTP/1.1 %d %s\r\nConnection: %s\r\n%s\r\n\r\n" % (status, _REASONS[status], connection, header)).encode()


async def respond(flow, status, body, is_last):
    await flow.write(head(status, is_last, "Content-Length: %d" % len(body)) + body)


async def write_chunks(flow, octets):
    """The pattern in chunks of uneven sizes."""
    number = 0
    while octets:
        data = pattern.blocks(number, 1)[:octets]
        at = 0
        while at < len(data):
            chunk = data[at : at + 1 + 997 * (number % 7)]
            await flow.write(b"%x\r\n" % len(chunk))
            await flow.write(chunk)
            await flow.write(b"\r\n")
            at += len(chunk)
        octets -= len(data)
        number += 1
    await flow.write(b"0\r\n\r\n")


async def read_headers(reader):
    """Names in lower case -> values. Raises ValueError for too many, or what is none."""
    headers = {}
    while line := await reader.line(LINE_LIMIT):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
        if len(headers) > HEADERS_LIMIT:
            raise ValueError("more than %d headers" % HEADERS_LIMIT)
    return headers


async def read_body(reader, headers, is_response):
    """Reads a body to its end. Returns (octets, SHA-256 in hexadecimal)."""
    sha = hashlib.sha256()
    count = 0
    if headers.get("transfer-encoding", "") == "chunked":
        while size := int((await reader.line(LINE_LIMIT)).split(b";")[0], 16):
            count += await _take(reader, size, sha)
            await reader.line(2)
        await read_headers(reader)
    elif "content-length" in headers:
        count = await _take(reader, int(headers["content-length"]), sha)
    elif is_response:
        while data := await reader.some():
            sha.update(data)
            count += len(data)
    return count, "".join(["%02x" % octet for octet in sha.digest()])


async def _take(reader, count, sha):
    left = count
    while left:
        data = await reader.some(left)
        if not data:
            raise OSError(32)
        sha.update(data)
        left -= len(data)
    return count


async def get(flow, host, path):
    """A request as client. Returns the status, the body's length and SHA-256."""
    request = "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
    await flow.write((request % (path, "[%s]" % host if ":" in host else host)).encode())
    reader = Reader(flow)
    status = int((await reader.line(LINE_LIMIT)).split(b" ")[1])
    count, digest = await read_body(reader, await read_headers(reader), True)
    return {"status": status, "octets": count, "sha256": digest}
