# SPDX-License-Identifier: MIT
"""A website over HTTPS: files, a JSON API, a WebSocket."""

from mirage_py.dsl import files, generic_stack, http_server, register, tls, unikernel

server = http_server(tls(generic_stack()))
register("site", unikernel("pages.Pages", server, files("www")))
