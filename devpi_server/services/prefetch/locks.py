"""Lock files of pip, uv, Poetry, PDM and Pipenv, into pins.

All of what is locked counts: each group, each extra, each platform.  What is the user's own,
as the project itself or a folder beside it, needs nothing of an index.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from devpi_server.services.prefetch.files import (
    MOST_LINES,
    Asked,
    Fault,
    Line,
    Pin,
    pin,
    requirement,
    shown,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Table = Mapping[str, Any]
_Found = Iterator[Pin | Line | Fault]

_PYLOCK = re.compile(r"pylock(?:\.[^.]+)?\.toml\Z")
# Where a release may come from if not from an index, as the tools call it.
_ELSEWHERE = {
    "git": "it is fetched from a git repository, not from an index",
    "hg": "it is fetched from a repository, not from an index",
    "svn": "it is fetched from a repository, not from an index",
    "vcs": "it is fetched from a repository, not from an index",
    "url": "it is fetched from a URL, not from an index",
    "archive": "it is fetched from a URL, not from an index",
    "file": "it is a file, which an index does not have",
    "path": "it is a file or folder, which an index does not have",
}
_OWN = ("directory", "editable", "virtual")


def is_lock(name: str) -> bool:
    """Whether a file of this name is one of the lock files."""
    return _reader(name) is not None


def read(name: str, data: bytes) -> Asked:
    """The pins of a lock file, each once.

    :param name: of the file; it tells the form.
    """
    reader = _reader(name)
    if reader is None:
        raise AssertionError(name)
    try:
        document = (json.loads if name == "Pipfile.lock" else tomllib.loads)(data.decode())
        found = list(dict.fromkeys(reader(_table(document))))
    except (ValueError, RecursionError) as error:
        return Asked(faults=(Fault(name, f"it cannot be read: {shown(str(error))}"),))
    if len(found) > MOST_LINES:
        return Asked(faults=(Fault(name, f"it has more than {MOST_LINES} releases"),))
    return Asked(
        lines=[each for each in found if isinstance(each, Line)],
        pins=[each for each in found if isinstance(each, Pin)],
        faults=[each for each in found if isinstance(each, Fault)],
    )


def _reader(name: str) -> Callable[[_Table], _Found] | None:
    return _pylock if _PYLOCK.match(name) else _READERS.get(name)


def _pylock(document: _Table) -> _Found:
    """PEP 751."""
    if _text(document.get("lock-version")).partition(".")[0] != "1":
        raise ValueError("its lock-version is none that is known here")
    for each in _tables(document.get("packages")):
        files = [*_tables([each.get("sdist")]), *_tables(each.get("wheels"))]
        kind = _first(("vcs", "archive", "directory"), each)
        yield from _release(each, kind, _names(files), _hashes(files), [each.get("marker")])


def _uv(document: _Table) -> _Found:
    if document.get("version") != 1:
        raise ValueError("its version is none that is known here")
    releases = _tables(document.get("package"))
    edges = _edges(releases)
    for each in releases:
        source = _table(each.get("source"))
        kind = "" if "registry" in source else _first((*_ELSEWHERE, *_OWN), source)
        files = [*_tables([each.get("sdist")]), *_tables(each.get("wheels"))]
        name, version = _text(each.get("name")), _text(each.get("version"))
        markers = [*edges.get((name, version), ()), *edges.get((name, ""), ())]
        yield from _release(each, kind, _names(files), _hashes(files), markers)


def _edges(releases: Iterable[_Table]) -> Mapping[tuple[str, str], list[object]]:
    """Name and version, which may be empty → the markers of what needs it; None: always.

    Only the last step to a release counts, so some that nobody needs count as needed.
    """
    found: dict[tuple[str, str], list[object]] = {}
    for each in releases:
        optional = _table(each.get("optional-dependencies"))
        of_groups = _table(each.get("dev-dependencies"))
        of_release = (each.get("dependencies"), *optional.values(), *of_groups.values())
        for needed in (needed for several in of_release for needed in _tables(several)):
            marker = needed.get("marker")
            # Extras that exclude each other are hidden in markers.
            always = not isinstance(marker, str) or "extra" in marker
            key = _text(needed.get("name")), _text(needed.get("version"))
            found.setdefault(key, []).append(None if always else marker)
    return found


def _poetry(document: _Table) -> _Found:
    of_all = _table(_table(document.get("metadata")).get("files"))  # until Poetry 1.1
    for each in _tables(document.get("package")):
        kind = _text(_table(each.get("source")).get("type"))
        files = _tables(each.get("files") or of_all.get(_text(each.get("name"))))
        # The markers are a table where groups differ.
        yield from _release(
            each,
            "" if kind == "legacy" else kind,
            _names(files),
            _hashes(files),
            [each.get("markers")],
        )


def _pdm(document: _Table) -> _Found:
    for each in _tables(document.get("package")):
        files = _tables(each.get("files"))
        kind = _first(("git", "hg", "svn", "url", "path"), each)
        if kind == "path" and each.get("editable"):
            kind = "editable"
        yield from _release(each, kind, _names(files), _hashes(files), [each.get("marker")])


def _pipfile(document: _Table) -> _Found:
    for category, releases in document.items():
        for name, each in _table(releases).items() if category != "_meta" else ():
            stated = _table(each)
            kind = _first(("git", "hg", "svn", "file", "path"), stated)
            if kind == "path" and stated.get("editable"):
                kind = "editable"
            version = _text(stated.get("version"))
            if not kind and version == "*":  # as pipenv writes what is not for its own platform
                yield _unlocked(name, stated.get("markers"))
                continue
            version = version.removeprefix("==")
            hashes = stated["hashes"] if isinstance(stated.get("hashes"), list) else []
            pinned = {"name": name, "version": version}
            yield from _release(pinned, kind, [], hashes, [stated.get("markers")])


def _unlocked(name: str, marker: object) -> Line | Fault:
    text = f"{name}; {marker}" if isinstance(marker, str) else name
    try:
        return Line(shown(text), requirement(text))
    except ValueError as error:
        return Fault(shown(text), str(error), is_unreadable=True)


_READERS: Mapping[str, Callable[[_Table], _Found]] = MappingProxyType(
    {"uv.lock": _uv, "poetry.lock": _poetry, "pdm.lock": _pdm, "Pipfile.lock": _pipfile}
)


def _release(
    each: _Table,
    kind: str,
    files: Sequence[object],
    hashes: Sequence[object],
    markers: Sequence[object] = (),
) -> _Found:
    """One release of a lock file.

    :param kind: of where it comes from; empty: an index.
    """
    if kind in _OWN:
        return
    name, version = each.get("name"), each.get("version")
    text = f"{_text(name)} {_text(version)}".strip() or "a release without a name"
    if kind:
        reason = _ELSEWHERE.get(kind, "it does not come from an index")
        yield Fault(shown(text), reason)
        return
    yield pin(text, name, version, files=files, hashes=hashes, markers=markers)


def _first(words: Iterable[str], each: _Table) -> str:
    return next((word for word in words if word in each), "")


def _names(files: Sequence[_Table]) -> list[str]:
    """How the files are called, in the words of any of the tools."""
    return [
        _text(each.get("name") or each.get("filename") or each.get("file"))
        or _last(each.get("url") or each.get("path"))
        for each in files
    ]


def _hashes(files: Sequence[_Table]) -> list[object]:
    """The hashes of the files, likewise."""
    several = [_table(each.get("hashes")).items() for each in files]
    return [
        *(each.get("hash") for each in files),
        *(f"{kind}:{text}" for of_file in several for kind, text in of_file),
    ]


def _table(value: object) -> _Table:
    return value if isinstance(value, dict) else {}


def _tables(value: object) -> list[_Table]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _last(url: object) -> str:
    """The file that an address leads to."""
    try:
        return unquote(urlsplit(_text(url)).path).replace("\\", "/").rpartition("/")[2]
    except ValueError:
        return ""
