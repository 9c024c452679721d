# SPDX-License-Identifier: MIT
"""What configure does for TLS: certificates are read, looked at and made; identities and trust become octets."""
