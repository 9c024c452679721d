# SPDX-License-Identifier: MIT
"""What configure does for TLS: certificates are read, looked at and made; identities and trust become octets."""

CA_FILE, CA_KEY_FILE = "mirage/ca.pem", "mirage/ca.key"
CERTIFICATE_FILE, KEY_FILE = "mirage/server.pem", "mirage/server.key"
# What configure makes itself where config.py names no certificate.
DEVELOPMENT_FILES = (CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE)
