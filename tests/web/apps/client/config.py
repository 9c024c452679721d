# SPDX-License-Identifier: MIT
"""What the HTTP client does on the real runtime, against servers that the test has."""

from mirage_py.dsl import console, generic_stack, https_client, key, register, unikernel

base = key("base", type="str", doc="URL of the test's server, http or https")
bad = key("bad", type="str", default="", doc="URLs of servers whose certificates are wrong, with commas between")
client = https_client(generic_stack(), trust="ca.pem", cookies=True, websocket=True)
register("client", unikernel("checks.Checks", client, console(), keys=[base, bad]))
