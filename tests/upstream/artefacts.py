"""Minimal wheels and sdists that real tools install; equal arguments give equal bytes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import random
import re
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_WHEEL = b"Wheel-Version: 1.0\nGenerator: upstream\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Artefact:
    """A built distribution file and the METADATA or PKG-INFO inside it."""

    filename: str
    data: bytes = field(repr=False)
    metadata: bytes


def normalized(project: str) -> str:
    """PEP 503's form of a project name."""
    return re.sub(r"[-_.]+", "-", project).lower()


def wheel(
    project: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires: Sequence[str] = (),
    size: int | None = None,
) -> Artefact:
    """A wheel with one module; with ``size`` padded to so many bytes, or to one more."""
    module = normalized(project).replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = _metadata(project, version, requires_python, requires)
    members = {
        f"{module}.py": f'__version__ = "{version}"\n'.encode(),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": _WHEEL,
    }
    filename = f"{module}-{version}-py3-none-any.whl"
    if size is None:
        return Artefact(filename, _zipped(members, f"{info}/RECORD"), metadata)

    def padded(length: int) -> bytes:
        noise = {f"{module}_data/noise.bin": random.Random(filename).randbytes(length)}
        return _zipped({**members, **noise}, f"{info}/RECORD")

    room = size - len(padded(0))
    if room < 0:
        raise ValueError(f"a wheel of {filename} takes at least {size - room} bytes")
    # RECORD states the length: each digit beyond the first takes a byte of the room.
    length = room - len(str(room)) + 1
    length += room - length - len(str(length)) + 1
    return Artefact(filename, padded(max(length, 0)), metadata)


def sdist(
    project: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires: Sequence[str] = (),
) -> Artefact:
    """A source distribution with one module, built by setuptools."""
    module = normalized(project).replace("-", "_")
    root = f"{module}-{version}"
    metadata = _metadata(project, version, requires_python, requires)
    python = f'requires-python = "{requires_python}"\n' if requires_python else ""
    pyproject = (
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
        f'[project]\nname = "{project}"\nversion = "{version}"\n{python}'
        f"dependencies = [{', '.join(repr(each) for each in requires)}]\n\n"
        f'[tool.setuptools]\npy-modules = ["{module}"]\n'
    )
    members = {
        f"{root}/PKG-INFO": metadata,
        f"{root}/pyproject.toml": pyproject.encode(),
        f"{root}/{module}.py": f'__version__ = "{version}"\n'.encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return Artefact(f"{root}.tar.gz", gzip.compress(buffer.getvalue(), mtime=0), metadata)


def _metadata(
    project: str, version: str, requires_python: str | None, requires: Sequence[str]
) -> bytes:
    lines = ["Metadata-Version: 2.2", f"Name: {project}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {each}" for each in requires]
    return "".join(line + "\n" for line in lines).encode()


def _zipped(members: Mapping[str, bytes], record: str) -> bytes:
    rows = [f"{name},sha256={_urlsafe(data)},{len(data)}\n" for name, data in members.items()]
    rows.append(f"{record},,\n")
    buffer = io.BytesIO()
    # Stored: cheap, and the bytes do not depend on the release of zlib.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {**members, record: "".join(rows).encode()}.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, data)
    return buffer.getvalue()


def _urlsafe(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
