"""Names of distribution files, of today and of twenty years."""

from __future__ import annotations

import pytest

from devpi_server.errors import InvalidArtefact
from devpi_server.services import distnames


@pytest.mark.parametrize(
    ("filename", "project", "version", "filetype", "pyversion"),
    [
        ("Demo_Thing-1.0-py3-none-any.whl", "demo-thing", "1.0", "bdist_wheel", "py3"),
        ("a.b-1.0-1-cp311-cp311-linux_x86_64.whl", "a-b", "1.0", "bdist_wheel", "cp311"),
        ("a-1.0+cu118-py2.py3-none-any.whl", "a", "1.0+cu118", "bdist_wheel", "py2.py3"),
        ("a_b-1.0-py2.7.egg", "a-b", "1.0", "bdist_egg", "2.7"),
        ("a-1.0-py2.5-win32.egg", "a", "1.0", "bdist_egg", "2.5"),
        ("a-1.0.egg", "a", "1.0", "bdist_egg", ""),
        ("a-b-1.0.tar.gz", "a-b", "1.0", "sdist", "source"),
        ("a-1.0.TAR.GZ", "a", "1.0", "sdist", "source"),
        ("a-1.0.zip", "a", "1.0", "sdist", "source"),
        ("a-1.0.tgz", "a", "1.0", "sdist", "source"),
        ("a-1.0.tar.bz2", "a", "1.0", "sdist", "source"),
        ("a-1.0.tar.xz", "a", "1.0", "sdist", "source"),
        ("a-1.0.tar.Z", "a", "1.0", "sdist", "source"),
        ("a-1.0.tar", "a", "1.0", "sdist", "source"),
        ("a-2004b-rc1.tar.gz", "a", "2004b-rc1", "sdist", "source"),
        ("a-1.0.win32.exe", "a", "1.0", "bdist_wininst", ""),
        ("scikit-a-1.0.win-amd64-py2.7.exe", "scikit-a", "1.0", "bdist_wininst", "2.7"),
        ("a-1.0.dev3460.winxp32-py2.5.msi", "a", "1.0.dev3460", "bdist_msi", "2.5"),
        ("a-1.0-py2.5-macosx10.5.dmg", "a", "1.0", "bdist_dmg", "2.5"),
        ("a-b-1.0-1.noarch.rpm", "a-b", "1.0", "bdist_rpm", ""),
        ("a-1.0-2.src.rpm", "a", "1.0", "bdist_rpm", ""),
        ("python-a_1.0-1_all.deb", "python-a", "1.0", "bdist_deb", ""),
    ],
)
def test_a_name_says_what_the_file_is(
    filename: str, project: str, version: str, filetype: str, pyversion: str
) -> None:
    """The likeliest reading is the right one."""
    name = distnames.parse(filename)
    assert name.projects[0] == project
    assert next(name.versions(name.projects[0])) == version
    assert (name.filetype, name.pyversion) == (filetype, pyversion)


@pytest.mark.parametrize(
    ("filename", "readings"),
    [
        ("a-b-1.zip", {"a-b": ["1"], "a": ["b-1"]}),
        ("a-1.0.linux-x86_64.tar.gz", {"a": ["1.0", "1.0.linux-x86_64"]}),
        ("a-1.0.windows.tar.gz", {"a": ["1.0", "1.0.windows"]}),
        ("a-1.0.post1.tar.gz", {"a": ["1.0.post1"]}),
        ("python3-a_1.0-1_all.deb", {"python3-a": ["1.0"], "a": ["1.0"]}),
    ],
)
def test_a_name_may_be_read_in_several_ways(filename: str, readings: dict[str, list[str]]) -> None:
    """Whoever knows the project or the version knows which."""
    name = distnames.parse(filename)
    for project, versions in readings.items():
        found = next(each for each in name.projects if each == project)
        assert list(name.versions(found)) == versions


@pytest.mark.parametrize(
    "filename",
    [
        "", "a", "a-1.0", ".zip", "a-1.0.html", "a-1.0.svg", "a-1.0.gz", "a-1.0.xz",
        "a-1.0.tar.gz.asc", "a-1.0.zip/", "../a-1.0.zip", "a/../b-1.0.zip", "a\\b-1.0.zip",
        "a-1.0.zip\n", "a-1.0\0.zip", "a-1.0 .zip ", ".a-1.0.zip", "p\u0430ypal-1.0.zip",
        "a-\u0661.zip", "a-1.0.whl.html", "a" * 300 + "-1.zip",
    ],
)  # fmt: skip
def test_what_is_no_archive_name_is_refused(filename: str) -> None:
    """P05, S01 and P04: other kinds, paths, letters that look like others."""
    with pytest.raises(InvalidArtefact, match=r"is not a valid archive name") as caught:
        distnames.parse(filename)
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "filename",
    [
        "a.whl", "a-1.0.whl", "a-1.0-py3.whl", "a-1.0-none-any.whl", "a-1.0-b-py3-none-any.whl",
        "a-1.0-1-2-py3-none-any.whl", "a--py3-none-any.whl", "a-1.0-py3--any.whl",
        "a-1.0-py3-none-.whl", "a-1.0-py3-none-a+b.whl", "a-1.0-py3-none-any.WHL",
    ],
)  # fmt: skip
def test_what_is_no_wheel_name_is_refused(filename: str) -> None:
    """PEP 427: name, version, perhaps a build, and three tags."""
    with pytest.raises(InvalidArtefact, match="is not a valid wheel name"):
        distnames.parse(filename)


@pytest.mark.parametrize(
    "filename", ["-1.0.zip", "--.zip", "_-1.0-py3-none-any.whl", "a_1.0.deb", "-1-py2.egg"]
)
def test_a_name_without_a_project_is_refused(filename: str) -> None:
    """There is none that could be meant."""
    with pytest.raises(InvalidArtefact, match="project name"):
        distnames.parse(filename)


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("1.0", "1.0"),
        ("1.0", "1.0.0"),
        ("1.0rc1", "1.0-rc1"),
        ("1.0.post1", "1.0-1"),
        ("1.0_1", "1.0-1"),
        ("1.0+abc.1", "1.0+abc-1"),
        ("1.0_abc", "1.0+abc"),
        ("1_2.0", "1!2.0"),
        ("v1.0", "1.0"),
        ("1.0", " 1.0"),
        ("2004b-rc1", "2004b-rc1"),
        ("1.0.beta", "1.0 beta"),
        ("1.0_beta_2_x", "1.0-beta(2-x"),
    ],
)
def test_a_version_is_written_in_several_ways(written: str, version: str) -> None:
    """By PEP 440, escaped by PEP 427, or as it is."""
    assert distnames.states(written, version)


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("1.0", "1.1"),
        ("11.0", "1.0"),
        ("1.0.post1", "1.0"),
        ("1.0-1", "1.0+1"),
        ("1.0+1", "1.0-1"),
        ("1!1.0", "1.0"),
        ("1.0", ""),
        ("dev", "dev-1"),
        ("1", "9" * 5000),
        ("1.0_x", "1.0\nx"),
        ("1.0_x", "1.0\u200bx"),
        ("1.0_x", "1.0/x"),
        ("1.0_x", "1.0\\x"),
    ],
)
def test_another_version_is_another_version(written: str, version: str) -> None:
    """P03, and without counting to ten to the five thousand."""
    assert not distnames.states(written, version)
