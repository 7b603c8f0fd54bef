"""What building a source distribution needs, as far as it says so itself (PEP 518).

Nothing of it is run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from devpi_server.errors import InvalidArtefact
from devpi_server.services.owners.base import Ready
from devpi_server.store import decompress, tars, zips
from devpi_server.store.incoming import translated

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What installers take where it says nothing.
UNSTATED = ("setuptools>=40.8.0", "wheel")
_LARGEST = 1024 * 1024  # bytes of a pyproject.toml
_MOST = 200  # requirements
_COMPRESSIONS = {".gz": "gzip", ".tgz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".tar": None}
_PYPROJECT = re.compile(r"[^/]+/pyproject\.toml\Z")


def needs(sdist: Ready) -> Sequence[str]:
    """The requirements of its build, as they stand in it.

    :raises InvalidArtefact: it cannot be read.
    :raises StoreError: the disk is sick.
    """
    try:
        with translated("read a held file"):
            document = tomllib.loads(_pyproject(sdist).decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArtefact(f"{sdist.filename} has a pyproject.toml that is none") from error
    system = document.get("build-system", {})
    found = system.get("requires", UNSTATED) if isinstance(system, dict) else None
    if not isinstance(found, list | tuple) or len(found) > _MOST:
        raise InvalidArtefact(f"{sdist.filename} has a pyproject.toml that is none")
    return [each for each in found if isinstance(each, str)]


def _pyproject(sdist: Ready) -> bytes:
    """Its ``pyproject.toml``; empty if it has none."""
    with sdist.path.open("rb") as file:
        if sdist.filename.lower().endswith(".zip"):
            members = zips.members(file)
            paths = [path for path in members if _PYPROJECT.match(path)]
            return zips.content(file, members[paths[0]], _LARGEST) if paths else b""
        ending = f".{sdist.filename.lower().rpartition('.')[2]}"
        if ending not in _COMPRESSIONS:
            return b""
        pieces = decompress.unpacked(file, _COMPRESSIONS[ending])
        found = tars.contents(pieces, lambda path: bool(_PYPROJECT.match(path)), _LARGEST)
        return next(iter(found.values()), b"")
