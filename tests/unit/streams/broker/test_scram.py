import base64
import hashlib
import hmac

import pytest

from tidemill.streams.broker.scram import authenticate


def digest(key, message):
    return hmac.digest(key, message, "sha512")


class Server:
    """The other half, written from RFC 5802."""

    def __init__(self, password, signs_with=None):
        self.password, self.signs_with = password, signs_with or password
        self.messages, self.let_in = [], False

    def __call__(self, message):
        self.messages.append(message.decode())
        return (self._challenge() if len(self.messages) == 1 else self._verdict()).encode()

    def _challenge(self):
        self.bare = self.messages[0].removeprefix("n,,")
        self.nonce = self.bare.partition(",r=")[2] + "server"
        self.challenge = f"r={self.nonce},s={base64.b64encode(b'salt').decode()},i=4096"
        return self.challenge

    def _keys(self, password):
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), b"salt", 4096)
        return digest(salted, b"Client Key"), digest(salted, b"Server Key")

    def _verdict(self):
        said, _, proof = self.messages[1].rpartition(",p=")
        everything = f"{self.bare},{self.challenge},{said}".encode()
        client, _ = self._keys(self.password)
        signature = digest(hashlib.sha512(client).digest(), everything)
        self.let_in = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)) == client
        _, server = self._keys(self.signs_with)
        return "v=" + base64.b64encode(digest(server, everything)).decode()


def test_who_knows_the_password_gets_in_without_saying_it():
    server = Server("swordfish")
    authenticate("broker", "swordfish", server)
    assert server.let_in
    assert server.messages[0].startswith("n,,n=broker,r=")
    assert "swordfish" not in "".join(server.messages)


def test_who_does_not_know_it_does_not():
    server = Server("swordfish")
    with pytest.raises(ValueError, match="does not know the password"):
        authenticate("broker", "guessed", server)
    assert not server.let_in


def test_a_server_that_does_not_know_it_is_none_of_ours():
    with pytest.raises(ValueError, match="the server does not know the password"):
        authenticate("broker", "swordfish", Server("swordfish", signs_with="guessed"))


def test_an_answer_to_another_client_is_refused():
    with pytest.raises(ValueError, match="another client's question"):
        authenticate("broker", "swordfish", lambda _: b"r=other,s=c2FsdA==,i=4096")
