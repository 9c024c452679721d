# SPDX-License-Identifier: MIT
"""A website: files, a JSON API, a WebSocket."""

from mirage_py.dsl import files, generic_stack, http_server, register, unikernel

server = http_server(generic_stack())
register("site", unikernel("pages.Pages", server, files("www")))
