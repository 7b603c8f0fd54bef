"""This installation: devpi-server as it runs, and everything that it needs."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata, util
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.requirements import Requirement

import devpi_server
from devpi_server.deploy.wheels import Bundle, info_folder, is_packed
from devpi_server.errors import Refused

_SERVER = "devpi-server"
_FOR_DEVELOPERS = ("test", "lint")
_WHEEL = b"Wheel-Version: 1.0\nGenerator: devpi-server\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def closure(extra_roots: Iterable[str] = ()) -> list[Bundle]:
    """Everything that has to be installed for the running devpi-server to run elsewhere.

    :param extra_roots: distributions to take along if they are installed.
    :raises Refused: something that is needed is not installed, or not as a whole.
    """
    server = _server()
    found = {_SERVER: server}
    seen: set[tuple[str, str]] = set()
    wanted = [(Requirement(text), "") for text in (*server.requires, "pip")]
    wanted += [(Requirement(name), "") for name in extra_roots if _distribution(name)]
    wanted += [(need, extra) for extra, needs in _extras(server).items() for need in needs]
    while wanted:
        need, extra = wanted.pop()
        if need.marker and not need.marker.evaluate({"extra": extra}):
            continue
        for chosen in ("", *need.extras):
            if (need.name, chosen) in seen:
                continue
            seen.add((need.name, chosen))
            bundle = found.get(need.name) or bundle_of(_needed(need.name))
            found[need.name] = bundle
            wanted += [(Requirement(text), chosen) for text in bundle.requires]
    return list({bundle.name: bundle for bundle in found.values()}.values())


def bundle_of(distribution: metadata.Distribution) -> Bundle:
    """An installed distribution, ready to be packed.

    :raises Refused: it is not there as a whole.
    """
    if _is_editable(distribution):
        files: Iterable[tuple[str, Path | bytes]] = _editable_files(distribution)
    else:
        files = _recorded_files(distribution)
    name, version = distribution.metadata["Name"], distribution.version
    return Bundle(name, version, tuple(files), tuple(distribution.requires or ()))


def _distribution(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def _needed(name: str) -> metadata.Distribution:
    found = _distribution(name)
    if found is None:
        raise Refused(f"{name}, which {_SERVER} needs, is not installed: install {_SERVER} anew")
    return found


def _extras(server: Bundle) -> dict[str, list[Requirement]]:
    """Extra → its requirements, of the extras that are installed."""
    needs: dict[str, list[Requirement]] = {}
    for need in map(Requirement, server.requires):
        extra = str(need.marker).partition('extra == "')[2].partition('"')[0]
        if extra and extra not in _FOR_DEVELOPERS:
            needs.setdefault(extra, []).append(need)
    return {
        extra: each for extra, each in needs.items() if all(_distribution(n.name) for n in each)
    }


# The three ways in which files lie around


def _recorded_files(distribution: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Of what an installer has copied."""
    name = distribution.metadata["Name"]
    if distribution.files is None or distribution.read_text("RECORD") is None:
        raise Refused(
            f"{name} is not from a wheel, so nothing says which files it has: install {_SERVER} "
            "with pip into a virtual environment of its own, and start from there"
        )
    scripts = {
        entry.name
        for entry in distribution.entry_points
        if entry.group in ("console_scripts", "gui_scripts")
    }
    info = _info(distribution)
    for recorded in distribution.files:
        path = Path(os.path.normpath(str(distribution.locate_file(recorded))))
        place = _place(path, distribution)
        if not is_packed(PurePosixPath(path.as_posix())) or "__pycache__" in path.parts:
            continue
        if place.startswith("scripts/") and _is_made(path.name, scripts):
            continue
        if not path.is_file():
            raise Refused(f"{name} is damaged, {path} is missing: install {_SERVER} anew")
        outside = place.startswith(("scripts/", "data/")) and recorded.parts[0] == ".."
        yield (f"{info.removesuffix('.dist-info')}.data/{place}" if outside else place), path


def _info(distribution: metadata.Distribution) -> str:
    """The name of the folder with the metadata, as it is."""
    folders = (file.parts[0] for file in distribution.files or () if file.name == "METADATA")
    return next((folder for folder in folders if folder.endswith(".dist-info")), "") or info_folder(
        distribution.metadata["Name"], distribution.version
    )


def _is_made(name: str, scripts: set[str]) -> bool:
    """Whether an installer makes this script from an entry point; pip adds ``pip3.11``."""
    return name in scripts or (name.startswith("pip3") and "pip" in scripts)


def _place(path: Path, distribution: metadata.Distribution) -> str:
    """The path in the wheel: below site-packages, else ``scripts/…`` or ``data/…``."""
    roots = (str(distribution.locate_file("")), *map(sysconfig.get_path, ("purelib", "platlib")))
    for root in roots:
        if path.is_relative_to(os.path.normpath(root)):
            return path.relative_to(os.path.normpath(root)).as_posix()
    for folder in (Path(sysconfig.get_path("scripts")), *path.parents):
        if folder.name == "bin" and path.parent == folder:
            return f"scripts/{path.name}"
    for folder in (Path(sys.prefix), *path.parents):
        if path.is_relative_to(folder) and (folder / "bin").is_dir():
            return f"data/{path.relative_to(folder).as_posix()}"
    raise Refused(f"{path} of {distribution.metadata['Name']} is in no known place")


def _is_editable(distribution: metadata.Distribution) -> bool:
    told = json.loads(distribution.read_text("direct_url.json") or "{}")
    return bool(told.get("dir_info", {}).get("editable"))


def _editable_files(distribution: metadata.Distribution) -> Iterator[tuple[str, Path | bytes]]:
    """Of a checkout that is installed as it lies there."""
    name = distribution.metadata["Name"]
    info = _info(distribution)
    for recorded in distribution.files or ():
        path = PurePosixPath(recorded)
        if path.parts[0].endswith(".dist-info") and is_packed(path):
            yield (
                f"{info}/{'/'.join(path.parts[1:])}",
                Path(str(distribution.locate_file(recorded))),
            )
    modules = (distribution.read_text("top_level.txt") or name.replace("-", "_")).split()
    for module in modules:
        yield from _tree_of(module)


def _tree_of(module: str) -> Iterator[tuple[str, Path]]:
    spec = util.find_spec(module)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from _tree(Path(folder))
    if spec and spec.origin and not spec.submodule_search_locations:
        yield Path(spec.origin).name, Path(spec.origin)


def _tree(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder.parent).as_posix(), path


def _server() -> Bundle:
    """devpi-server: what runs, which need not be what is installed under its name."""
    package = Path(devpi_server.__file__).parent
    distribution = _distribution(_SERVER)
    if distribution is not None:
        place = Path(str(distribution.locate_file(package.name)))
        if _is_editable(distribution) or (place.exists() and place.samefile(package)):
            return bundle_of(distribution)
    return checkout(package, package.parent / "pyproject.toml")


def checkout(package: Path, pyproject: Path) -> Bundle:
    """A checkout that was not installed at all: its metadata is what pyproject.toml says."""
    try:
        # Python 3.11 has it.
        import tomllib  # type: ignore[import-not-found]  # noqa: PLC0415

        project: dict[str, Any] = tomllib.loads(pyproject.read_text())["project"]
    except (ImportError, OSError):
        raise Refused(f"{_SERVER} runs from {package}, where it is not installed") from None
    version = devpi_server.__version__
    requires = [*project["dependencies"]]
    for extra, needs in project.get("optional-dependencies", {}).items():
        for need, _, marker in (need.partition(";") for need in needs):
            also = f"({marker.strip()}) and " if marker else ""
            requires.append(f'{need.strip()}; {also}extra == "{extra}"')
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {version}"]
    lines += [f"Requires-Python: {project['requires-python']}"]
    lines += [f"Provides-Extra: {extra}" for extra in project.get("optional-dependencies", {})]
    lines += [f"Requires-Dist: {need}" for need in requires]
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    points = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {entry}" for name, entry in entries.items()), "")
    ]
    info = info_folder(project["name"], version)
    made = {
        f"{info}/METADATA": "\n".join([*lines, ""]).encode(),
        f"{info}/WHEEL": _WHEEL,
        f"{info}/entry_points.txt": "\n".join(points).encode(),
    }
    return Bundle(project["name"], version, (*_tree(package), *made.items()), tuple(requires))
