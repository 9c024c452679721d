# SPDX-License-Identifier: MIT
"""Forms that HTML sends as application/x-www-form-urlencoded; multipart.py has the other kind."""

from . import query

CONTENT_TYPE = b"application/x-www-form-urlencoded"


def is_form(headers):
    """Whether Content-Type says that the content is such a form."""
    kind = headers.get(b"content-type", b"").partition(b";")[0]
    return kind.strip(b" \t").lower() == CONTENT_TYPE


def parse(headers, content, max_fields=query.MAX_FIELDS):
    """List of (name, value), text. ValueError when the content is no such form, or malformed."""
    if not is_form(headers):
        raise ValueError("not a form: Content-Type is another one")
    return query.parse(content, max_fields)
