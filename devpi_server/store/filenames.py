"""What the name of a file in a folder of packages says: which project, which version.

Why not ``names.projects_of``: a folder has no page that says whose file it is,
so one answer must do, and it has to be the one that ``pypi-server`` gave to the
people who have named the files in it: ``A100-200-XYZ-1.2.3.zip`` is of
``A100-200-XYZ``, and ``flup-1.0.3.dev-20110405.tar.gz`` of ``flup``.  A file is
listed under this one project and no other.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from devpi_server import names
from devpi_server.errors import InvalidName
from devpi_server.names import SIGNATURE, NormalizedName

# Name, version, perhaps a build number, and three tags.
_WHEEL = re.compile(r"(.+?)-(\d[^-]*)(?:-\d[^-]*)?-[^-]+-[^-]+-.+\.whl\Z")
_ENDING = re.compile(
    r"""(?:
    \.(?: zip | tgz | tbz2? | tar (?: \.gz | \.bz2 | \.xz | \.z )? )
    | (?: -py[23]\.\d+ )? \.egg
    | -py[23]\.\d+-.*                           # an egg of one platform
    | \.win (?: 32 | -amd64 ) -py[23]\.\d+\..*  # an installer of old: .exe, .msi
    )\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_PLATFORM = re.compile(
    r"[.-](?:cp\d|py\d|macosx|linux|sunos|solaris|irix|aix|cygwin|win)", re.IGNORECASE
)
_RELEASE = re.compile(r"-(?=\d+[a-z_.!+])", re.IGNORECASE)
_NUMBER = re.compile(r"-(?=\d)(?!.*-\d)")  # the last one


class Said(NamedTuple):
    """What a file name says."""

    project: NormalizedName
    version: str  # empty: none


def parse(filename: str) -> Said | None:
    """What the name of a distribution file says, or of its signature.

    :return: None if a file of this name is nothing that a page can list.
    """
    if not names.is_file_name(filename):
        return None
    split = _split(filename.removesuffix(SIGNATURE))
    try:
        return Said(names.project(split[0]), split[1]) if split is not None else None
    except InvalidName:
        return None


def name_in(filename: str) -> str:
    """The project's name as the name of one of its files spells it."""
    split = _split(filename.removesuffix(SIGNATURE))
    return split[0] if split is not None else ""


def _split(filename: str) -> tuple[str, str] | None:
    """Name and version as they are written."""
    if filename.endswith(".whl"):
        wheel = _WHEEL.match(filename)
        return (wheel[1], wheel[2]) if wheel else None
    ending = _ENDING.search(filename)
    if ending is None:
        return None
    name, _, version = _parts(filename[: ending.start()])
    return name, _PLATFORM.split(version, maxsplit=1)[0]


def _parts(stem: str) -> tuple[str, str, str]:
    if stem.count("-") <= 1:
        return stem.partition("-")
    if "." not in stem:
        return stem.rpartition("-")
    found = _RELEASE.search(stem) or _NUMBER.search(stem)
    return (stem[: found.start()], "-", stem[found.end() :]) if found else (stem, "", "")
