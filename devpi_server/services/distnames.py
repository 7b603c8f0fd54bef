"""What the name of a distribution file says: project, version, kind of file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from devpi_server import names
from devpi_server.errors import InvalidArtefact, InvalidName
from devpi_server.names import NormalizedName
from devpi_server.store.archives import shown

WHEEL, EGG, SDIST, DUMB = "bdist_wheel", "bdist_egg", "sdist", "bdist_dumb"
_RPM, _DEB = "bdist_rpm", "bdist_deb"

# An ending comes before an ending of itself.
_FILETYPES = (
    (".whl", WHEEL),
    (".egg", EGG),
    (".tar.gz", SDIST),
    (".tar.bz2", SDIST),
    (".tar.xz", SDIST),
    (".tar.z", SDIST),
    (".tar", SDIST),
    (".tgz", SDIST),
    (".bz2", SDIST),
    (".zip", SDIST),
    (".exe", "bdist_wininst"),
    (".msi", "bdist_msi"),
    (".rpm", _RPM),
    (".deb", _DEB),
    (".dmg", "bdist_dmg"),
)
# What distutils puts behind a version: "1.0.win32-py2.7", "1.0.linux-x86_64".
_PLATFORM = re.compile(
    r"[.-](?:(?:win|linux|macos|darwin|cygwin|mingw|freebsd|openbsd|netbsd|solaris|sunos"
    r"|aix|irix|hp-ux|osf1|java)\w*(?:[.-]|\Z)|py\d)",
    re.IGNORECASE,
)
_RPM_RELEASE = re.compile(r"-[^-]+\.\w+\Z")  # "1.0-1.noarch"
_DEBIAN = re.compile(r"(?P<name>[^_]+)_(?P<version>[^_-]+)(?:-[^_]+)?_[^_]+\Z")
_PREFIX = re.compile(r"python\d?-")
_PYTHON = re.compile(r"-py(\d[\d.]*)")
_TAG = re.compile(r"[\w.]+\Z", re.ASCII)
_TO_ESCAPE = re.compile(r"[^\w.]+", re.ASCII)
_NO_VERSION = re.compile(r"[/\\]")  # it becomes a part of URLs
_LONGEST_VERSION = 200  # characters; far beyond it, numbers are not even parsed


@dataclass(frozen=True, slots=True)
class DistName:
    """A file name, taken apart.

    :param ending: in lower case.
    :param pyversion: the Python that it is for; ``source``; empty if it does not say.
    :param projects: what it may be of, likeliest first: ``a-b-1.zip`` is release
        ``1`` of ``a-b``, or release ``b-1`` of ``a``.
    """

    stem: str
    ending: str
    filetype: str
    pyversion: str
    projects: tuple[NormalizedName, ...]

    def versions(self, project: NormalizedName) -> Iterator[str]:
        """What the version may be if it is a file of this project, likeliest first."""
        if self.filetype == _DEB and (debian := _DEBIAN.match(self.stem)):
            yield debian["version"]
            return
        rest = behind(self.stem, project)
        if rest is None:
            return
        if self.filetype in (WHEEL, EGG):
            yield rest.partition("-")[0]
        elif self.filetype == _RPM:
            yield _RPM_RELEASE.sub("", rest)
        else:
            without = _PLATFORM.split(rest, maxsplit=1)[0]
            yield without
            if without != rest:
                yield rest


def parse(filename: str) -> DistName:
    """Take a file name apart.

    :raises InvalidArtefact: no distribution file has such a name.
    """
    ending, filetype = next(
        (each for each in _FILETYPES if filename.lower().endswith(each[0])), ("", "")
    )
    if not (ending and filename.isascii() and names.is_file_name(filename)):
        raise InvalidArtefact(f"{shown(filename)} is not a valid archive name")
    stem = filename[: -len(ending)]
    if filetype == WHEEL and not (filename.endswith(ending) and _is_wheel(stem)):
        raise InvalidArtefact(f"{shown(filename)} is not a valid wheel name")
    python = _PYTHON.search(stem)
    if filetype == WHEEL:
        pyversion = stem.split("-")[-3]
    else:
        pyversion = "source" if filetype == SDIST else python[1] if python else ""
    projects = tuple(_projects(filename, stem, filetype))
    if not projects:
        raise InvalidArtefact(f"filename {shown(filename)} does not contain a project name")
    return DistName(stem, ending, filetype, pyversion, projects)


def states(written: str, version: str) -> bool:
    """Whether a file name's version stands for this one: as it is, or escaped (PEP 427)."""
    if len(version) > _LONGEST_VERSION or _NO_VERSION.search(version) or not version.isprintable():
        return False
    return names.same_version(written, version) or written in (
        _TO_ESCAPE.sub("_", version),
        _TO_ESCAPE.sub("_", version.replace(" ", ".")),  # setuptools
    )


def behind(text: str, project: NormalizedName) -> str | None:
    """``1.0`` of ``Some_Thing-1.0``, if that begins with the project's name."""
    for at, char in enumerate(text):
        if char == "-" and text[at + 1 : at + 2].isalnum() and _project(text[:at]) == project:
            return text[at + 1 :]
    return None


def _project(text: str) -> NormalizedName | None:
    try:
        return names.project(text)
    except InvalidName:
        return None


def _is_wheel(stem: str) -> bool:
    """PEP 427: name, version, perhaps a build, and three tags."""
    parts = stem.split("-")
    return (
        len(parts) in (5, 6)
        and bool(parts[1])
        and all(map(_TAG.match, parts[-3:]))
        and (len(parts) == 5 or parts[2][:1].isdigit())
    )


def _projects(filename: str, stem: str, filetype: str) -> Iterator[NormalizedName]:
    if filetype in (WHEEL, EGG):
        said = [stem.partition("-")[0]]
    elif filetype == _DEB:
        debian = _DEBIAN.match(stem)
        said = [debian["name"], _PREFIX.sub("", debian["name"])] if debian else []
    else:
        said = list(names.projects_of(filename))
    for name in said:
        project = _project(name)
        if project is not None:
            yield project
