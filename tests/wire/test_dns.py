# SPDX-License-Identifier: MIT
"""wire.dns: names, pointers, truncations; scapy as a second opinion."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRRSOA

from libos.wire import dns

NAME = dns.encode_name("www.example.com")
LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)


def parse(data):
    return dns.parse(data, 0, len(data))


def answer(records, kind=dns.A, name=NAME, flags=0x8180, counts=None, question=True):
    """A response by hand. records: octets that follow the question."""
    counts = counts or (1, len(records), 0, 0)
    head = struct.pack(">HHHHHH", 7, flags, *counts)
    return head + (name + struct.pack(">HH", kind, 1) if question else b"") + b"".join(records)


def record(owner, kind, value, ttl=60, klass=1):
    return owner + struct.pack(">HHIH", kind, klass, ttl, len(value)) + value


# --- names ---


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("www.example.com", b"\x03www\x07example\x03com\x00"),
        ("WWW.Example.COM.", b"\x03www\x07example\x03com\x00"),
        ("localhost", b"\x09localhost\x00"),
        ("_http._tcp.a-b", b"\x05_http\x04_tcp\x03a-b\x00"),
        ("a" * 63, b"\x3f" + b"a" * 63 + b"\x00"),
    ],
)
def test_name_is_encoded(text, octets):
    assert dns.encode_name(text) == octets
    assert dns.decode_name(octets) == text.lower().rstrip(".")


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", ".a", "a" * 64, "b\u00fccher.de", "a b", "a/b", ".".join(["a" * 62] * 5)]
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ValueError, match="not a host name"):
        dns.encode_name(text)


@given(st.lists(LABEL, min_size=1, max_size=3))
def test_round_trip_of_names(labels):
    text = ".".join(labels)
    assert dns.decode_name(dns.encode_name(text)) == text


def test_reverse_names():
    assert dns.decode_name(dns.reverse_name(bytes((10, 0, 2, 3)))) == "3.2.0.10.in-addr.arpa"
    assert dns.decode_name(dns.reverse_name(bytes([0x20, 0x01] + [0] * 13 + [0x1F]))).startswith("f.1.0.0.")
    assert dns.decode_name(dns.reverse_name(bytes(16))).endswith(".0.ip6.arpa")


# --- queries ---


def test_query_is_what_scapy_reads():
    seen = DNS(dns.emit_query(0xBEEF, NAME, dns.AAAA))
    assert (seen.id, seen.qr, seen.opcode, seen.rd, seen.tc) == (0xBEEF, 0, 0, 1, 0)
    assert (seen.qdcount, seen.ancount, seen.nscount, seen.arcount) == (1, 0, 0, 1)
    assert (seen.qd[0].qname, seen.qd[0].qtype, seen.qd[0].qclass) == (b"www.example.com.", 28, 1)
    assert (seen.ar[0].type, seen.ar[0].rclass) == (41, dns.UDP_BYTES)


# --- responses ---


def test_response_by_scapy_is_read():
    data = bytes(
        DNS(
            id=77, qr=1, rd=1, ra=1,
            qd=DNSQR(qname="www.example.com", qtype="A"),
            an=[
                DNSRR(rrname="www.example.com", type="CNAME", ttl=30, rdata="web.example.net"),
                DNSRR(rrname="web.example.net", type="A", ttl=60, rdata="192.0.2.1"),
                DNSRR(rrname="web.example.net", type="AAAA", ttl=90, rdata="2001:db8::1"),
            ],
        )
    )  # fmt: skip
    seen = parse(data)
    web = dns.encode_name("web.example.net")
    assert (seen.ident, seen.code, seen.is_truncated, seen.name, seen.kind) == (77, 0, False, NAME, dns.A)
    assert seen.answers == [
        (NAME, dns.CNAME, 30, web),
        (web, dns.A, 60, bytes((192, 0, 2, 1))),
        (web, dns.AAAA, 90, bytes.fromhex("20010db8000000000000000000000001")),
    ]


def test_negative_response_by_scapy_has_its_time():
    data = bytes(
        DNS(
            id=1, qr=1, rcode=3, qd=DNSQR(qname="no.example.com"),
            ns=DNSRRSOA(rrname="example.com", mname="ns.example.com", rname="root.example.com", ttl=900, minimum=300),
        )
    )  # fmt: skip
    seen = parse(data)
    assert (seen.code, seen.negative_ttl_s, seen.answers) == (dns.NO_SUCH_NAME, 300, [])
    assert seen.negative_zone == dns.encode_name("example.com")


def test_compressed_names_are_followed():
    # owner: pointer to the question; value: "web" and a pointer into the question's name
    data = answer([record(b"\xc0\x0c", dns.CNAME, b"\x03web\xc0\x10")])
    assert parse(data).answers == [(NAME, dns.CNAME, 60, dns.encode_name("web.example.com"))]


def test_upper_case_is_lower_case():
    data = answer([record(b"\x03WWW\x07eXample\x03COM\x00", dns.A, b"\x01\x02\x03\x04")], name=NAME.upper().lower())
    assert parse(data).answers[0][0] == NAME


BASE = 12 + len(NAME) + 4  # where the first record begins


@pytest.mark.parametrize(
    "owner",
    [
        bytes((0xC0, BASE)),  # to itself
        bytes((0xC0, BASE + 1)),  # into itself
        b"\x01a" + bytes((0xC0, BASE)),  # to its own beginning
        b"\x01a" + bytes((0xC0, BASE + 2)),  # to its own pointer
        bytes((0xC0, BASE + 40)),  # forward
        b"\xff\xff",  # far beyond the end
        b"\xc0\x00",  # into the header
        b"\xc0",  # half a pointer, and the type after it
        b"\x80\x01",  # reserved kinds of label
        b"\x40\x01",
    ],
)
def test_pointer_that_leads_nowhere_or_in_a_circle_is_refused(owner):
    assert parse(answer([record(owner, dns.A, b"\x01\x02\x03\x04")])) is None


def test_two_pointers_at_each_other_are_refused():
    first = record(bytes((0xC0, BASE + 12)), dns.A, b"\xc0\x0c" + bytes((0xC0, BASE)))
    assert parse(answer([first])) is None


def test_long_chain_of_pointers_ends():
    # Each record's owner points to the one before; all are legal, and the work is bounded by the 255 octets of a name.
    records, at = [], BASE
    owner = b"\xc0\x0c"
    for _ in range(90):
        records.append(record(owner, dns.A, b"\x01\x02\x03\x04"))
        owner = bytes((0xC0 | at >> 8, at & 255))
        at += len(records[-1])
    seen = parse(answer(records))
    assert len(seen.answers) == 90
    assert {owner for owner, _, _, _ in seen.answers} == {NAME}


def test_name_beyond_255_octets_is_refused():
    label = b"\x3f" + b"a" * 63
    assert parse(answer([record(label * 3 + b"\x3d" + b"a" * 61 + b"\x00", dns.A, b"\1\2\3\4")])) is not None
    assert parse(answer([record(label * 3 + b"\x3e" + b"a" * 62 + b"\x00", dns.A, b"\1\2\3\4")])) is None
    # Made long by compression: the question's name behind 250 octets of labels.
    assert parse(answer([record(label * 3 + b"\x30" + b"a" * 48 + b"\xc0\x0c", dns.A, b"\1\2\3\4")])) is None


def test_every_truncation_of_the_octets_is_refused():
    whole = answer([record(b"\xc0\x0c", dns.CNAME, b"\x03web\xc0\x10"), record(b"\xc0\x0c", dns.A, b"\1\2\3\4")])
    assert parse(whole) is not None
    for length in range(len(whole)):
        assert parse(whole[:length]) is None, length


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (dns.A, b"\1\2\3"),
        (dns.A, b"\1\2\3\4\5"),
        (dns.AAAA, b"\1\2\3\4"),
        (dns.CNAME, b"\x03web"),
        (dns.CNAME, b"\x03web\x00\x00"),
        (dns.CNAME, b""),
    ],
)
def test_value_that_does_not_fit_its_record_is_refused(kind, value):
    assert parse(answer([record(b"\xc0\x0c", kind, value)])) is None


@pytest.mark.parametrize(
    "change",
    [
        {"flags": 0x0100},
        {"flags": 0x8180 | 0x0800},
        {"counts": (0, 0, 0, 0), "question": False},
        {"counts": (2, 0, 0, 0)},
    ],
)
def test_what_is_no_response_to_one_question_is_refused(change):
    assert parse(answer([], **change)) is None


def test_truncated_response_is_said_to_be_so_and_not_read():
    seen = parse(answer([b"\xc0"], flags=0x8380))
    assert seen.is_truncated
    assert seen.answers == []


def test_records_of_other_kinds_and_classes_are_skipped():
    seen = parse(
        answer(
            [
                record(b"\xc0\x0c", 16, b"\x03txt"),
                record(b"\xc0\x0c", dns.A, b"\1\2\3\4", klass=3),
                record(b"\xc0\x0c", dns.A, b"\4\3\2\1"),
            ]
        )
    )
    assert [value for _, _, _, value in seen.answers] == [b"\4\3\2\1"]


def test_time_with_the_highest_bit_is_none():
    assert parse(answer([record(b"\xc0\x0c", dns.A, b"\1\2\3\4", ttl=1 << 31)])).answers[0][2] == 0


def test_records_beyond_the_bound_are_not_read():
    records = [record(b"\xc0\x0c", dns.A, b"\1\2\3\4")] * 1000
    assert len(parse(answer(records)).answers) == dns.MAX_RECORDS
