"""Who asks a server under test, with a name and a password, as devpi-client does."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from server import Client, Response


@dataclass(frozen=True)
class Person:
    """Somebody with a password; ``Person(server)`` is nobody known."""

    server: Client
    name: str = ""
    password: str = field(default="", repr=False)

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        own = {}
        if self.name:
            login = f"{self.name}:{self.password}".encode()
            own["X-Devpi-Auth"] = b64encode(login).decode()
        return self.server.request(method, path, body, {**own, **(headers or {})})

    def ok(self, method: str, path: str, body: object = None) -> Response:
        """The same, where anything but success is a failure of the test."""
        answer = self(method, path, body)
        assert answer.status in (200, 201), (answer.status, answer.reason, answer.body)
        return answer


def root_of(server: Client) -> Person:
    """Root of a new server, who has the empty password."""
    return Person(server, "root")


def join(server: Client, name: str) -> Person:
    """Somebody new, who is logged in."""
    Person(server).ok("PUT", f"/{name}", {"password": f"password of {name}"})
    return login(server, name)


def login(server: Client, name: str) -> Person:
    """Somebody who has joined. What is sent is a token: that is checked faster than a password."""
    words = {"user": name, "password": f"password of {name}"}
    answer = Person(server).ok("POST", "/+login", words)
    return Person(server, name, answer.json["result"]["password"])
