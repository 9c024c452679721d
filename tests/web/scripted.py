# SPDX-License-Identifier: MIT
"""A server that says what a test wants, and remembers what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.web.virtual import Flow


@dataclass
class Asked:
    """One request as it came. head: its lines; body: its content, taken apart where it came in chunks."""

    line: str
    headers: dict[str, str]
    body: bytes = b""
    trailers: bytes = b""


@dataclass
class Script:
    """Answers each request with the next of `answers`: octets, which are sent as they are, in pieces of `piece`.

    An answer b"" closes without a word; "reset" resets. keep: whether the connection goes on behind an answer.
    """

    answers: list[bytes | str]
    keep: bool = True
    piece: int = 1 << 20
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    async def __call__(self, flow: Flow) -> None:
        self.connections += 1
        while True:
            asked = await read_request(flow)
            if asked is None:
                return
            self.asked.append(asked)
            answer = (
                self.answers.pop(0)
                if self.answers
                else b"HTTP/1.1 500 nothing left to say\r\nContent-Length: 0\r\n\r\n"
            )
            if answer == "reset":
                flow.abort()
                return
            assert isinstance(answer, bytes)
            for start in range(0, len(answer), self.piece):
                await flow.write(answer[start : start + self.piece])
            if not answer or not self.keep:
                return


async def read_request(flow: Flow) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = await flow.read()
        if not more:
            assert not data, data
            return None
        data += more
    head, _, data = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {}
    for text in fields:
        name, _, value = text.partition(": ")
        assert name.lower() not in headers, name
        headers[name.lower()] = value
    asked = Asked(line, headers)
    if "content-length" in headers:
        while len(data) < int(headers["content-length"]):
            more = await flow.read()
            if not more:
                return asked
            data += more
        asked.body = data
    elif headers.get("transfer-encoding") == "chunked":
        while True:
            while b"\r\n" not in data:
                data += await flow.read()
            size_text, _, data = data.partition(b"\r\n")
            size = int(size_text, 16)
            while len(data) < size + 2:
                data += await flow.read()
            assert data[size : size + 2] == b"\r\n"
            asked.body += data[:size]
            data = data[size + 2 :]
            if not size:
                break
    return asked


def answer(body: bytes = b"", status: str = "200 OK", **fields: str) -> bytes:
    """A response with Content-Length; names with _ for -."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
