"""Laws of names that hold for any text."""

from __future__ import annotations

import os
import unicodedata
from urllib.parse import quote, unquote, urlsplit

from hypothesis import assume, example, given
from hypothesis import strategies as st

from devpi_server.errors import InvalidName
from devpi_server.names import (
    file_path,
    is_file_name,
    is_normalized,
    project,
    projects_of,
    split_companion,
    version_of,
)

project_texts = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?\Z")
file_names = st.text(max_size=30).filter(is_file_name)
# Few characters, chosen to collide: separators, escapes, and what stands for them.
segments = st.text("ab_~%/?;.=&2F+", max_size=8)


@st.composite
def addresses(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(["http", "https"]))
    host = draw(st.sampled_from(["h", "h:1", "a_b", "a~b", "a.b"]))
    path = quote(draw(segments), safe="/%;~_=&+")
    query = draw(st.sampled_from(["", "?a", "?a/b", "?a_b", "??a", "?/"]))
    last = draw(st.sampled_from(["f.whl", "f%2Ewhl", "1", "2", ""]))
    return f"{scheme}://{host}/{path}/{last}{query}"


def identity(url: str) -> tuple[str, ...]:
    """What makes an address: without its fragment, however its last segment is escaped."""
    parts = urlsplit(url)
    folder, _, last = parts.path.rpartition("/")
    if unquote(last) == "f.whl":
        last = "f.whl"
    return parts.scheme, parts.netloc, folder, last, parts.query


@given(project_texts)
def test_normalising_is_done_once(text: str) -> None:
    """``project`` of its own result is the same."""
    name = project(text)
    assert project(name) == name
    assert is_normalized(name)


@given(st.text())
@example("a\n")
@example("\u212a")
def test_a_name_is_refused_or_safe(text: str) -> None:
    """Whatever comes in, what comes out is lower-case ASCII of letters, digits and dashes."""
    try:
        name = project(text)
    except InvalidName:
        return
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name == os.path.basename(name)
    assert not name.startswith("-")
    assert not name.endswith("-")


@given(st.text())
@example("a\x1cb")
@example("a\u2029")
def test_a_file_name_holds_no_separator_and_no_control_character(name: str) -> None:
    """S01, S07: what is admitted is one segment of a path, one line, and printable."""
    assume(is_file_name(name))
    assert os.path.basename(os.path.normpath(name)) == name
    assert "\\" not in name
    assert len(name.splitlines()) == 1
    assert not [char for char in name if unicodedata.category(char) in ("Cc", "Cf", "Cs")]
    assert len(os.fsencode(f"{name}.metadata")) <= 255


@given(addresses(), addresses())
def test_no_two_addresses_share_a_path(one: str, other: str) -> None:
    """Without digests ``file_path`` is injective."""
    assume(identity(one) != identity(other))
    assert file_path("f.whl", one, {}) != file_path("f.whl", other, {})


@given(addresses(), file_names)
def test_a_path_has_three_segments(url: str, filename: str) -> None:
    """What an address looks like does not change how deep a file lies."""
    marker, folder, name = file_path(filename, url, {}).split("/")
    assert (marker, name) == ("+e", filename)
    assert folder
    assert folder == quote(folder, safe="~")


@given(st.text(), project_texts)
def test_any_file_name_has_a_version_or_none(filename: str, text: str) -> None:
    """No text is an error, and a version is a part of the name."""
    version = version_of(filename, project(text))
    assert version is None or version in filename


@given(project_texts, st.from_regex(r"\A[0-9][0-9a-z.]{0,8}\Z"))
def test_an_sdist_leads_back_to_its_project(text: str, version: str) -> None:
    """The project that a file was named after is among those that it can belong to."""
    filename = f"{text}-{version}.tar.gz"
    assert project(text) in list(projects_of(filename))
    assert version_of(filename, project(text)) == version


@given(st.text())
def test_projects_of_any_text_are_projects(filename: str) -> None:
    """Each of them is normal, and none comes twice."""
    found = list(projects_of(filename))
    assert all(is_normalized(name) for name in found)
    assert len(set(found)) == len(found)


@given(st.text())
def test_a_companion_and_its_file_make_the_name(name: str) -> None:
    """Splitting loses nothing."""
    assert "".join(split_companion(name)) == name
