"""Wheels from what is installed: the way to take an installation along without a network.

An installer records every file that it has put somewhere (RECORD); this is the
same in reverse.  What it made itself is left out: bytecode, the scripts of
entry points, its own notes.  Hashes are computed anew: it is what runs here
that is packed, whatever has become of it since it was installed.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the least that a zip file can say: equal files, equal wheels
_NOT_PACKED = {"INSTALLER", "RECORD", "RECORD.jws", "RECORD.p7s", "REQUESTED", "direct_url.json"}
_PYTHON_SHEBANG = re.compile(rb"\A#![^\n]*python[^\n]*|\A#!/bin/sh\n'''exec' .*\n' '''")


@dataclass(frozen=True)
class Bundle:
    """What becomes a wheel."""

    name: str
    version: str
    files: tuple[tuple[str, Path | bytes], ...]  # path in the wheel → content
    requires: tuple[str, ...] = ()  # its Requires-Dist


def write(bundle: Bundle, folder: Path) -> Path:
    """Write the wheel of a bundle; return its path."""
    contents = {name: _content(name, source) for name, source in bundle.files}
    info = next(PurePosixPath(name).parts[0] for name in contents if name.endswith("/WHEEL"))
    tags = re.findall(r"^Tag:\s*(\S+)", contents[f"{info}/WHEEL"].decode(), re.MULTILINE)
    path = folder / f"{info.removesuffix('.dist-info')}-{_compressed(tags)}.whl"
    contents[f"{info}/RECORD"] = _record(contents, f"{info}/RECORD")
    executable = {
        name
        for name, source in bundle.files
        if isinstance(source, Path) and source.stat().st_mode & 0o111
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = (0o100755 if name in executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def is_packed(path: PurePosixPath) -> bool:
    """Whether a file below site-packages belongs in the wheel."""
    if path.suffix == ".pyc":
        return False
    return not (path.parent.suffix == ".dist-info" and path.name in _NOT_PACKED)


def info_folder(name: str, version: str) -> str:
    """The name of the folder with the metadata."""
    return f"{_escaped(name)}-{_escaped(version)}.dist-info"


def _escaped(text: str) -> str:
    return re.sub(r"[^\w.+!]+", "_", text)


def _content(name: str, source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    content = source.read_bytes()
    if PurePosixPath(name).match("*.data/scripts/*"):
        return _PYTHON_SHEBANG.sub(b"#!python", content, count=1)
    return content


def _compressed(tags: Iterable[str]) -> str:
    """One tag for all: a set of tags is always the product of three sets."""
    parts = [tag.split("-", 2) for tag in tags] or [["py3", "none", "any"]]
    return "-".join(".".join(dict.fromkeys(column)) for column in zip(*parts, strict=True))


def _record(contents: dict[str, bytes], own: str) -> bytes:
    rows: list[tuple[str, str, object]] = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
        rows.append((name, f"sha256={digest.decode()}", len(content)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(itertools.chain(rows, [(own, "", "")]))
    return text.getvalue().encode()
