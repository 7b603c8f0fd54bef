"""A real nginx in front of the server under test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from server import until

from .clients import free_port, is_served

if TYPE_CHECKING:
    from typing_extensions import Self

_PATIENCE = 30.0
_BODIES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """Runs a generated site as long as the context lasts.

    :param program: its path.
    :param folder: for all that it writes; made here.
    :param site: the configuration; what it says of port 80 is about ``port``.
    """

    def __init__(self, program: str, folder: Path, site: str) -> None:
        folder.mkdir()
        self.port = free_port()
        self.log = folder / "error.log"
        for address in ("", "[::]:"):
            assert f"listen {address}80;" in site
            site = site.replace(f"listen {address}80;", f"listen {address}{self.port};")
        site = site.replace("/var/cache/nginx-devpi", f"{folder}/cache")
        (folder / "site.conf").write_text(site)
        temporary = " ".join(f"{each}_temp_path {folder}/{each};" for each in _BODIES)
        user = "user root; " if os.getuid() == 0 else ""  # else its workers have no way in
        (folder / "nginx.conf").write_text(
            f"{user}pid {folder}/pid; error_log {self.log}; daemon off; events {{}}\n"
            f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
        )
        self._command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]

    def __enter__(self) -> Self:
        checked = subprocess.run([*self._command, "-t"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        assert "warn" not in checked.stderr
        self._process = subprocess.Popen(self._command)
        until(lambda: is_served(self.port))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE)
