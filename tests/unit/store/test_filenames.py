"""What file names in a folder say: as ``pypi-server`` has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.store import filenames


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        ("pytz-2012b.tar.bz2", "pytz", "2012b"),
        ("pytz-2012b.ZIP", "pytz", "2012b"),
        ("pytz-2012b.tar.xz", "pytz", "2012b"),
        ("gevent-1.0b1.win32-py2.6.exe", "gevent", "1.0b1"),
        ("gevent-1.0b1.win32-py2.7.msi", "gevent", "1.0b1"),
        ("greenlet-0.3.4-py3.1-win-amd64.egg", "greenlet", "0.3.4"),
        ("greenlet-0.3.4.win-amd64-py3.2.msi", "greenlet", "0.3.4"),
        ("greenlet-0.3.4-py2.7-linux-x86_64.egg", "greenlet", "0.3.4"),
        ("greenlet-0.3.4-py3.12.egg", "greenlet", "0.3.4"),
        ("ABC12.zip", "abc12", ""),
        ("ABC34-V1.0.zip", "abc34", "V1.0"),
        ("ABC12-34_V1X-1.2.3.zip", "abc12", "34_V1X-1.2.3"),
        ("A100-200-XYZ-1.2.3.zip", "a100-200-xyz", "1.2.3"),
        ("flup-1.0.3.dev-20110405.tar.gz", "flup", "1.0.3.dev-20110405"),
        ("flup-123-1.0.3.dev-20110405.tar.gz", "flup-123", "1.0.3.dev-20110405"),
        ("package-1.0.0-alpha.1.zip", "package", "1.0.0-alpha.1"),
        ("package-1.3.7+build.11.e0f985a.zip", "package", "1.3.7+build.11.e0f985a"),
        ("package-v1.1-8.1.301.ga0df26f.zip", "package-v1-1", "8.1.301.ga0df26f"),
        ("package-123-v1.1_3-8.1.zip", "package-123-v1-1-3", "8.1"),
        ("package-20000101.zip", "package", "20000101"),
        ("foo-1!2.0.tar.gz", "foo", "1!2.0"),
        ("foo-bar.baz-2.tar.gz", "foo-bar-baz", "2"),
        ("package-name-0.0.1.dev0.linux-x86_64.tar.gz", "package-name", "0.0.1.dev0"),
        ("package-name-0-0.0.1.dev0.macosx-10.10-intel.tar.gz", "package-name-0", "0.0.1.dev0"),
        ("pywin32-217-cp27-none-win32.whl", "pywin32", "217"),
        ("pywin32-217-55-cp27-none-win32.whl", "pywin32", "217"),
        ("foo_bar-1.0-py2.py3-none-any.whl", "foo-bar", "1.0"),
        ("foo-bar-1.0-py2.py3-none-any.whl", "foo-bar", "1.0"),
        ("foo-1.0-py3-none-linux-x86_64.whl", "foo", "1.0"),
        ("foo-1.0.tar.gz.asc", "foo", "1.0"),
    ],
)
def test_a_name_says_its_project_and_version(filename: str, project: str, version: str) -> None:
    """One project, and the likeliest."""
    assert filenames.parse(filename) == (project, version)


@pytest.mark.parametrize(
    "filename",
    [
        "README", "index.html", "foo-1.0.exe", "foo-1.0.txt", "foo.whl", "foo-v1-py3-none-any.whl",
        ".foo-1.0.tar.gz", ".asc", "foo-1.0.asc", "-1.0.tar.gz", "_foo-1.0.tar.gz", "", "a\n-1.zip",
        "foo-1.0.tar.gz\n", "a" * 300 + "-1.zip", "caf\udce9-1.0.zip", "foo-1.0.tar.gz.sha256",
        "foo-1.0.tar.gz.part", "foo-1.0-py3-none-any.whl.metadata",
    ],
)  # fmt: skip
def test_what_is_no_package_says_nothing(filename: str) -> None:
    """It is left alone."""
    assert filenames.parse(filename) is None


@given(st.text(alphabet="ab1-._+!pywin32.tar.gzheg\n\u00e9", max_size=250))
def test_any_name_is_read_without_a_fault(filename: str) -> None:
    """Anybody can copy anything."""
    said = filenames.parse(filename)
    assert said is None or said.project
