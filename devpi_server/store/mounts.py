"""Which folders lie on another machine: a stat there may take as long as that one likes."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

# What the kernel calls them; anything of FUSE may lead anywhere.
_FAR = re.compile(
    r"(?:nfs\d*|cifs|smb\d*|smbfs|9p|afs|autofs|beegfs|ceph|coda|gfs2?|glusterfs|lustre|ncpfs|ocfs2"
    r"|orangefs|fuse(?:\..*)?)\Z"
)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_TABLE = Path("/proc/self/mountinfo")


def is_near(folder: str) -> bool:
    """Whether the folder is on this machine, as far as the system tells."""
    table = ""
    with suppress(OSError):  # a system without such a table
        table = _TABLE.read_text("utf-8", "surrogateescape")
    return is_near_by(table, os.path.realpath(folder))


def is_near_by(table: str, folder: str) -> bool:
    """The same, by Linux's table of mounts.

    :param folder: without symbolic links.
    """
    kinds = {}
    for line in table.splitlines():
        where, _, what = line.partition(" - ")
        fields, kind = where.split(" "), what.partition(" ")[0]
        if len(fields) > 4:  # the last one that is mounted at a place is seen there
            kinds[_ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4])] = kind
    place = folder
    while place not in kinds and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return _FAR.match(kinds.get(place, "")) is None
