"""What holds for archives of any kind: how much may be inside, and under which names.

Why these limits: the largest wheels have 3 GB and unpack to two or three times
that; the fullest have some 60,000 members.  Of real distribution files beyond
the grace none unpacks to 20 times its size, while deflate reaches 1,032 times
and the others far more.  What must be unpacked to be looked at may be no more
than a minute's work.
"""

from __future__ import annotations

import re

from devpi_server.errors import InvalidArtefact

MOST_MEMBERS = 150_000
LONGEST_NAME = 1000  # characters
DEEPEST = 100  # folders in folders
CHUNK = 256 * 1024  # bytes that are read, or unpacked, at a time

_LONGEST_SHOWN = 90  # characters
_GRACE = 256 * 2**20
_STEEPEST = 50
_LARGEST = 64 * 2**30

_DRIVE = re.compile(r"[A-Za-z]:")


def check_content(size: int, packed: int) -> None:
    """Refuse what is made to fill disks.

    :param size: bytes of all members together, unpacked.
    :param packed: bytes of the archive.
    :raises InvalidArtefact: it is a bomb, or looks like one.
    """
    if size > _LARGEST or (size > _GRACE and size > packed * _STEEPEST):
        raise InvalidArtefact("unpacks to more than is reasonable")


def check_count(members: int) -> None:
    """Refuse what is made to fill tables of files.

    :raises InvalidArtefact: there are too many.
    """
    if members > MOST_MEMBERS:
        raise InvalidArtefact(f"has more than {MOST_MEMBERS} members")


def safe_path(name: str) -> str:
    """Where a member goes, relative to where the archive is unpacked, on any system.

    :return: without empty and ``.`` parts, so that equal paths are equal; ``""`` is that folder.
    :raises InvalidArtefact: it goes elsewhere, or where depends on who unpacks.
    """
    anywhere = name.replace("\\", "/")
    if (
        anywhere.startswith("/")
        or _DRIVE.match(name)
        or "\0" in name
        or ".." in anywhere.split("/")
    ):
        raise InvalidArtefact(f"has a member that leads outside, {shown(name)}")
    if len(name) > LONGEST_NAME or name.count("/") > DEEPEST:
        raise InvalidArtefact(f"has a member with too long a name, {shown(name)}")
    path = "/".join(part for part in name.split("/") if part not in ("", "."))
    return name if path == name else path  # one text in memory, not two


def shown(name: str) -> str:
    """A name that may hold anything, fit for a message of one line."""
    text = ascii(name[:_LONGEST_SHOWN])
    if max(len(name), len(text)) > _LONGEST_SHOWN:
        text = f"{text[:_LONGEST_SHOWN]}..."
    return text
