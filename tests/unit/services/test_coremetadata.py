"""Core metadata of any age, read as installers read it."""

from __future__ import annotations

import email

import pytest

from devpi_server.errors import InvalidArtefact
from devpi_server.services import coremetadata
from devpi_server.services.coremetadata import Fields


def parsed(text: str) -> Fields:
    return coremetadata.parse(text.encode(), forgiving=False)


def test_each_field_has_the_name_of_the_form() -> None:
    """Texts, and tuples of what may be repeated."""
    fields = parsed(
        "Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nSummary: short\nHome-page: h\n"
        "Author-email: a@b\nLicense-Expression: MIT\nKeywords: a,b\nRequires-Python: >=3.8\n"
        "Classifier: C1\nClassifier: C2\nProject-URL: Home, https://x/\nRequires-Dist: a>1\n"
        "Provides-Extra: e\nLicense-File: LICENSE\nPlatform: any\nDynamic: Version\n"
        "Description-Content-Type: text/markdown\n\n# Title\n\ntext\n"
    )
    assert fields == {
        "metadata_version": "2.4",
        "name": "demo",
        "version": "1.0",
        "summary": "short",
        "home_page": "h",
        "author_email": "a@b",
        "license_expression": "MIT",
        "keywords": "a,b",
        "requires_python": ">=3.8",
        "classifiers": ("C1", "C2"),
        "project_urls": ("Home, https://x/",),
        "requires_dist": ("a>1",),
        "provides_extras": ("e",),
        "license_file": ("LICENSE",),
        "platform": ("any",),
        "dynamic": ("Version",),
        "description_content_type": "text/markdown",
        "description": "# Title\n\ntext\n",
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_they_like(end: str) -> None:
    """METADATA is written on any system."""
    assert parsed(f"NAME: demo{end}version: 1{end}{end}text") == {
        "name": "demo",
        "version": "1",
        "description": "text",
    }


@pytest.mark.parametrize("indent", ["        ", "       |", "\t"])
def test_a_description_may_be_a_header(indent: str) -> None:
    """As before metadata 2.1; indented so that it is one."""
    lines = ["Name: demo", "Description: first", "second", "", "  third"]
    text = "\n".join([*lines[:2], *(indent + line for line in lines[2:]), "Version: 1", ""])
    fields = parsed(text)
    assert fields["description"] == "first\nsecond\n\n  third"
    assert fields["version"] == "1"


def test_what_is_not_known_is_left_out() -> None:
    """Fields of other days, and those that say nothing."""
    assert parsed("X-New: 1\nHome-page: UNKNOWN\nSummary:\nPlatform: UNKNOWN\nName: demo\n") == {
        "name": "demo"
    }


def test_the_first_of_several_counts() -> None:
    """As for the parser that installers use."""
    assert parsed("Summary: a\nSummary: b\n")["summary"] == "a"


@pytest.mark.parametrize("header", ["Name", "Version", "Requires-Python"])
def test_what_there_is_one_of_is_there_once(header: str) -> None:
    """P03: the first counts for some, the last for others."""
    assert parsed(f"{header}: 1\n{header.upper()}: 1\n")
    with pytest.raises(InvalidArtefact, match=f"more than one {header.lower()}"):
        parsed(f"{header}: 1\n{header.lower()}: 2\n")


def test_requires_python_is_one_line() -> None:
    """It becomes an attribute of a page."""
    assert parsed("Requires-Python: >=3.8,\n  <4\n")["requires_python"] == ">=3.8, <4"


def test_what_is_not_utf8_is_refused_or_guessed() -> None:
    """METADATA is UTF-8; a PKG-INFO of old may be anything."""
    data = "Author: Jörg\n".encode("latin-1")
    with pytest.raises(InvalidArtefact, match="not UTF-8"):
        coremetadata.parse(data, forgiving=False)
    assert coremetadata.parse(data, forgiving=True) == {"author": "Jörg"}


@pytest.mark.parametrize("line", ["\n", "\r", "Name: a\n", "a:\n", " x\n"])
def test_too_many_lines_are_refused(line: str) -> None:
    """P01: the parser holds an object a line."""
    with pytest.raises(InvalidArtefact, match="too many lines"):
        parsed("Summary: x\n" + line * 200_000)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", ":", "Name", "Name demo", "\ufeffName: demo\n", "From me\nName: demo\n",
        " Name: demo\n", "Name: a\nno header\nVersion: 1\n", "Name: a\0b\n",
        "Name: a\x0bVersion: 2\n", "Name: a\x85b\n", "Name: a\n\n\nName: b\n", "Name:\n demo\n",
        "Content-Type: multipart/mixed; boundary=b\nName: a\n\n--b\nName: b\n\n--b--\n",
        "Content-Transfer-Encoding: base64\nName: a\n\nYWJj\n", "Name: =?utf-8?q?evil?=\n",
    ],
)  # fmt: skip
def test_the_name_is_the_one_that_installers_read(text: str) -> None:
    """P03: however strange the text is."""
    name = str(email.message_from_string(text).get("Name") or "").strip()
    assert parsed(text).get("name", "") == name


def test_the_time_does_not_grow_with_names_times_headers() -> None:
    """P01: with a hundred thousand of both it would be hours."""
    assert parsed("".join(f"a{at}: x\n" for at in range(150_000))) == {}
    assert len(parsed("Classifier: x\n" * 150_000)["classifiers"]) == 150_000
