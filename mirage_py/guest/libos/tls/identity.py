# SPDX-License-Identifier: MIT
"""What one side proves who it is with, as configure has prepared it: nothing is parsed that the tool could."""

import struct

from micropython import const

_MAGIC = b"MPI1"
_HEADER = const(10)


class Identity:
    """chain: DER of each certificate, the own one first, bytes. key_kind: "p256", "p384", "rsa" or "ed25519".

    signer: of crypto.signer. names: host names in lower case that it is for, as text; "*.example.com" stands for one
    label more.
    """

    def __init__(self, chain, key_kind, signer, names=()):
        self.chain = chain
        self.key_kind = key_kind
        self.signer = signer
        self.names = names

    def is_for(self, name):
        """Whether it has a certificate for the host `name`, text: exactly, or by a wildcard (RFC 9525 section 6.3)."""
        name = name.lower()
        rest = name.find(".")
        return name in self.names or (rest > 0 and "*" + name[rest:] in self.names)


class EmbeddedIdentity(Identity):
    """An identity that is in the image. crypto: with which it signs. blob: of the tool, bytes or a memoryview.

    Four octets "MPI1", three numbers of 16 bits (names, parts of the key, certificates), and then for each of them,
    after the key's kind, its length in 32 bits and itself. Raises ValueError for what is no such thing.
    """

    def __init__(self, crypto, blob):
        if bytes(blob[:4]) != _MAGIC:
            raise ValueError("no identity")
        names, parts, certificates = struct.unpack(">HHH", blob[4:_HEADER])
        items = []
        at = _HEADER
        while at < len(blob):
            length = struct.unpack(">I", blob[at : at + 4])[0]
            items.append(bytes(blob[at + 4 : at + 4 + length]))
            at += 4 + length
        if at != len(blob) or len(items) != 1 + names + parts + certificates:
            raise ValueError("no identity")
        kind = str(items[0], "ascii")
        names += 1
        parts += names
        material = items[names:parts]
        signer = crypto.signer(kind, tuple(material) if kind == "rsa" else material[0])
        super().__init__(items[parts:], kind, signer, [str(name, "ascii") for name in items[1:names]])


class EmbeddedIdentities(list):
    """Those of a context: list of EmbeddedIdentity. The first one is for names that none is for."""

    def __init__(self, crypto, blobs):
        super().__init__([EmbeddedIdentity(crypto, blob) for blob in blobs])
