"""Pages as Warehouse writes them, as a poor index writes them, and what Accept chooses."""

from __future__ import annotations

import base64
import enum
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timezone
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote

from .content import File, Project, Snapshot

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
TEXT = "text/html"

# What a client may call each of the types, dearest first: on a tie the richer one.
_OFFERS = (
    (JSON, (JSON, "application/vnd.pypi.simple.latest+json")),
    (HTML, (HTML, "application/vnd.pypi.simple.latest+html")),
    (TEXT, (TEXT,)),
)


class Mode(enum.Enum):
    """What kind of index is played."""

    WAREHOUSE = enum.auto()
    POOR = enum.auto()  # HTML only; no ETag, serial, metadata files or XML-RPC


@dataclass(frozen=True)
class Form:
    """One representation of a page."""

    mode: Mode
    type: str
    gzip: bool
    base: str  # what stands before /packages/


@dataclass(frozen=True)
class Rendered:
    """A page in one representation."""

    data: bytes
    etag: str


@lru_cache(maxsize=256)
def negotiate(accept: str) -> str:
    """The type that an Accept header asks for; what cannot be had is answered in HTML."""
    wanted: dict[str, float] = {}
    for each in accept.split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            wanted[name] = float(quality)
        except ValueError:
            wanted[name] = 0.0
    best, chosen = 0.0, TEXT
    for offer, names in _OFFERS:
        quality_of = max((wanted.get(name, 0.0) for name in names), default=0.0)
        if quality_of > best:
            best, chosen = quality_of, offer
    return chosen


def project_page(project: Project, snapshot: Snapshot, form: Form) -> Rendered:
    """The page of a project; made once for each representation of a snapshot."""
    found = snapshot.pages.get(form)
    if found is None:
        if form.type == JSON:
            text = _dumped(_project_json(project, snapshot, form.base))
        else:
            text = _project_html(project, snapshot, form)
        found = snapshot.pages[form] = _finished(text, form)
    assert isinstance(found, Rendered)
    return found


def root_page(projects: Iterable[Project], serial: int, form: Form) -> Rendered:
    """The list of all projects."""
    if form.type == JSON:
        names = [{"_last-serial": p.now.serial, "name": p.name} for p in projects]
        meta = {"_last-serial": serial, "api-version": "1.4"}
        return _finished(_dumped({"meta": meta, "projects": names}), form)
    rows = [f'    <a href="/simple/{p.normalized}/">{escape(p.name)}</a>\n' for p in projects]
    body = f"    <title>Simple index</title>\n  </head>\n  <body>\n{''.join(rows)}"
    return _finished(_document(body, {}, None if form.mode is Mode.POOR else serial), form)


def _finished(text: str, form: Form) -> Rendered:
    data = text.encode()
    if form.gzip:
        data = gzip.compress(data, 1, mtime=0)
    # MD5 as on PyPI; another tag for each format and each encoding.
    return Rendered(data, f'"{base64.b64encode(hashlib.md5(data).digest()).decode()}"')


def _dumped(value: Mapping[str, object]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def _project_json(project: Project, snapshot: Snapshot, base: str) -> dict[str, Any]:
    files = snapshot.visible
    return {
        "alternate-locations": [],
        "files": [_file_json(project, file, base) for file in files],
        "meta": {"_last-serial": snapshot.serial, "api-version": "1.4"},
        "name": project.normalized,
        "project-status": {"status": snapshot.status},
        "versions": sorted({file.version for file in files}),
    }


def _file_json(project: Project, file: File, base: str) -> dict[str, Any]:
    metadata: object = False
    if file.metadata is not None:
        metadata = {"sha256": hashlib.sha256(file.metadata).hexdigest()}
    uploaded = file.uploaded.astimezone(timezone.utc)
    found: dict[str, Any] = {
        "core-metadata": metadata,
        "data-dist-info-metadata": metadata,  # sic: as Warehouse spells it
        "filename": file.filename,
        "hashes": {"sha256": file.sha256} if file.hashed else {},
        "provenance": base + provenance_path(project, file) if file.provenance else None,
        "requires-python": file.requires_python,
        "size": file.size,
        "upload-time": uploaded.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "url": base + quote(file.path),
        "yanked": file.yanked,
    }
    if file.signature is not None:
        found["gpg-sig"] = True
    return found


def provenance_path(project: Project, file: File) -> str:
    return f"/integrity/{project.normalized}/{file.version}/{file.filename}/provenance"


def _project_html(project: Project, snapshot: Snapshot, form: Form) -> str:
    poor = form.mode is Mode.POOR
    rows = [_anchor(project, file, form) for file in snapshot.visible]
    title = f"Links for {project.normalized}"
    body = f"    <title>{title}</title>\n  </head>\n  <body>\n    <h1>{title}</h1>\n{''.join(rows)}"
    if poor:
        return _document(body, {}, None)
    return _document(body, {"project-status": snapshot.status}, snapshot.serial)


def _anchor(project: Project, file: File, form: Form) -> str:
    poor = form.mode is Mode.POOR
    href = ("../.." if poor else form.base) + quote(file.path)
    if file.hashed:
        href += f"#sha256={file.sha256}"
    attributes = {"href": href}
    if file.requires_python is not None:
        attributes["data-requires-python"] = file.requires_python
    if file.yanked is not False:
        attributes["data-yanked"] = file.yanked if isinstance(file.yanked, str) else ""
    if file.metadata is not None and not poor:
        digest = f"sha256={hashlib.sha256(file.metadata).hexdigest()}"
        attributes["data-dist-info-metadata"] = attributes["data-core-metadata"] = digest
    if file.signature is not None:
        attributes["data-gpg-sig"] = "true"
    if file.provenance and not poor:
        attributes["data-provenance"] = form.base + provenance_path(project, file)
    written = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
    return f"<a {written}>{escape(file.filename)}</a><br />\n"


def _document(body: str, metas: Mapping[str, str], serial: int | None) -> str:
    lines = [
        f'    <meta name="pypi:{name}" content="{value}">\n'
        for name, value in {"repository-version": "1.4", **metas}.items()
    ]
    if serial is None:
        lines, tail = [], ""
    else:
        tail = f"<!--SERIAL {serial}-->"
    head = "".join(lines)
    return f"<!DOCTYPE html>\n<html>\n  <head>\n{head}{body}  </body>\n</html>\n{tail}"
