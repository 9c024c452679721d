# SPDX-License-Identifier: MIT
"""What one side proves who it is with: a chain of certificates, and the key of the first one."""

from libos.tls.identity import Identity
from libos.tls.x509 import pem
from libos.tls.x509.certificate import Certificate
from libos.tls.x509.keys import private_key


class Credential(Identity):
    """An identity that is made while the image runs, of files or octets."""

    @classmethod
    def of_pem(cls, crypto, chain_pem, key_pem):
        """Of the texts of two files, or twice of one that has both. The own certificate is first in the chain.

        Raises ValueError that says what is wrong: no certificate, one that cannot be read, no key or one that cannot
        be used, or one that is another certificate's.
        """
        chain = [der for label, der in pem.decode(chain_pem) if label in ("CERTIFICATE", "X509 CERTIFICATE")]
        if not chain:
            raise ValueError("no certificate in PEM")
        return cls.of_der(crypto, chain, private_key(key_pem))

    @classmethod
    def of_der(cls, crypto, chain, key):
        """chain: list of DER. key: (kind, material), of x509.keys.private_key."""
        kind, material = key
        leaf = Certificate(chain[0])
        public = leaf.public_key
        if public[0] != kind:
            raise ValueError("the certificate is for a key of kind %s, and the private key is %s" % (public[0], kind))
        signer = crypto.signer(kind, material)
        if signer.public_key != public:
            raise ValueError("the private key is not the certificate's")
        return cls(chain, kind, signer, leaf.dns_names)
