"""The secret of this installation: random bytes that login tokens are signed with.

It lies in the data directory, made at the first start, or in a file of the
administrator's.  Of that one, what devpi asks is asked: whoever can read it can
log in as anybody, and whoever can write to its folder can put another one in
its place.  The data directory itself is not looked at so: whoever can write
there can write to the database, too.

Several processes may start at once.  A secret is written under another name and
gets its own by a hard link, which fails where there is one already: the first
one wins, and nobody sees half of it.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from devpi_server.errors import ConfigError, Refused
from devpi_server.store.incoming import sync_folder, translated

log = logging.getLogger(__name__)

_NAME = "secret"
_SHORTEST, _LONGEST = 32, 65536  # bytes
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def path_in(folder: Path) -> Path:
    """Where a data directory has its secret."""
    return folder / _NAME


def of_data_directory(folder: Path) -> bytes:
    """The secret in the data directory; it is made if it is not there.

    :raises ConfigError: it is not what a secret has to be.
    :raises StoreError: it could not be made.
    """
    path = path_in(folder)
    if not path.exists():
        with suppress(Refused):  # another process was quicker
            write_new_secret(path)
    _close_to_others(path)
    return _sound(path, [])


def of_file(path: Path) -> bytes:
    """The secret in a file of the administrator's, all its bytes as they are.

    :raises ConfigError: it is not what a secret has to be, or others can read or replace it.
    """
    faults = []
    for folder in dict.fromkeys((path.parent, path.resolve().parent)):
        with suppress(OSError):  # nor can the file be read, then
            if folder.stat().st_mode & _OTHERS_WRITE:
                faults.append(f"others can replace the secret, see to it: chmod go-w {folder}")
    return _sound(path, faults)


def write_new_secret(path: Path) -> None:
    """Make a file with a new secret, for its owner alone.

    :raises Refused: there is something at this path already.
    :raises StoreError: it could not be made.
    """
    with translated(f"make the secret {path}"):
        fd, name = tempfile.mkstemp(prefix=".secret-", dir=path.parent)  # of mode 0600
        try:
            with os.fdopen(fd, "wb") as file:
                # Text, for those who carry it to another machine.
                file.write(secrets.token_urlsafe(48).encode())
                file.flush()
                os.fsync(fd)
            os.link(name, path)
            sync_folder(path.parent)
        except FileExistsError as error:
            raise Refused(f"{path} is there already; a new one would end all logins") from error
        finally:
            os.unlink(name)


def _sound(path: Path, faults: list[str]) -> bytes:
    """The bytes of the file, if neither it nor the caller has faults."""
    secret = b""
    try:
        # A pipe is not waited for, and found to be no file.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISREG(mode):
                secret = os.read(fd, _LONGEST + 1)
        finally:
            os.close(fd)
    except OSError as error:
        faults.append(f"cannot read the secret {path}: {error.strerror}")
    else:
        if not stat.S_ISREG(mode):
            faults.append(f"the secret {path} is not a file")
        elif not _SHORTEST <= len(secret) <= _LONGEST:
            faults.append(f"the secret {path} has not from {_SHORTEST} to {_LONGEST} bytes")
        if mode & _OTHERS:
            faults.append(f"others can read the secret, see to it: chmod go-rwx {path}")
    if faults:
        raise ConfigError(faults)
    return secret


def _close_to_others(path: Path) -> None:
    """Take back what a copy or a volume's mount has granted; where that fails, reading says so."""
    with suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)
            log.warning("others could read %s until now; delete it to end all logins", path)
