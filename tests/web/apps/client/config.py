# SPDX-License-Identifier: MIT
"""What the HTTP client does on the real runtime, against a server that the test has."""

from mirage_py.dsl import console, generic_stack, http_client, key, register, unikernel

base = key("base", type="str", doc="http://HOST:PORT of the test's server")
client = http_client(generic_stack(), cookies=True, websocket=True)
register("client", unikernel("checks.Checks", client, console(), keys=[base]))
