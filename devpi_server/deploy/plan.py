"""What a deployment is to run: the options given now, as the words of a command elsewhere.

Passwords in URLs are kept apart from the rest, which is written to files that
many may read, and shown by ``ps``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from devpi_server.errors import ConfigError
from devpi_server.settings import CONFIGFILE, Settings, Word, variable

# A deployment says these for itself.
_OWN = ("port", "unix-socket", "datadir", "processes")
# Another one has words of its own for these.
_OF_OUR_SERVER = ("host", "bottleserver", "unix-socket-perms")
_ANYWHERE = {"localhost": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True)
class Plan:
    """The options of a deployment."""

    settings: Settings
    given: Sequence[Word]

    def __post_init__(self) -> None:
        if self.settings.port == 0:
            raise ConfigError(["--port: a deployment needs a certain port"])
        if self.ports[-1] > 65535:
            raise ConfigError([f"--processes: there is no port {self.ports[-1]}"])

    @property
    def ports(self) -> range:
        return range(self.settings.port, self.settings.port + self.settings.processes)

    @property
    def proxy(self) -> str:
        """The address at which nginx, on this machine, reaches the server."""
        return _ANYWHERE.get(self.settings.host, self.settings.host)

    @property
    def trusted(self) -> str:
        """Whom the server believes when nobody says; empty: it cannot be known here."""
        if self.settings.unix_socket is not None:
            return "*"  # nobody but nginx gets at the socket
        return self.proxy if re.fullmatch(r"[\d.]+|.*:.*", self.proxy) else ""

    @property
    def listeners(self) -> list[str]:
        """``address:port`` or ``unix:path`` of each process, as nginx has them."""
        if self.settings.unix_socket is not None:
            return [f"unix:{self._socket(port)}" for port in self.ports]
        host = f"[{self.proxy}]" if ":" in self.proxy else self.proxy
        return [f"{host}:{port}" for port in self.ports]

    @property
    def bound(self) -> str:
        """``host:port`` for a server that is given one address; not with a socket."""
        host = "127.0.0.1" if self.settings.host == "localhost" else self.settings.host
        return f"{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    @property
    def monitored(self) -> list[str]:
        """``host:port`` for who asks by TCP only."""
        if self.settings.unix_socket is not None:
            return [f"{self.server_name}:80"]
        return self.listeners

    @property
    def socket_folder(self) -> Path | None:
        """Where the server makes its sockets."""
        path = self.settings.unix_socket
        return path.parent if path is not None else None

    def own(self, port: int | str) -> str:
        """The option by which one process differs from the others."""
        if self.settings.unix_socket is not None:
            return f"--unix-socket={self._socket(port)}"
        return f"--port={port}"

    def _socket(self, port: int | str) -> Path | None:
        path = self.settings.unix_socket
        if path is None or len(self.ports) == 1:
            return path
        return path.with_name(f"{path.stem}-{port}{path.suffix}")

    @property
    def words(self) -> list[str]:
        """The options but for port, datadir and secrets."""
        words = flags([word for word in self.public if word.option.name not in _OWN])
        if self.settings.trusted_proxy is None and self.trusted:
            words.append(f"--trusted-proxy={self.trusted}")
        if not self.says("publish"):
            words.append("--publish")
        return words

    @property
    def variables(self) -> dict[str, str]:
        """The same for the environment of a server of another kind, with datadir and threads."""
        settings = self.settings
        found = {variable("datadir"): str(settings.datadir)}
        found[variable("threads")] = str(settings.threads)
        for word in self.public:
            name = variable(word.option.name)
            if word.option.name in (*_OWN, *_OF_OUR_SERVER):
                continue
            before = found.get(name, "") if word.option.many else ""
            found[name] = f"{before} {word.text}".strip()
        if settings.trusted_proxy is None and self.trusted:
            found[variable("trusted-proxy")] = self.trusted
        found.setdefault(variable("publish"), "yes")
        return found

    @property
    def public(self) -> list[Word]:
        """What anybody may know."""
        secrets = self.secrets
        return [word for word in self.given if word not in secrets]

    @property
    def secrets(self) -> list[Word]:
        """What only the server may know: all that is said of an option, or nothing."""
        names = {word.option.name for word in self.given if is_secret(word)}
        return [word for word in self.given if word.option.name in names]

    @property
    def has_configfile(self) -> bool:
        return any(word.option is CONFIGFILE for word in self.given)

    def says(self, name: str) -> bool:
        """Whether the option is given."""
        return any(word.option.name == name for word in self.given)

    @property
    def publishes(self) -> bool:
        """Whether it makes answers ready for nginx, which it does unless told not to."""
        return self.settings.publish or not self.says("publish")

    @property
    def outside_url(self) -> str:
        """Where clients are to find it; empty: where they ask."""
        return self.settings.outside_url or ""

    @property
    def url(self) -> str:
        """Where it is served, with a slash at the end."""
        if self.settings.unix_socket is not None:
            return f"{self.outside_url or f'http://{self.server_name}'}/"
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(  # noqa: S104 - compared only
            self.settings.host, self.settings.host
        )
        host = f"[{host}]" if ":" in host else host
        return f"{self.outside_url or f'http://{host}:{self.settings.port}'}/"

    @property
    def server_name(self) -> str:
        return urlsplit(self.outside_url).hostname or "devpi.localhost"


def is_secret(word: Word) -> bool:
    """Whether the text holds a password."""
    return re.search(r"://[^/\s]*@", word.text) is not None


def flags(given: Sequence[Word]) -> list[str]:
    """The same for a command line."""
    return [
        f"--{word.option.name}={word.text}" if word.option.metavar else f"--{word.option.name}"
        for word in given
        if word.option.metavar or word.option.parse(word.text)
    ]
