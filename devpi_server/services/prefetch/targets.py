"""For whom files are fetched: a Python on a platform, and which files it takes.

Why marker environments are several: nobody says which patch release of Python a target has,
and ``python_full_version < "3.11.3"`` decides about requirements.  What any of them needs is
fetched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from packaging import tags
from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.markers import default_environment as environment_of_this
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag

from devpi_server import names

# As uv calls them.
NAMES: Mapping[str, str] = MappingProxyType(
    {"linux": "manylinux_2_28_x86_64", "macos": "macosx_14_0_arm64", "windows": "win_amd64"}
)
HERE = (sys.version_info.major, sys.version_info.minor)
_PYTHON = re.compile(r"(3)\.(\d{1,2})\Z")
_LIBC = re.compile(r"(manylinux|musllinux)_(\d{1,2})_(\d{1,3})_(\w+)\Z", re.ASCII)
_OLD = re.compile(r"(manylinux1|manylinux2010|manylinux2014|linux)_(\w+)\Z", re.ASCII)
_MAC = re.compile(r"macosx_(\d{1,2})_(\d{1,2})_(arm64|x86_64)\Z", re.ASCII)
# Each name of an age, and the glibc that it stands for.
_AGES = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}
_WINDOWS = {"win32": "x86", "win_amd64": "AMD64", "win_arm64": "ARM64"}
_LAST_PATCH = 99


@dataclass(frozen=True)
class Target:
    """One Python on one platform.

    :param platform: a tag, as ``win_amd64``; empty: this machine's.
    """

    python: tuple[int, int] = HERE
    platform: str = ""

    @property
    def is_here(self) -> bool:
        """Whether the Python of this very process is meant."""
        return not self.platform and self.python == HERE

    @property
    def name(self) -> str:
        """For people."""
        where = self.platform or "this platform"
        return f"Python {self.python[0]}.{self.python[1]} on {where}"

    @cached_property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags that it takes, best first."""
        return tuple(_platforms(self.platform) if self.platform else tags.platform_tags())

    @cached_property
    def environments(self) -> tuple[Mapping[str, str], ...]:
        """What markers are compared with: one of these holds there."""
        environment: dict[str, Any] = dict(environment_of_this())
        if self.is_here:
            return (environment,)
        environment.update(_described(self.platform) if self.platform else {})
        version = f"{self.python[0]}.{self.python[1]}"
        environment |= {
            "python_version": version,
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
        return tuple(
            {**environment, "python_full_version": full, "implementation_version": full}
            for full in (f"{version}.0", f"{version}.{_LAST_PATCH}")
        )

    def needs(self, marker: Marker | None, extras: frozenset[str] = frozenset()) -> bool:
        """Whether what has this marker is needed there, of a project with these extras."""
        if marker is None:
            return True
        return any(
            _holds(marker, {**environment, "extra": extra})
            for environment in self.environments
            for extra in (extras or {""})
        )

    def rank(self, filename: str) -> tuple[int, ...] | None:
        """How well a wheel suits, smaller is better; None: it cannot be installed there."""
        build, found = names.wheel_tags(filename)
        ranks = [self._ranks[tag] for tag in found if tag in self._ranks]
        return (min(ranks), -build) if ranks else None

    def takes_python(self, requires_python: str | None) -> bool:
        """Whether a file with this Requires-Python may be installed there."""
        try:
            allowed = SpecifierSet(requires_python or "")
        except InvalidSpecifier:  # as pip has it
            return True
        return any(
            allowed.contains(environment["python_full_version"], prereleases=True)
            for environment in self.environments
        )

    @cached_property
    def _ranks(self) -> Mapping[Tag, int]:
        version = f"{self.python[0]}{self.python[1]}"
        found = (
            list(tags.sys_tags())
            if self.is_here
            else [
                *tags.cpython_tags(self.python, platforms=self.platforms),
                *tags.compatible_tags(self.python, f"cp{version}", self.platforms),
            ]
        )
        return {tag: rank for rank, tag in enumerate(dict.fromkeys(found))}


def python(text: str) -> tuple[int, int]:
    """A version of Python, as ``3.12``.

    :raises ValueError: it is none; with the reason.
    """
    found = _PYTHON.match(text)
    if found is None:
        raise ValueError(f'"{text[:50]}" is no version of Python such as 3.12')
    return int(found[1]), int(found[2])


def platform(text: str) -> str:
    """The tag of a platform, of the tag itself or one of the names.

    :raises ValueError: it is neither; with the reason.
    """
    tag = NAMES.get(text, text)
    if not list(_platforms(tag)):
        raise ValueError(
            f'"{text[:50]}" is no platform: linux, macos, windows, or a tag such as '
            "manylinux_2_28_aarch64, musllinux_1_2_x86_64, macosx_13_0_x86_64, win32"
        )
    return tag


def _holds(marker: Marker, environment: dict[str, str]) -> bool:
    try:
        return marker.evaluate(environment)
    except (UndefinedComparison, UndefinedEnvironmentName, ValueError):
        return True  # nobody can tell, and who installs will be told


def _platforms(tag: str) -> Iterator[str]:
    """The tags that a machine of this platform takes, best first; none of an unknown one."""
    if found := _LIBC.match(tag):
        libc, major, minor, machine = found[1], int(found[2]), int(found[3]), found[4]
        for each in range(minor, -1, -1):
            yield f"{libc}_{major}_{each}_{machine}"
            for age, glibc in _AGES.items():
                if (libc, major, each) == ("manylinux", 2, glibc):
                    yield f"{age}_{machine}"
        yield f"linux_{machine}"
    elif found := _OLD.match(tag):
        yield from _platforms(f"manylinux_2_{_AGES.get(found[1], 17)}_{found[2]}")
    elif found := _MAC.match(tag):
        yield from tags.mac_platforms((int(found[1]), int(found[2])), found[3])
    elif tag in _WINDOWS:
        yield tag


def _described(tag: str) -> dict[str, str]:
    """What markers find on a platform."""
    if tag in _WINDOWS:
        names, machine = ("nt", "win32", "Windows"), _WINDOWS[tag]
    elif found := _MAC.match(tag):
        names, machine = ("posix", "darwin", "Darwin"), found[3]
    else:
        names = ("posix", "linux", "Linux")
        libc = _LIBC.match(tag)
        machine = libc[4] if libc else tag.partition("_")[2]
    keys = ("os_name", "sys_platform", "platform_system")
    return {
        **dict(zip(keys, names, strict=True)),
        "platform_machine": machine,
        "platform_release": "",
        "platform_version": "",
    }
