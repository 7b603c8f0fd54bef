"""Who asks a server under test, with a name and a password, as devpi-client does."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from server import Client, Response
from uploading import upload
from upstream.artefacts import Artefact


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
        return self.server.request(method, path, body, {**self.credentials, **(headers or {})})

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that say who it is."""
        if not self.name:
            return {}
        return {"X-Devpi-Auth": b64encode(f"{self.name}:{self.password}".encode()).decode()}

    def upload(self, index: str, artefact: Artefact) -> str:
        """Upload a file as twine does; return its path."""
        answer = upload(self.server, index, artefact, self.credentials)
        assert answer.status == 200, answer
        sha256 = hashlib.sha256(artefact.data).hexdigest()
        return f"/{index}/+f/{sha256[:3]}/{sha256[3:16]}/{artefact.filename}"

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
