"""Laws of dumps that hold for any content, and for any damage."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dumping import CONTENT, index, release, tox_result, user, write
from hypothesis import given, settings
from hypothesis import strategies as st

from devpi_server.errors import BadDump
from devpi_server.services.dump.below import parts_of
from devpi_server.services.dump.order import bases_first
from devpi_server.services.dump.read import open_dump
from devpi_server.services.dump.scan import Cursor, decode

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
layouts = st.sampled_from([{}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}])
WHOLE = {
    "users": {"alice": user(email="a@b")},
    "indexes": {
        "alice/dev": index(
            release(),
            tox_result(),
            release(type="doczip", relpath="alice/dev/demo-1.0.doc.zip"),
            projects={"demo": {"1.0": {"name": "demo", "version": "1.0"}}, "other": {"2": {}}},
        )
    },
    "dumpversion": "2",
}


@given(values, layouts, st.booleans())
def test_a_cursor_finds_every_value(value: Any, layout: Any, ascii_only: bool) -> None:
    """What a cursor walks over and decodes is what a parser of the whole finds."""
    text = json.dumps(value, ensure_ascii=ascii_only, **layout).encode()
    cursor = Cursor(text)
    assert walked(cursor, text, value) == value
    cursor.end()


def walked(cursor: Cursor, text: bytes, value: Any) -> Any:
    """The value, put together from what the cursor stops at."""
    assert cursor.is_object() == isinstance(value, dict)
    if isinstance(value, dict):
        return {name: walked(cursor, text, value[name]) for name in cursor.members()}
    if isinstance(value, list):
        each = iter(value)
        return [walked(cursor, text, next(each)) for _ in cursor.elements()]
    return decode(text, cursor.skip())


@given(values)
def test_what_is_not_taken_is_passed_over(value: Any) -> None:
    """A consumer that only wants the names gets the names, whatever the values."""
    members = {"a": value, "b": [value], "": value}
    assert list(Cursor(json.dumps(members).encode()).members()) == list(members)
    elements = [value, members, value]
    assert len(list(Cursor(json.dumps(elements).encode()).elements())) == len(elements)


names = st.sampled_from("abcdefg")


@given(st.dictionaries(names, st.lists(names, max_size=5)), st.sets(names))
def test_bases_are_always_there_first(bases: dict[str, Sequence[str]], known: set[str]) -> None:
    """Whatever builds on whatever: an order without circles; what is left out, is told."""
    told: list[str] = []
    ordered = bases_first(bases, known, told.append)

    assert set(ordered) == set(bases)
    done: set[str] = set()
    for name, kept in ordered.items():
        assert all(base in done or (base in known and base not in bases) for base in kept)
        assert list(kept) == [base for base in dict.fromkeys(bases[name]) if base in kept]
        done.add(name)
    left_out = sum(len(set(bases[name])) - len(kept) for name, kept in ordered.items())
    assert len(told) == left_out


@given(st.text(st.sampled_from("ab./\\\0~ "), max_size=12) | st.text(max_size=8))
def test_no_path_leads_out(relpath: str) -> None:
    """A path is refused, or what it names lies below the folder."""
    try:
        parts = parts_of(relpath)
    except BadDump:
        return
    root = Path("/dump")
    assert root in root.joinpath(*parts).parents
    assert ".." not in parts


def damaged(value: Any, where: random.Random, instead: Any) -> Any:
    """The value, with another one put somewhere in it, or with something gone."""
    if not isinstance(value, dict | list) or not value or where.random() < 0.2:
        return instead
    copied = value.copy()
    key = where.choice(list(value)) if isinstance(value, dict) else where.randrange(len(value))
    if where.random() < 0.15:
        del copied[key]
    else:
        copied[key] = damaged(value[key], where, instead)
    return copied


@settings(deadline=None)
@given(st.randoms(use_true_random=False), values)
def test_a_damaged_dump_is_read_or_refused(where: random.Random, instead: Any) -> None:
    """A dump with nonsense in it raises ``BadDump``, or gives only its own files."""
    content = damaged(WHOLE, where, instead)
    read_or_refused(json.dumps(content, ensure_ascii=False).encode(errors="surrogatepass"))


@settings(deadline=None)
@given(st.data())
def test_a_cut_or_changed_text_is_read_or_refused(data: st.DataObject) -> None:
    """The same for a text of which some bytes are gone or are others."""
    text = json.dumps(WHOLE).encode()
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    instead = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"]", b"\\", b"}}"]))
    read_or_refused(text[:start] + instead + text[start + length :])


def read_or_refused(text: bytes) -> None:
    with TemporaryDirectory() as outer:
        folder = Path(outer, "dump")
        write(folder, WHOLE["indexes"])  # type: ignore[arg-type]
        Path(outer, "secret").write_bytes(b"secret")
        (folder / "dataindex.json").write_bytes(text)
        try:
            dump = open_dump(folder)
            survey = dump.survey()
        except BadDump:
            return
        assert all(fault.isprintable() for fault in (*survey.faults, *dump.warnings))
        if survey.faults:
            return
        for each in dump.indexes:
            assert all(release.version for release in dump.releases(each.full_name))
            for file in dump.files(each.full_name):
                try:
                    assert b"".join(dump.blocks(file)) == CONTENT
                except BadDump:
                    assert file.digests
