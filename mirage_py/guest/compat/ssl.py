# SPDX-License-Identifier: MIT
"""The module `ssl` as MicroPython packages use it: the names of `tls`, and those that make a context by themselves."""

from tls import (
    CERT_NONE,
    CERT_OPTIONAL,
    CERT_REQUIRED,
    PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER,
    SSLContext,
    SSLSocket,
)

__all__ = (
    "CERT_NONE",
    "CERT_OPTIONAL",
    "CERT_REQUIRED",
    "PROTOCOL_TLS_CLIENT",
    "PROTOCOL_TLS_SERVER",
    "SSLContext",
    "SSLError",
    "SSLSocket",
    "create_default_context",
    "wrap_socket",
)

SSLError = OSError  # TlsError is one


def create_default_context(cadata=None):
    """A client's context: trusts `cadata`, certificates in PEM or DER; without it, whoever config.py trusts."""
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    if cadata is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=cadata)
    return context


def wrap_socket(
    sock,
    server_side=False,
    key=None,
    cert=None,
    cert_reqs=None,
    cadata=None,
    server_hostname=None,
    do_handshake=True,
):
    """TLS over a flow or a stream, with a context of its own. A client verifies unless cert_reqs is CERT_NONE."""
    context = SSLContext(PROTOCOL_TLS_SERVER if server_side else PROTOCOL_TLS_CLIENT)
    if cert is not None:
        context.load_cert_chain(cert, key)
    if cadata is not None:
        context.load_verify_locations(cadata=cadata)
    elif not server_side and cert_reqs != CERT_NONE:
        context.load_default_certs()
    if cert_reqs is not None:
        context.verify_mode = cert_reqs
    return context.wrap_socket(sock, server_side, do_handshake, server_hostname)
