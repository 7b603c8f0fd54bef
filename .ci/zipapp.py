#!/usr/bin/env python3
"""Make ``pypi-server-standalone.pyz``: ``pypi-server`` in one file, for a machine with only Python.

Some of what the server is made of is compiled, so it cannot run out of a zip, and is for this
kind of machine.  The file holds what each release of Python needs; what several of them need is
there once.  At its first start it unpacks its part into the user's cache, under a name made of
its own digest: a start of two at once, or of a newer file, disturbs nobody.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from uv import find_uv_bin

HERE = Path(__file__).resolve().parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
COMMON = "any"
EPOCH = (2020, 1, 1, 0, 0, 0)  # the same content makes the same file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", type=Path, nargs="?", default=Path("pypi-server-standalone.pyz"))
    parser.add_argument(
        "--python-version",
        action="append",
        help="release of Python that it is to run on; may be given again [3.10 to 3.14]",
    )
    words = parser.parse_args()
    pythons = words.python_version or PYTHONS
    with tempfile.TemporaryDirectory() as folder:
        wheel = built(Path(folder))
        trees = {python: Path(folder, python) for python in pythons}
        for python, tree in trees.items():
            install(wheel, python, tree)
        members = dict(sorted(arranged(trees)))
        write(words.target, members, list(map(tag, pythons)))
    print(f"{words.target}: {words.target.stat().st_size / 1e6:.0f} MB, for {', '.join(pythons)}")


def built(folder: Path) -> Path:
    """A wheel of what is here; built from a copy, for setuptools leaves things behind."""
    source = folder / "source"
    source.mkdir()
    for name in ("LICENSE", "README.rst", "pyproject.toml", "setup.py"):
        shutil.copy(HERE.parent / name, source)
    shutil.copytree(HERE.parent / "devpi_server", source / "devpi_server")
    run(find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def run(*words: str | Path) -> None:
    subprocess.run(words, check=True)


def install(wheel: Path, python: str, tree: Path) -> None:
    """What the server needs on this Python, without what only debuggers read."""
    command = (find_uv_bin(), "pip", "install", "--quiet", "--only-binary", ":all:")
    run(*command, "--target", tree, "--python-version", python, wheel)
    strip = shutil.which("strip")
    compiled = list(tree.rglob("*.so"))
    if strip is not None and compiled:
        run(strip, "--strip-unneeded", *compiled)


def arranged(trees: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """Name in the zip → file; in ``any`` is what is the same for all."""
    files = {
        python: {path.relative_to(tree).as_posix(): path for path in sorted(tree.rglob("*"))}
        for python, tree in trees.items()
    }
    for python, of_python in files.items():
        for name, path in of_python.items():
            if not path.is_file() or not is_needed(name):
                continue
            others = [each.get(name) for each in files.values()]
            if all(other is not None and same(other, path) for other in others):
                yield f"{COMMON}/{name}", path
            else:
                yield f"{tag(python)}/{name}", path


def is_needed(name: str) -> bool:
    """Whether the program reads it."""
    return not name.startswith(("bin/", ".lock")) and not name.endswith((".pyc", ".pyi"))


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def tag(python: str) -> str:
    return "cp" + python.replace(".", "")


def write(target: Path, members: dict[str, Path], tags: list[str]) -> None:
    """The file: a line for the kernel, and a zip that Python runs."""
    digest = hashlib.sha256()
    for name, path in members.items():
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    start = (HERE / "zipapp_main.py").read_text()
    start = start.replace("@DIGEST@", digest.hexdigest()[:16])
    start = start.replace("@MACHINE@", machine()).replace("@TAGS@", " ".join(tags))
    with open(target, "wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr(zipfile.ZipInfo("__main__.py", EPOCH), start)
            for name, path in members.items():
                info = zipfile.ZipInfo(name, EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, path.read_bytes())
    target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def machine() -> str:
    libc = (
        platform.libc_ver()[0] or "other"
    )  # compiled modules need the one that they were made for
    return f"{sys.platform}-{os.uname().machine}-{libc}"


if __name__ == "__main__":
    main()
