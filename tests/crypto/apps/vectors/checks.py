# SPDX-License-Identifier: MIT
"""Each call of vectors.py must answer as it says there; then both sides of each group, and each kind of key."""

from agent import answer
from vectors import CALLS, SIGNERS


class Checks:
    def __init__(self, console, crypto):
        self.console = console
        self.crypto = crypto

    async def start(self):
        crypto = self.crypto
        self.console.write("ciphers: %s\n" % " ".join(crypto.aeads))
        wrong = 0
        for needed, call, expected in CALLS:
            if needed and needed not in crypto.aeads:
                continue
            got = answer(call)
            if got != expected:
                wrong += 1
                self.console.write("WRONG %s\n  %s\n  not %s\n" % (call, got, expected))
        for group in crypto.groups:
            private, share = crypto.generate(group)
            reply, secret = crypto.respond(group, share)
            if crypto.agree(group, private, reply) != secret:
                wrong += 1
                self.console.write("WRONG group %d\n" % group)
        for kind, material, algorithm in SIGNERS:
            signer = crypto.signer(kind, material)
            signature = signer.sign(algorithm, b"message")
            if not crypto.verify(signer.public_key, algorithm, b"message", signature):
                wrong += 1
                self.console.write("WRONG %s\n" % algorithm)
            if crypto.verify(signer.public_key, algorithm, b"massage", signature):
                wrong += 1
                self.console.write("WRONG %s of another message\n" % algorithm)
        self.console.write("checked %d calls, %d wrong\n" % (len(CALLS), wrong))
