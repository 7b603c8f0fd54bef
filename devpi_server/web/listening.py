"""Where a server listens: the addresses of a host on one port, or a socket in the file system.

A socket file appears under its name when it takes connections and has its
permissions, and in one step, so that a server that is started in place of one
that ends is never missed.  The folder is locked meanwhile: of two that start at
once, one is refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from devpi_server.errors import ConfigError

_BACKLOG = 1024
_LONGEST_PATH = 103  # bytes: as macOS has it, Linux takes 107
_NEW = ".new"
_PATIENCE = 5.0  # seconds for another server to say that it is there


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on all addresses of the host, on one port.

    :param port: 0 for any free one.
    :raises ConfigError: none of the addresses, or one that another program uses.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError([f"the host {host} is not known: {error.strerror}"]) from error
    sockets: list[socket.socket] = []
    fault = f"cannot listen on {host}"
    for family, kind, protocol, _, (address, _, *rest) in dict.fromkeys(found):
        same_port = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listen(family, kind, protocol, (address, same_port, *rest)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                for sock in sockets:
                    sock.close()
                raise ConfigError([f"port {port} on {host} is in use"]) from error
            fault = f"cannot listen on {host}, port {port}: {error.strerror}"
    if not sockets:
        raise ConfigError([fault])
    return sockets


def _listen(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A listening socket in the file system, and the file that leads to it."""

    sock: socket.socket
    path: Path
    identity: tuple[int, int]  # of the file: another server's may be in its place by now

    def remove(self) -> None:
        """Let nobody come any more; who is connected or about to be accepted stays."""
        with suppress(OSError), _locked(self.path.parent):
            if _identity(self.path) == self.identity:
                self.path.unlink()


def bind_file(path: Path, permissions: int) -> SocketFile:
    """A listening socket at a path; what a server that is no more has left there is replaced.

    :raises ConfigError: it cannot be made there, or another program uses it.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH - len(_NEW):
        raise ConfigError([f"the path {path} is too long for a socket"])
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = path.with_name(path.name + _NEW)
    try:
        with _locked(path.parent):
            _check(path)
            new.unlink(missing_ok=True)
            sock.bind(str(new))
            new.chmod(permissions)
            sock.listen(_BACKLOG)
            found = SocketFile(sock, path, _identity(new))
            new.replace(path)
    except OSError as error:
        sock.close()
        raise ConfigError([f"cannot listen on {path}: {error.strerror}"]) from error
    except ConfigError:
        sock.close()
        raise
    return found


def _check(path: Path) -> None:
    """Raise ConfigError where there is something that is not to be replaced."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError([f"{path} is not a socket: it stays, and another path is needed"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.settimeout(_PATIENCE)
        # Anything but a refusal is a sign of life: no permission, no place in the queue.
        if other.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise ConfigError([f"the socket {path} is in use"])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
