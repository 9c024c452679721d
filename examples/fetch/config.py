# SPDX-License-Identifier: MIT
"""A client of HTTP: fetches a URL and prints what it gets."""

from mirage_py.dsl import console, generic_stack, http_client, key, register, unikernel

url = key("url", type="str", default="http://127.0.0.1:8080/", doc="what to fetch")
register("fetch", unikernel("fetch.Fetch", http_client(generic_stack()), console(), keys=[url]))
