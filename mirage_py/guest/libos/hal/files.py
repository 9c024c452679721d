# SPDX-License-Identifier: MIT
"""Data that the build put into the image (mirage_py/build/embedded.py): read-only memory, in place, without a copy."""

import struct

import _embedded

_RECORD = "<7IHBBB"
_RECORD_BYTES = 33
_CACHED = 64


def embedded(name):
    """The data of that name as a memoryview, which cannot be written. KeyError when the build embedded none."""
    return _embedded.get(name)


class File:
    """A file of a folder.

    body, gzip, brotli: bytes (None: no such twin), which lie in the image: only the objects are in the heap, so a flow
    that keeps what it is given by reference sends them from there. path, type (media type), etag (strong, with its
    quotes), last_modified (as HTTP writes dates): text. modified_s: Unix seconds.
    """

    def __init__(self, name, blob, offset):
        body, size, gzip, gzip_size, brotli, brotli_size, self.modified_s, path, kind, etag, date = struct.unpack_from(
            _RECORD, blob, offset
        )
        octets = _embedded.octets
        self.body = octets(name, body, size)
        self.gzip = octets(name, gzip, gzip_size) if gzip else None
        self.brotli = octets(name, brotli, brotli_size) if brotli else None
        offset += _RECORD_BYTES
        self.path = str(blob[offset : offset + path], "utf-8")
        offset += path
        self.type = str(blob[offset : offset + kind], "utf-8")
        offset += kind
        self.etag = str(blob[offset : offset + etag], "utf-8")
        offset += etag
        self.last_modified = str(blob[offset : offset + date], "utf-8")
        self._name = name
        self._at = (body, gzip, brotli)

    def part(self, start, end, which=0):
        """body[start:end], where it lies. which: 0 of the body, 1 of gzip, 2 of brotli. Nothing beyond its end."""
        return _embedded.octets(self._name, self._at[which] + start, end - start)


class Files:
    """The files of a folder. Their index is searched where it lies; a bounded number of found ones is kept."""

    def __init__(self, name, index):
        """name: under which the folder is embedded. index: what the build made of it, embedded(name)."""
        self._name = name
        self._blob = index
        self.count = struct.unpack_from("<I", index, 0)[0]
        self._found = {}

    def lookup(self, path):
        """The File of a path such as "/style/main.css", or None. Nothing is resolved: what is no key is not there."""
        found = self._found.get(path)
        if found is not None:
            return found
        blob = self._blob
        wanted = path.encode()
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            offset = struct.unpack_from("<I", blob, 4 + 4 * middle)[0]
            start = offset + _RECORD_BYTES
            name = bytes(blob[start : start + struct.unpack_from("<H", blob, offset + 28)[0]])
            if name == wanted:
                if len(self._found) >= _CACHED:
                    self._found.clear()
                found = self._found[path] = File(self._name, blob, offset)
                return found
            if name < wanted:
                low = middle + 1
            else:
                high = middle
        return None

    def paths(self):
        """All paths, sorted by their octets."""
        for number in range(self.count):
            offset = struct.unpack_from("<I", self._blob, 4 + 4 * number)[0]
            length = struct.unpack_from("<H", self._blob, offset + 28)[0]
            yield str(self._blob[offset + _RECORD_BYTES : offset + _RECORD_BYTES + length], "utf-8")
