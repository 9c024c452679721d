# SPDX-License-Identifier: MIT
"""Media types by the ends of file names. A table of our own: Python's depends on the machine, and an image must not."""

from __future__ import annotations

_OTHER = "application/octet-stream"

_TEXT = {
    "atom": "application/atom+xml",
    "css": "text/css",
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "ics": "text/calendar",
    "js": "text/javascript",
    "json": "application/json",
    "jsonld": "application/ld+json",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "rss": "application/rss+xml",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "webmanifest": "application/manifest+json",
    "xhtml": "application/xhtml+xml",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
}

_BINARY = {
    "bmp": "image/bmp",
    "eot": "application/vnd.ms-fontobject",
    "ico": "image/vnd.microsoft.icon",
    "otf": "font/otf",
    "tar": "application/x-tar",
    "ttf": "font/ttf",
    "wasm": "application/wasm",
    "wav": "audio/wav",
}

# What is compressed already.
_PACKED = {
    "7z": "application/x-7z-compressed",
    "aac": "audio/aac",
    "apng": "image/apng",
    "avif": "image/avif",
    "br": "application/octet-stream",
    "bz2": "application/x-bzip2",
    "flac": "audio/flac",
    "gif": "image/gif",
    "gz": "application/gzip",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "webm": "video/webm",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xz": "application/x-xz",
    "zip": "application/zip",
    "zst": "application/zstd",
}


def media_type(name: str, content: bytes) -> str:
    """The media type of a file; for text with its encoding, where that is UTF-8 (a browser would guess)."""
    end = _end(name)
    kind = _TEXT.get(end)
    if kind is None:
        return _BINARY.get(end) or _PACKED.get(end) or _OTHER
    if not kind.startswith("text/"):
        return kind  # their formats say what they are encoded in
    try:
        content.decode()
    except UnicodeDecodeError:
        return kind
    return f"{kind}; charset=utf-8"


def may_shrink(name: str) -> bool:
    """Whether compressing is worth a try."""
    return _end(name) not in _PACKED


def _end(name: str) -> str:
    last = name.rpartition("/")[2]
    return last.rpartition(".")[2].lower() if "." in last else ""
