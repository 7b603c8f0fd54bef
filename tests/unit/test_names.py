"""Names as they come in the real world."""

from __future__ import annotations

import pytest

from devpi_server.errors import InvalidName
from devpi_server.names import (
    NormalizedName,
    file_path,
    is_file_name,
    is_normalized,
    project,
    projects_of,
    same_version,
    split_companion,
    version_of,
)

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Django", "django"),
        ("zope.interface", "zope-interface"),
        ("ruamel.yaml.clib", "ruamel-yaml-clib"),
        ("typing_extensions", "typing-extensions"),
        ("backports.zoneinfo", "backports-zoneinfo"),
        ("Foo-_.Bar", "foo-bar"),
        ("PyYAML", "pyyaml"),
        ("0", "0"),
        ("2to3", "2to3"),
        ("a" * 200, "a" * 200),
    ],
)
def test_a_project_has_one_normal_name(text: str, normal: str) -> None:
    """PEP 503: runs of ``-_.`` are one dash, and case does not count."""
    assert project(text) == normal
    assert is_normalized(normal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "-",
        "_a",
        "a-",
        "a.",
        ".hidden",
        "a b",
        "a/b",
        "a\\b",
        "a\n",
        "a\r\nX: y",
        "a\0",
        "a%2e",
        "a;x",
        "a?x",
        "a#x",
        "a:b",
        "C:",
        "é",
        "\u017f",  # casefolds to s
        "\u212a",  # Kelvin sign, lower-cases to k
        "\uff11",  # full-width digit
        "a\u200db",
        "\ud800",
        "a" * 201,
        "a" * 1_000_000,
    ],
)
def test_what_no_project_can_be_called_is_refused(text: str) -> None:
    """S01, S05, S06, S07: PEP 508 is the law, whatever the case rules of Unicode say."""
    with pytest.raises(InvalidName):
        project(text)
    assert not is_normalized(text)


@pytest.mark.parametrize(
    "text", ["Django", "a_b", "a.b", "a--b", "a-", "-a", "a\n", "simple/", "\u0131"]
)
def test_other_spellings_are_not_normal(text: str) -> None:
    """Only the normal form needs no normalising."""
    assert not is_normalized(text)


@pytest.mark.parametrize(
    "name",
    [
        "Django-5.2.tar.gz",
        "torch-2.9.0+cu128-cp313-cp313-manylinux_2_28_x86_64.whl",
        "foo-1!2.0-py3-none-any.whl",
        "pywin32-306.win32-py2.7.exe",
        "setuptools-0.6c11-py2.7.egg",
        "x-1.0.dmg",
        "foo~1.zip",
        "füü-1.0.zip",
        "a b-1.0.zip",
        "foo-1.0-py3-none-any.whl.metadata",
        "a" * 240,
    ],
)
def test_real_file_names_are_file_names(name: str) -> None:
    """Local versions, epochs, blanks and letters of other languages included."""
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "...",
        ".htaccess",
        " a",
        "a ",
        "a.",
        "../a",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "a\0",
        "a\nb",
        "a\r\nSet-Cookie: x",
        "a\x7f",
        "a\x85b",
        "a\u2028b",
        "a\u202ebmw.whl",  # right-to-left override
        "\ufeffa",
        "a\ud800",
        "a" * 241,
        "é" * 121,
    ],
)
def test_what_no_file_can_be_called_is_refused(name: str) -> None:
    """S01, S06, S07: nothing hidden, no separator, no control character, nothing too long."""
    assert not is_file_name(name)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a-1-py3-none-any.whl.metadata", ("a-1-py3-none-any.whl", ".metadata")),
        ("a-1.tar.gz.asc", ("a-1.tar.gz", ".asc")),
        ("a-1.tar.gz", ("a-1.tar.gz", "")),
        (".metadata", (".metadata", "")),
        ("a.whl.metadata.asc", ("a.whl.metadata", ".asc")),
        ("", ("", "")),
    ],
)
def test_a_companion_is_named_after_its_file(name: str, parts: tuple[str, str]) -> None:
    """PEP 658 metadata and PEP 503 signatures append their ending."""
    assert split_companion(name) == parts


@pytest.mark.parametrize(
    ("filename", "name", "version"),
    [
        ("Django-5.2.tar.gz", "django", "5.2"),
        ("zope.interface-7.0.zip", "zope-interface", "7.0"),
        ("zope_interface-7.0-cp312-cp312-win_amd64.whl", "zope-interface", "7.0"),
        ("torch-2.9.0+cu128-cp313-cp313-linux_x86_64.whl", "torch", "2.9.0+cu128"),
        ("build_tag-1.0-1abc-py3-none-any.whl", "build-tag", "1.0"),
        ("setuptools-0.6c11-py2.7.egg", "setuptools", "0.6c11"),
        ("python-dateutil-2.9.0.post0.tar.gz", "python-dateutil", "2.9.0.post0"),
        ("a-b-1.tar.gz", "a-b", "1"),
        ("a-b-1.tar.gz", "a", "b-1"),
        ("foo-1.0-beta.tar.bz2", "foo", "1.0-beta"),
        ("foo-v1.0.TAR.GZ", "foo", "v1.0"),
        ("foo.tar.gz", "foo", None),
        ("foo-.tar.gz", "foo", None),
        ("foo-1.0.exe", "foo", None),
        ("foo.whl", "foo", None),
        ("foo-1.0.whl", "foo", None),
        ("bar-1.0.tar.gz", "foo", None),
    ],
)
def test_a_file_name_states_its_version(filename: str, name: str, version: str | None) -> None:
    """The version stands behind the project's name, in any spelling of it."""
    assert version_of(filename, NormalizedName(name)) == version


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("zope_interface-7.0-cp312-cp312-win_amd64.whl", ["zope-interface"]),
        ("Django-5.2.tar.gz", ["django"]),
        ("a-b-1.tar.gz", ["a-b", "a"]),
        ("python-dateutil-2.9.0.tar.gz", ["python-dateutil", "python"]),
        ("foo-1.0-2-3.zip", ["foo", "foo-1-0", "foo-1-0-2"]),
        ("foo-foo-1.zip", ["foo-foo", "foo"]),
        ("pywin32-306.win32-py2.7.exe", ["pywin32", "pywin32-306-win32"]),
        ("foo.tar.gz", ["foo"]),
        ("-1.0.tar.gz", []),
        ("é-1.0.tar.gz", []),
        ("---", []),
    ],
)
def test_a_file_name_tells_the_projects_it_can_belong_to(
    filename: str, expected: list[str]
) -> None:
    """The likeliest comes first, no project twice, and none that cannot be."""
    assert list(projects_of(filename)) == expected


def test_a_file_with_a_digest_is_served_by_it() -> None:
    """``+f/<sha256[:3]>/<sha256[3:16]>/<filename>``, wherever upstream has it."""
    for url in ("https://a.test/x/f.whl", "http://b.test/y?z"):
        assert file_path("f.whl", url, {"sha256": SHA256}) == "+f/012/3456789abcdef/f.whl"


@pytest.mark.parametrize("digests", [{}, {"md5": "0" * 32}, {"sha256": "../../x"}, {"sha256": ""}])
def test_a_file_without_a_good_sha256_is_served_by_its_address(digests: dict[str, str]) -> None:
    """``+e/<scheme_host_path>/<filename>``, in one segment that hides no separator."""
    path = file_path("f.whl", "https://a.test:8080/x/y_z/f.whl", digests)
    assert path == "+e/https_a.test~3A8080_x_y~5Fz/f.whl"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h.test/a/f.whl", "https://h.test/a_/f.whl"),
        ("https://h.test/a/b/f.whl", "https://h.test/a_b/f.whl"),
        ("https://h.test/a~2Fb/f.whl", "https://h.test/a%2Fb/f.whl"),
        ("https://h.test/a/f.whl", "http://h.test/a/f.whl"),
        ("https://h.test/a/f.whl", "https://h.test:444/a/f.whl"),
        ("https://h.test/a/f.whl?v=1", "https://h.test/a/f.whl?v=2"),
        ("https://h.test/a/f.whl?v=1", "https://h.test/a%3Fv=1/f.whl"),
        ("https://h.test/download/1", "https://h.test/download/2"),
        ("https://h.test/download/1", "https://h.test/download/f.whl"),
        ("https://h.test/download", "https://h.test/download/f.whl"),
        ("https://h.test/download/1", "https://h.test/download/1/f.whl"),
        ("https://h.test/download/1", "https://h.test/download/1//f.whl"),
        ("https://h.test/download/1?x", "https://h.test/download/1/f.whl?x"),
    ],
)
def test_two_addresses_are_two_files(one: str, other: str) -> None:
    """Without digests the address alone tells one file from another."""
    assert file_path("f.whl", one, {}) != file_path("f.whl", other, {})


def test_how_upstream_escapes_a_file_name_does_not_count() -> None:
    """``%2B`` and ``+`` in the last segment are one file."""
    name = "t-1+cpu-py3-none-any.whl"
    raw = file_path(name, f"https://h.test/x/{name}", {})
    assert raw == f"+e/https_h.test_x/{name}"
    assert raw == file_path(name, "https://h.test/x/t-1%2Bcpu-py3-none-any.whl", {})


def test_no_path_shows_credentials() -> None:
    """X07: what stands before the @ of an address stays here."""
    assert "secret" not in file_path("f.whl", "https://user:secret@h.test/a/f.whl", {})


@pytest.mark.parametrize("other", ["1.0rc1", "1.0-rc1", "1.0.0-rc.1", "1.0RC1", "v1.0rc1"])
def test_spellings_of_a_version_are_told_to_be_the_same(other: str) -> None:
    """PEP 440: the journal and a file name spell one version in several ways."""
    assert same_version("1.0rc1", other)
    assert not same_version("1.0rc2", other)


def test_what_is_no_version_is_the_same_as_itself_only() -> None:
    """Old projects have versions that no standard knows."""
    assert same_version("2004b-dev!", "2004b-dev!")
    assert not same_version("2004b-dev!", "*")
