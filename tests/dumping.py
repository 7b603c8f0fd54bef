"""Small dumps, written by hand as the servers of all ages have written them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PWHASH = (
    "$argon2id$v=19$m=65536,t=3,p=4"
    "$FyJEKGVs7V0LAUBIKeXcWw$skpRy6c23NEYROXShuWblbgdoaIUTi2iNKVtX65/cb4"
)
CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
RELPATH = "alice/dev/demo/1.0/demo-1.0.tar.gz"


def release(**changes: Any) -> dict[str, Any]:
    """The entry of a release file; with None for what is not to be there."""
    entry = {
        "type": "releasefile",
        "projectname": "demo",
        "version": "1.0",
        "relpath": RELPATH,
        "entrymapping": {
            "last_modified": "Sat, 21 Nov 2026 07:04:46 GMT",
            "hash_spec": f"sha256={SHA256}",
            "hashes": {"sha256": SHA256},
            "project": "demo",
            "version": "1.0",
        },
        "log": [
            {"what": "upload", "who": "alice", "when": [2026, 11, 21, 7, 4, 46], "dst": "alice/dev"}
        ],
    } | changes
    return {key: value for key, value in entry.items() if value is not None}


def tox_result(**changes: Any) -> dict[str, Any]:
    """The entry of the result of a test of that file."""
    name = "demo-1.0.tar.gz.toxresult-20261121070449-0"
    return (
        release(
            type="toxresult",
            relpath=f"alice/dev/demo/sha256={SHA256}/{name}",
            for_entrypath=f"alice/dev/+f/{SHA256[:3]}/{SHA256[3:16]}/demo-1.0.tar.gz",
            entrymapping=None,
        )
        | changes
    )


def index(*files: Mapping[str, Any], projects: Any = None, **config: Any) -> dict[str, Any]:
    """A stage with these files of demo 1.0."""
    if projects is None:
        projects = {"demo": {"1.0": {"name": "demo", "version": "1.0"}}}
    return {
        "indexconfig": {"type": "stage", "bases": [], "volatile": True} | config,
        "projects": projects,
        "files": list(files),
    }


def user(**changes: Any) -> dict[str, Any]:
    """Somebody."""
    return {"username": "alice", "pwhash": PWHASH, "created": "2026-11-21T07:04:40Z"} | changes


def write(folder: Path, indexes: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """A dump of alice, whose index ``alice/dev`` has one file, but with these changes.

    All files of its indexes are there, with ``CONTENT``.
    """
    if indexes is None:
        indexes = {"alice/dev": index(release())}
    write_text(folder, indexes, **changes)
    for each in indexes.values():
        for entry in each["files"]:
            place_file(folder, entry["relpath"])
    return folder


def write_text(folder: Path, indexes: Mapping[str, Any], **changes: Any) -> None:
    """Of that only ``dataindex.json``."""
    content = {
        "users": {"alice": user()},
        "indexes": indexes,
        "dumpversion": "2",
        "devpi_server": "6.20.3",
    } | changes
    folder.mkdir(exist_ok=True)
    (folder / "dataindex.json").write_text(json.dumps(content))


def place_file(folder: Path, relpath: str) -> Path:
    """Put a file there."""
    path = folder / relpath
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    return path
