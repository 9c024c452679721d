# SPDX-License-Identifier: MIT
"""AES-GCM where the processor has instructions for it, and ChaCha20-Poly1305."""

import _aead


class Aeads:
    """names: the ciphers of this machine, preferred first. AES in tables would tell its key by the time it takes."""

    def __init__(self):
        self.names = ("chacha20poly1305",)
        if _aead.has_aes():
            self.names = ("aes128gcm", "aes256gcm", "chacha20poly1305")
        self.discard = _aead.discard  # discard(record): it is b"" from now on, its memory for another one

    def make(self, name, key):
        """A cipher: seal, seal_records, open, wipe. ValueError for a key of another length, or what `names` lacks."""
        if name not in self.names or len(key) != (16 if name == "aes128gcm" else 32):
            raise ValueError("cipher")
        return _aead.ChaCha20Poly1305(key) if name[0] == "c" else _aead.AesGcm(key)
