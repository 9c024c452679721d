# SPDX-License-Identifier: MIT
"""A TLS server's context: what all its connections share. No I/O, no clock."""

from .connection import MAX_SEALED, Connection
from .errors import HANDSHAKE_FAILURE, NO_APPLICATION_PROTOCOL, TlsError
from .record import SUITES
from .schedule import Schedule
from .server13 import ServerHandshake
from .tickets import TicketKeys


class ServerContext:
    """crypto: primitives (crypto.py). credentials: list of Credential, the first one for names that none is for.

    verifier: of client certificates, with client_auth "optional" or "required"; then engine() needs the time. alpn:
    names (bytes) that are spoken, preferred first. tickets: whether sessions can be resumed. record_size_limit: octets
    of plaintext in a record that clients are asked to keep to, where they know RFC 8449; 64 to 16384. v12: what makes
    handshakes of TLS 1.2 (connection.py), or None. keylog: callable(line) or None: whoever has those lines can read the
    connections.

    counters: handshakes (complete ones), resumed, failures, truncated (transports that ended without close_notify).
    """

    def __init__(
        self,
        crypto,
        credentials,
        *,
        verifier=None,
        client_auth="none",
        alpn=(),
        tickets=True,
        record_size_limit=16384,
        v12=None,
        keylog=None,
    ):
        if client_auth not in ("none", "optional", "required") or (client_auth != "none" and verifier is None):
            raise ValueError("client_auth: none, or optional or required with a verifier")
        if not 64 <= record_size_limit <= 16384:
            raise ValueError("record_size_limit: 64 to 16384")
        self.crypto = crypto
        self.verifier = verifier
        self.client_auth = client_auth
        self.alpn = alpn
        self.record_size_limit = record_size_limit
        self.v12 = v12
        self.keylog = keylog
        self.max_sealed = MAX_SEALED
        self.counters = {"handshakes": 0, "resumed": 0, "failures": 0, "truncated": 0}
        self.tickets = TicketKeys(crypto) if tickets else None
        self.suites = [number for name in crypto.aeads for number in SUITES if SUITES[number][1] == name]
        self.schedules = {}
        self.replace(credentials)

    def replace(self, credentials):
        """Connections that begin from now on get these credentials."""
        if not credentials:
            raise ValueError("a server needs a certificate")
        names = {}
        for credential in credentials:
            for name in credential.names:
                names.setdefault(name.lower(), []).append(credential)
        self.credentials = credentials
        self.names = names

    def engine(self, now_ms, wall_s=None):
        """A connection (connection.py) of a client that has yet to speak.

        wall_s: Unix seconds, or None when they are unknown: then no client's certificate is good.
        """
        connection = Connection(self, now_ms)
        connection.handshake = ServerHandshake(connection, wall_s)
        return connection

    # --- for handshakes, of either version ---------------------------------------------------------------------------

    def schedule(self, bits):
        found = self.schedules.get(bits)
        if found is None:
            found = self.schedules[bits] = Schedule(self.crypto, bits)
        return found

    def credentials_for(self, server_name):
        """(credentials to choose from, in this order; whether they are for that name)."""
        if server_name is not None:
            found = self.names.get(server_name)
            if found is None:
                found = self.names.get("*" + server_name[server_name.find(".") :]) if "." in server_name else None
            if found is not None:
                return found, True
        return self.credentials, False

    def choose_credential(self, server_name, choose):
        """(credential, choose(its kind of key), is_named) of the first one for which that is not None."""
        found, is_named = self.credentials_for(server_name)
        for credential in found:
            chosen = choose(credential.key_kind)
            if chosen is not None:
                return credential, chosen, is_named
        raise TlsError(HANDSHAKE_FAILURE, "no certificate of ours has a key that the client can verify with")

    def choose_alpn(self, offered):
        """The protocol to speak, or None where either side names none (RFC 7301 section 3.2)."""
        if not offered or not self.alpn:
            return None
        for name in self.alpn:
            if name in offered:
                return name
        raise TlsError(NO_APPLICATION_PROTOCOL, "no protocol in common")
