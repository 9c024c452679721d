# SPDX-License-Identifier: MIT
"""The interoperation tests' application: what Linux's usual clients and servers talk to."""

from mirage_py.dsl import dns_client, generic_stack, register, unikernel

stack = generic_stack()
register("interop", unikernel("interop.Interop", stack, dns_client(stack)))
