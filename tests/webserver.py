"""A real nginx in front of the server under test."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_PATIENCE = 30.0
_BODIES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """Runs a generated site as long as the context lasts.

    It gets sockets that listen already, as nginx does from the one that it replaces: so the
    port is nobody else's, and whoever comes early waits.

    :param program: its path.
    :param folder: for all that it writes; made here.
    :param site: the configuration; what it says of port 80 is about ``port``.
    :param certificate: files of the certificate and its key, for https in place of http.
    :param user: whose its workers are, if this is root.
    :param around: what stands in nginx.conf around the site.
    :param workers: how many processes answer.
    :param checks: whether ``nginx -t`` is to have no word against it.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        site: str,
        certificate: tuple[Path, Path] | None = None,
        user: str = "root",
        *,
        around: str = "",
        workers: int = 1,
        checks: bool = True,
    ) -> None:
        folder.mkdir(parents=True)
        self._sockets = _listening()
        self.port: int = self._sockets[0].getsockname()[1]
        self.log = folder / "error.log"
        if certificate is not None:
            site = _with_https(site, *certificate)
        listens = re.compile(r"^( *listen (?:\[::\]:)?)(?:80|443)\b", re.MULTILINE)
        assert len(listens.findall(site)) == 2
        site = listens.sub(rf"\g<1>{self.port}", site)
        site = site.replace("/var/cache/nginx-devpi", f"{folder}/cache")
        (folder / "site.conf").write_text(site)
        temporary = " ".join(f"{each}_temp_path {folder}/{each};" for each in _BODIES)
        own = f"user {user}; " if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{own}worker_processes {workers}; pid {folder}/pid; error_log {self.log};\n"
            "daemon off; events {}\n"
            f"http {{ access_log off; {temporary} {around} include {folder}/site.conf; }}\n"
        )
        self._command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        self._checks = checks

    @property
    def pid(self) -> int:
        """Of its master."""
        return self._process.pid

    def __enter__(self) -> Self:
        inherited = [sock.fileno() for sock in self._sockets]
        environment = {**os.environ, "NGINX": "".join(f"{each};" for each in inherited)}
        if self._checks:
            checked = subprocess.run(
                [*self._command, "-t"],
                capture_output=True,
                text=True,
                env=environment,
                pass_fds=inherited,
            )
            assert checked.returncode == 0, checked.stderr
            assert "warn" not in checked.stderr
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, pass_fds=inherited, stderr=log
            )
        for sock in self._sockets:
            sock.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE)


def _listening() -> Sequence[socket.socket]:
    """On all addresses of both kinds, at one port."""
    while True:
        first = socket.create_server(("0.0.0.0", 0))
        try:
            port = first.getsockname()[1]
            both = first, socket.create_server(("::", port), family=socket.AF_INET6)
        except OSError:  # somebody has that port there
            first.close()
            continue
        for each in both:  # nginx takes it for granted; a worker that came too late would hang
            each.setblocking(False)
        return both


def _with_https(site: str, certificate: Path, key: Path) -> str:
    """Edited as its comments say."""
    plain = re.compile(r"^ *listen .*80;\n", re.MULTILINE)
    hidden = re.compile(r"^( *)# ((?:listen|ssl_\w+) .*;)$", re.MULTILINE)
    assert (len(plain.findall(site)), len(hidden.findall(site))) == (2, 4)
    site = hidden.sub(r"\1\2", plain.sub("", site))
    site = re.sub(r"ssl_certificate .*;", f"ssl_certificate {certificate};", site)
    return re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {key};", site)
