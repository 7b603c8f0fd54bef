"""Installed files become wheels again."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import devpi_server
from devpi_server.deploy import environment, installed, wheels
from devpi_server.deploy.wheels import Bundle
from devpi_server.errors import Refused

ROOT = Path(__file__).parents[3]


def dist_info(*tags: str, name: str = "demo") -> tuple[tuple[str, bytes], ...]:
    told = "".join(f"Tag: {tag}\n" for tag in tags)
    return (
        (f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\n{told}".encode()),
        (f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\n".encode()),
    )


@pytest.mark.parametrize(
    ("tags", "end"),
    [
        (["py3-none-any"], "py3-none-any"),
        (["py2-none-any", "py3-none-any"], "py2.py3-none-any"),
        (["cp311-abi3-linux_x86_64", "cp311-abi3-any"], "cp311-abi3-linux_x86_64.any"),
    ],
)
def test_the_name_of_a_wheel_has_all_its_tags(tags: list[str], end: str, tmp_path: Path) -> None:
    path = wheels.write(Bundle("demo", "1.0", dist_info(*tags)), tmp_path)

    assert path.name == f"demo-1.0-{end}.whl"


def test_the_record_of_a_wheel_has_the_digest_of_each_file(tmp_path: Path) -> None:
    files = (("demo.py", b"x = 1\n"), *dist_info("py3-none-any"))

    with zipfile.ZipFile(wheels.write(Bundle("demo", "1.0", files), tmp_path)) as archive:
        rows = list(csv.reader(io.StringIO(archive.read("demo-1.0.dist-info/RECORD").decode())))
        for name, told, size in rows[:-1]:
            digest = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest())
            assert told == f"sha256={digest.decode().rstrip('=')}"
            assert int(size) == len(archive.read(name))

        assert {row[0] for row in rows} == set(archive.namelist())
    assert rows[-1] == ["demo-1.0.dist-info/RECORD", "", ""]


def test_equal_files_make_equal_wheels(tmp_path: Path) -> None:
    bundle = Bundle("demo", "1.0", dist_info("py3-none-any"))
    (tmp_path / "b").mkdir()

    first, second = wheels.write(bundle, tmp_path), wheels.write(bundle, tmp_path / "b")

    assert first.read_bytes() == second.read_bytes()


def test_a_script_forgets_the_python_that_it_was_installed_for(tmp_path: Path) -> None:
    script = tmp_path / "tool.py"
    script.write_bytes(b"#!/home/me/venv/bin/python3.11\nprint(1)\n")
    script.chmod(0o755)
    name = "demo-1.0.data/scripts/tool.py"
    bundle = Bundle("demo", "1.0", ((name, script), *dist_info("py3-none-any")))

    with zipfile.ZipFile(wheels.write(bundle, tmp_path)) as archive:
        assert archive.read(name) == b"#!python\nprint(1)\n"
        assert archive.getinfo(name).external_attr >> 16 & 0o111


@pytest.mark.parametrize("name", ["pip", "PyYAML", "bottle", "supervisor"])
def test_what_pip_has_installed_is_packed_without_what_pip_made(name: str, tmp_path: Path) -> None:
    bundle = installed.bundle_of(metadata.distribution(name))

    with zipfile.ZipFile(wheels.write(bundle, tmp_path)) as archive:
        names = archive.namelist()

    assert not [each for each in names if each.endswith((".pyc", "INSTALLER", "direct_url.json"))]
    assert not [each for each in names if each.startswith(("/", ".."))]
    assert f"{name.lower()}-{bundle.version}.data/scripts/{name.lower()}" not in names


def test_a_script_that_no_entry_point_makes_is_packed() -> None:
    names = [name for name, _ in installed.bundle_of(metadata.distribution("bottle")).files]

    assert [name for name in names if name.endswith(".data/scripts/bottle.py")]


def test_what_is_taken_along_is_all_that_is_needed() -> None:
    names = {bundle.name.lower() for bundle in installed.closure(["supervisor"])}

    assert {"devpi-server", "pip", "bottle", "requests", "certifi", "supervisor"} <= names
    assert "pytest" not in names


def test_a_checkout_is_packed_with_its_templates_and_its_command(tmp_path: Path) -> None:
    pytest.importorskip("tomllib")
    bundle = installed.checkout(ROOT / "devpi_server", ROOT / "pyproject.toml")

    with zipfile.ZipFile(wheels.write(bundle, tmp_path)) as archive:
        names = archive.namelist()
        entries = archive.read(f"devpi_server-{bundle.version}.dist-info/entry_points.txt")

    assert "devpi_server/deploy/templates/nginx-devpi.conf" in names
    assert b"devpi-server = devpi_server.main:main" in entries
    assert any(need.startswith("bottle") for need in bundle.requires)


def test_an_editable_installation_is_packed_from_its_checkout(tmp_path: Path) -> None:
    source, site = tmp_path / "src", tmp_path / "site"
    info = site / "demo_pkg-1.0.dist-info"
    for folder in (source / "demo_pkg", info):
        folder.mkdir(parents=True)
    (source / "demo_pkg" / "__init__.py").write_text("x = 1\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nTag: py3-none-any\n")
    (info / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
    names = [f"{info.name}/{name}" for name in ("METADATA", "WHEEL", "direct_url.json")]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in ["demo.pth", *names]))
    code = (
        "from importlib.metadata import distribution as d; from pathlib import Path\n"
        "from devpi_server.deploy import installed, wheels\n"
        f"wheels.write(installed.bundle_of(d('demo-pkg')), Path({str(tmp_path)!r}))"
    )
    paths = [str(site), str(source), str(Path(devpi_server.__file__).parents[1])]

    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{code}"], check=True
    )

    with zipfile.ZipFile(tmp_path / "demo_pkg-1.0-py3-none-any.whl") as archive:
        assert archive.read("demo_pkg/__init__.py") == b"x = 1\n"
        assert "demo.pth" not in archive.namelist()


def test_a_damaged_installation_is_told() -> None:
    class Damaged(metadata.PathDistribution):
        @property
        def files(self) -> list[metadata.PackagePath]:
            return [metadata.PackagePath("no_such_file.py")]

    pip = metadata.distribution("pip")
    damaged = Damaged(pip._path)  # type: ignore[attr-defined]

    with pytest.raises(Refused, match=r"pip is damaged, .*no_such_file\.py is missing"):
        installed.bundle_of(damaged)


def test_an_environment_made_from_another_one_does_not_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "_base_executable", sys.executable)  # as in Python 3.10

    environment.Builder(symlinks=True, with_pip=False).create(tmp_path)

    links = [path.readlink() for path in (tmp_path / "bin").iterdir() if path.is_symlink()]
    outside = [link for link in links if link.is_absolute()]
    assert outside
    assert sys.prefix == sys.base_prefix or not [x for x in outside if x.is_relative_to(sys.prefix)]
