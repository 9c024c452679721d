# SPDX-License-Identifier: MIT
"""A DHCP server in the middle of a cable, a name server over a stack, and a console that remembers."""

import asyncio
import struct

import _mirage

from libos.wire import dhcp as wire
from libos.wire import dns as wire_dns

SERVER = "10.0.0.1"
SERVER_IP = 0x0A000001
CLIENT_MAC = b"\x02\0\0\0\0\2"
BROADCAST = b"\xff\xff\xff\xff\xff\xff"


class Recorder:
    """A console that keeps what is written."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class DhcpServer:
    """Sits in the client's cable: answers DHCP by itself, and lets all else pass to the server's stack."""

    def __init__(self, client_link, server_link):
        self.client_link = client_link
        self.server_link = server_link
        self.is_cut = False
        self.waiting = self
        self.is_silent = False
        self.refuses = False
        self.address = 0x0A000009
        self.lease_s = 3600
        self.router = SERVER_IP
        self.more = []  # options besides: (code, octets)
        self.seen = []  # message types

    def append(self, frame):
        data = frame.take(0, frame.length)
        if data[12:14] != b"\x08\x00" or data[23] != 17 or data[36:38] != b"\x00\x43":
            if self.server_link is None:
                frame.release()
            else:
                self.server_link.waiting.append(frame)
            return
        frame.release()
        message = wire.parse(data, 42, len(data) - 42)
        kind = message.number(wire.OPTION_TYPE, 1)
        self.seen.append(kind)
        if self.is_silent:
            return
        if kind == wire.DISCOVER:
            self.answer(message, wire.OFFER)
        elif kind == wire.REQUEST_LEASE:
            self.answer(message, wire.NAK if self.refuses else wire.ACK)

    def answer(self, question, kind):
        options = [(wire.OPTION_TYPE, bytes((kind,))), (wire.OPTION_SERVER, SERVER_IP.to_bytes(4, "big"))]
        if kind != wire.NAK:
            options += [
                (wire.OPTION_MASK, b"\xff\xff\xff\x00"),
                (wire.OPTION_ROUTER, self.router.to_bytes(4, "big")),
                (wire.OPTION_DNS, SERVER_IP.to_bytes(4, "big")),
                (wire.OPTION_LEASE_TIME, self.lease_s.to_bytes(4, "big")),
                (wire.OPTION_T1, b"\0\0\0\1"),
                (wire.OPTION_T2, b"\0\0\0\6"),
                (wire.OPTION_MTU, struct.pack(">H", 1400)),
            ] + self.more
        address = 0 if kind == wire.NAK else self.address
        data = wire.emit(wire.REPLY, question.xid, 0, 0, 0, address, CLIENT_MAC, options)
        total_len = 28 + len(data)
        header = struct.pack(">BBHHHBBHII", 0x45, 0, total_len, 0, 0, 64, 17, 0, SERVER_IP, 0xFFFFFFFF)
        total = _mirage.checksum(header, 0, 20, 0) ^ 0xFFFF
        header = header[:10] + struct.pack(">H", total) + header[12:]
        packet = BROADCAST + b"\x02\0\0\0\0\1\x08\x00" + header + struct.pack(">HHHH", 67, 68, 8 + len(data), 0) + data
        frame = self.server_link.alloc(len(packet))
        frame.put(0, packet, 0, len(packet))
        frame.length = len(packet)
        self.client_link.waiting.append(frame)


class NameServer:
    """Answers what a check says: name -> list of (type, octets, ttl) of its records; other names do not exist."""

    def __init__(self, stack):
        self.stack = stack
        self.zone = {}
        self.truncates = False
        self.is_silent = False
        self.forges = False
        self.codes = {}  # record type -> the response code of an answer without records
        self.silent = ()  # record types to which there is no answer
        self.delays_ms = {}  # record type -> how late the answer is
        self.ports = []  # source ports of questions
        self.idents = []
        self.streams = 0
        stack.udp.listen(53, self.receive)
        stack.tcp.listen(53, self.serve)

    def receive(self, data, ip, port):
        self.ports.append(port)
        self.idents.append(data[:2])
        if self.is_silent:
            return
        if self.forges:
            # All of it right but for the identifier, and but for the port that it comes from.
            evil = self.answer(data, False, evil=True)
            self.stack.udp.write(bytes((evil[0] ^ 1,)) + evil[1:], ip, port, 53)
            self.stack.udp.write(evil, ip, port, 5353)
        kind = data[data.index(b"\0", 12) + 2]
        if kind in self.silent:
            return
        if kind in self.delays_ms:
            asyncio.create_task(self.later(self.delays_ms[kind], data, ip, port))
        else:
            self.stack.udp.write(self.answer(data, self.truncates), ip, port, 53)

    async def later(self, delay_ms, data, ip, port):
        await asyncio.sleep_ms(delay_ms)
        self.stack.udp.write(self.answer(data, self.truncates), ip, port, 53)

    async def serve(self, flow):
        self.streams += 1
        head = await flow.read(2)
        data = await flow.read(head[0] << 8 | head[1])
        answer = self.answer(data, False)
        await flow.write(struct.pack(">H", len(answer)) + answer)

    def answer(self, data, truncated, evil=False):
        end = data.index(b"\0", 12) + 5
        name = wire_dns.decode_name(data[12:end])
        asked = data[end - 3]
        records = self.zone.get(name)
        code = 3 if records is None else 0
        if asked in self.codes:
            code = self.codes[asked]
            records = None
        body = b""
        count = 0
        for kind, value, ttl in records or ():
            if kind in (asked, wire_dns.CNAME) and not truncated:
                if evil:
                    value = b"\x06\x06\x06\x06"
                body += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, ttl, len(value)) + value
                count += 1
        flags = 0x8180 | code | (0x0200 if truncated else 0)
        return data[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) + data[12:end] + body
