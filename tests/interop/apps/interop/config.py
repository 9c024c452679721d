# SPDX-License-Identifier: MIT
"""The interoperation tests' application: what Linux's usual clients and servers talk to."""

from mirage_py.dsl import generic_stack, register, unikernel

register("interop", unikernel("interop.Interop", generic_stack()))
