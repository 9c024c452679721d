# SPDX-License-Identifier: MIT
"""A client of HTTPS: fetches a URL from whomever this computer trusts, and prints what it gets."""

from mirage_py.dsl import console, generic_stack, https_client, key, register, unikernel

url = key("url", type="str", default="https://example.com/", doc="what to fetch")
register("fetch", unikernel("fetch.Fetch", https_client(generic_stack(), trust="system"), console(), keys=[url]))
