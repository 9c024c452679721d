# SPDX-License-Identifier: MIT
"""Files of a folder (RFC 9110: conditional requests, ranges, content negotiation): what lies in the image goes out as
it lies there.

A path is looked up in the folder's table and nowhere else, so there is nothing to climb out of.
"""

from ..http import conditional, ranges
from ..http.head import Prepared
from ..http.media import preferred_encoding
from ..http.percent import encode
from .response import Response
from .router import Route

_INDEX = "index.html"
_NOT_FOUND = "/404.html"
# Fields that make an answer to GET something else than the whole file.
_CONDITIONS = (b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"range")
_SMALL_BYTES = 2048
_ENCODED = {b"br": "-br", b"gzip": "-gz"}
_WHICH = {b"identity": 0, b"gzip": 1, b"br": 2}


class Folder:
    """prefix: of the URL, with its slash. files: has lookup(path), as hal.files.Files. max_age_s: see HttpServer."""

    def __init__(self, prefix, files, max_age_s):
        self._prefix = prefix
        self._files = files
        self._cache = b"max-age=%d" % max_age_s if max_age_s else b"no-cache"

    def find(self, path):
        """The Route of a path below the folder ("/" for itself), text; None where there is nothing."""
        files = self._files
        if path.endswith("/"):
            path += _INDEX
        found = files.lookup(path)
        if found is not None:
            return _FileRoute(found, self._cache, 200)
        # A folder's relative links only work behind its slash. What is found here is a path of ours, with no empty
        # segment: it cannot be taken for another host's name.
        if files.lookup(path + "/" + _INDEX) is not None:
            return _SlashRoute(encode(self._prefix[:-1] + path, b"/").encode() + b"/")
        found = files.lookup(_NOT_FOUND)
        return None if found is None else _FileRoute(found, self._cache, 404)


class _ReadOnly(Route):
    """What can be read and nothing else. is_known: whether it is kept for the target, as long as that is asked for."""

    is_known = True
    is_static = True

    def __init__(self):
        super().__init__()
        self.methods[b"GET"] = self.get
        self.methods[b"HEAD"] = self.get


class _SlashRoute(_ReadOnly):
    is_known = False

    def __init__(self, location):
        super().__init__()
        self._location = location

    def get(self, request):
        query = request.target.partition(b"?")[2]
        location = self._location + b"?" + query if query else self._location
        return Response(b"", 308, ((b"Location", location),))


class _FileRoute(_ReadOnly):
    """One file. status: 404 for the page that says so."""

    def __init__(self, file, cache, status):
        super().__init__()
        self.is_known = status == 200  # each missing path would be remembered otherwise
        self._file = file
        self._cache = cache
        self._status = status
        self._variants = {}  # content coding -> (body, etag, Prepared)
        self._offers = [b"identity"]
        if file.gzip is not None:
            self._offers.insert(0, b"gzip")
        if file.brotli is not None:
            self._offers.insert(0, b"br")
        self._plain = Response(file.body, status, self._variant(b"identity")[2])
        self._plain.part = file.part
        # A small file's answer is made once a second, for its date.
        self._plain.is_constant = status == 200 and len(file.body) <= _SMALL_BYTES

    def _variant(self, coding):
        found = self._variants.get(coding)
        if found is None:
            file = self._file
            etag = file.etag.encode()
            body = file.body
            pairs = [(b"Content-Type", file.type)]
            if coding != b"identity":
                body = file.brotli if coding == b"br" else file.gzip
                # Other octets are another representation, with a tag of its own (RFC 9110 section 8.8.3.3).
                etag = etag[:-1] + _ENCODED[coding].encode() + b'"'
                pairs.append((b"Content-Encoding", coding))
            if len(self._offers) > 1:
                pairs.append((b"Vary", b"Accept-Encoding"))
            if self._status == 200:
                pairs += [(b"ETag", etag), (b"Last-Modified", file.last_modified), (b"Cache-Control", self._cache)]
                pairs.append((b"Accept-Ranges", b"bytes"))
            found = self._variants[coding] = (body, etag, Prepared(pairs))
        return found

    def get(self, request):
        accepts = None
        is_plain = True
        for name, value in request.headers.pairs:
            if name == b"accept-encoding":
                accepts = value
            elif name in _CONDITIONS:
                is_plain = False
        coding = b"identity"
        if accepts is not None and len(self._offers) > 1:
            coding = preferred_encoding(accepts, self._offers) or b"identity"
        if self._status == 200 and not is_plain:
            return self._conditional(request, coding)
        if coding == b"identity":
            return self._plain
        body, _, headers = self._variant(coding)
        return self._response(body, self._status, headers, coding)

    def _response(self, body, status, headers, coding):
        response = Response(body, status, headers)
        which = _WHICH[coding]
        part = self._file.part
        response.part = lambda start, end: part(start, end, which)
        return response

    def _conditional(self, head, coding):
        file = self._file
        headers = head.headers
        wanted = headers.get(b"range") if head.method == b"GET" else None
        if wanted is not None:
            coding = b"identity"  # of that one parts are useful to somebody else
        body, etag, fields = self._variant(coding)
        status = conditional.evaluate(head.method, headers, etag, file.modified_s)
        if status is not None:
            return Response(b"", status, fields)
        if wanted is not None and conditional.range_applies(headers, etag, file.modified_s):
            size = len(body)
            part = ranges.parse(wanted, size)
            if part is ranges.UNSATISFIABLE:
                return Response(b"", 416, ((b"Content-Range", ranges.content_range(None, None, size)),))
            if part is not None:
                start, end = part
                pairs = self._pairs(etag)
                pairs.append((b"Content-Range", ranges.content_range(start, end, size)))
                fields = Prepared(pairs)
                response = Response(file.part(start, end), 206, fields)
                response.part = lambda begin, stop: file.part(start + begin, start + stop)
                return response
        return self._response(body, 200, fields, coding)

    def _pairs(self, etag):
        """Of a part (RFC 9110 section 15.3.7)."""
        file = self._file
        pairs = [
            (b"Content-Type", file.type),
            (b"ETag", etag),
            (b"Last-Modified", file.last_modified),
            (b"Cache-Control", self._cache),
        ]
        if len(self._offers) > 1:
            pairs.append((b"Vary", b"Accept-Encoding"))
        return pairs
