# SPDX-License-Identifier: MIT
"""A server with one of everything, for tests/web/test_on_runtime.py."""

from mirage_py.dsl import files, generic_stack, http_server, register, unikernel

server = http_server(generic_stack(), metrics=True, access_log=True)
register("server", unikernel("everything.Everything", server, files("www")), memory_mb=24)
