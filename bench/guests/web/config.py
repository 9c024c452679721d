# SPDX-License-Identifier: MIT
"""The benchmark's web server: the same files in clear, and over TLS with each kind of key."""

from mirage_py.dsl import files, generic_stack, http_server, register, tls, unikernel

stack = generic_stack()
# One wants what is sent to be what was asked for.
content = files("www", compress=False)
p256 = tls(stack, certificate="p256.pem", key="p256.key", half_open=512)
servers = (
    http_server(stack, port=80),
    http_server(p256, port=443, group="p256"),
    http_server(tls(stack, certificate="rsa.pem", key="rsa.key"), port=444, group="rsa"),
)
register("web", unikernel("web.Web", stack, content, p256, *servers))
