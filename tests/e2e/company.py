"""One server with private indexes for many tests: each has a user and indexes of its own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from server import Response, ServerProcess
from uploading import basic
from upstream import Upstream

from .clients import Desk

PASSWORD = "correct horse"


@dataclass(frozen=True)
class Member:
    """A user of the company."""

    server: ServerProcess
    name: str
    password: str = PASSWORD

    def ask(self, method: str, path: str, body: object = None) -> Response:
        """What the server answers when this user asks in devpi-client's words."""
        return self.server.request(method, path, body, basic(self.name, self.password))

    def index(self, name: str = "dev", **options: object) -> str:
        """A new index; its name as ``user/index``."""
        answer = self.ask("PUT", f"/{self.name}/{name}", options)
        assert answer.status == 200, answer
        return f"{self.name}/{name}"

    def token(self, **words: object) -> str:
        """A new API token."""
        answer = self.ask("POST", f"/{self.name}/+token-create", words)
        assert answer.status == 201, answer
        text: str = answer.json["result"]["token"]
        return text

    def write_netrc(self, desk: Desk) -> None:
        """The password in the file that programs look into by themselves."""
        line = f'machine localhost login {self.name} password "{self.password}"\n'
        desk.write("~/.netrc", line).chmod(0o600)

    def files(self, index: str, project: str) -> dict[str, dict[str, object]]:
        """File name → what the project's page says of it, to this user."""
        path = f"/{index}/+simple/{project}/"
        accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
        answer = self.server(path, {**accept, **basic(self.name, self.password)})
        if answer.status == 404:
            return {}
        assert answer.status == 200, answer
        return {file["filename"]: file for file in answer.json["files"]}


@dataclass(frozen=True)
class Company:
    """The server, and what it takes for PyPI."""

    server: ServerProcess
    up: Upstream
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        return self.server.url

    def hire(self, name: str, password: str = PASSWORD) -> Member:
        """A user whom nobody else knows; the name is made different from that of all others."""
        member = Member(self.server, f"{name}{next(self._numbers)}", password)
        answer = self.server.request("PUT", f"/{member.name}", {"password": password})
        assert answer.status == 201, answer
        return member

    def root(self) -> Member:
        """Who may do almost everything."""
        return Member(self.server, "root")
