"""Which folders lie on another machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from devpi_server.store.mounts import is_near, is_near_by

TABLE = """\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:35 / /srv/packages rw,relatime - nfs4 files:/packages rw,vers=4.2
41 27 0:36 / /srv/with\\040space rw - fuse.sshfs files:/ rw
42 40 254:1 / /srv/packages/local rw - xfs /dev/vdb rw
43 27 0:37 / /srv/twice rw - nfs files:/ rw
44 27 0:38 / /srv/twice rw - ext4 /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("folder", "near"),
    [
        ("/", True),
        ("/home/alice/packages", True),
        ("/srv/packages", False),
        ("/srv/packages/a/b", False),
        ("/srv/packages/local/a", True),
        ("/srv/packages-of-mine", True),
        ("/srv/with space/a", False),
        ("/srv/twice", True),
    ],
)
def test_the_nearest_mount_says_it(folder: str, near: bool) -> None:
    assert is_near_by(TABLE, folder) is near


@pytest.mark.parametrize("table", ["", "\n", "nonsense", " - nfs\n"])
def test_what_nobody_says_is_near(table: str) -> None:
    assert is_near_by(table, "/srv/packages")


def test_the_folder_of_this_test_is_near(tmp_path: Path) -> None:
    assert is_near(str(tmp_path))
