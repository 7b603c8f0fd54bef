"""No file is too strange to be looked into."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from archives import Zipped, announced, tarred, zipped
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from upstream.artefacts import sdist, wheel

from devpi_server.errors import DevpiError, InvalidArtefact
from devpi_server.services import distnames
from devpi_server.services.artefact import Artefact, inspect
from devpi_server.store import decompress, tars, zips
from devpi_server.store.artefact import wheel_metadata

WHEEL = wheel("demo", "1.0", requires_python=">=3.8")
DEFLATED = zipped(*(Zipped(b"demo-1.0/%d" % at, b"x" * 50, deflated=True) for at in range(4)))
DESCRIBED = Zipped(b"a", b"data", deflated=True, flags=8, local={"crc": 0, "packed": 0, "size": 0})
PLAIN = b"".join(
    (
        tarred(b"demo-1.0/", kind=b"5"),
        announced(b"x", path=b"demo-1.0/PKG-INFO", mtime=b"1"),
        tarred(b"x", b"Name: demo\n"),
        tarred(b"L", b"demo-1.0/b\0", kind=b"L", magic=b"ustar  \0"),
        tarred(b"demo-1.0/a", kind=b"2", target=b"b"),
        tarred(b"demo-1.0/c", kind=b"1", target=b"demo-1.0/PKG-INFO"),
        bytes(1024),
    )
)
SEEDS = {
    WHEEL.filename: WHEEL.data,
    "demo-1.0.zip": DEFLATED,
    "demo-1.0-py2.7.egg": zipped(replace(DESCRIBED, behind=DESCRIBED.descriptor()), zip64=True),
    "demo-1.0.tar": PLAIN,
    "demo-1.0.tar.gz": gzip.compress(PLAIN, mtime=0),
    "demo-1.0.tar.bz2": bz2.compress(PLAIN),
    "demo-1.0.tar.xz": lzma.compress(PLAIN),
}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


def looked_into(filename: str, data: bytes) -> Artefact | None:
    """What it is, or None; never anything else."""
    found = None
    with tempfile.TemporaryFile() as file:  # its errors are others than those of a BytesIO
        file.write(data)
        for each in (io.BytesIO(data), file):
            each.seek(0)
            try:
                found = inspect(each, filename)
            except InvalidArtefact as error:
                check(error)
    return found


def check(error: DevpiError) -> None:
    """A refusal is one line."""
    assert isinstance(error, InvalidArtefact)
    assert error.message.isprintable()
    assert len(error.message) < 400


@pytest.mark.parametrize("filename", SEEDS)
def test_the_seeds_are_sound(filename: str) -> None:
    """Or else nothing would be shown by changing them."""
    assert looked_into(filename, SEEDS[filename])


@settings(deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=1500))
def test_any_bytes_are_an_artefact_or_refused(filename: str, data: bytes) -> None:
    """Alone, and in front of and behind what is sound."""
    for each in (data, data + SEEDS[filename], SEEDS[filename] + data):
        looked_into(filename, each)


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sound file with some bytes changed, taken out, doubled or put in."""
    filename = draw(st.sampled_from(sorted(SEEDS)))
    data = bytearray(SEEDS[filename])
    places = st.integers(0, len(data) - 1) | st.integers(max(0, len(data) - 200), len(data) - 1)
    for at in draw(st.lists(places, min_size=1, max_size=5)):
        how = draw(st.integers(0, 3))
        size = draw(st.integers(1, 40))
        if how == 0:
            data[at : at + 1] = draw(st.sampled_from([b"\0", b"\xff", b"\1", b"\x80"]))
        elif how == 1:
            del data[at : at + size]
        elif how == 2:
            data[at:at] = data[at : at + size]
        else:
            data[at:at] = draw(st.binary(max_size=40))
        if not data:
            break
    return filename, bytes(data)


@settings(max_examples=400, deadline=None)
@given(changed())
def test_a_changed_file_is_an_artefact_or_refused(case: tuple[str, bytes]) -> None:
    """Damage anywhere is no error; and what is taken, others read alike."""
    filename, data = case
    found = looked_into(filename, data)
    if found is None:
        return
    if filename.endswith(".whl"):
        assert found.metadata == wheel_metadata(io.BytesIO(data))
    if filename.endswith((".whl", ".zip", ".egg")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [info.filename for info in archive.infolist()]
        assert sorted(zips.members(io.BytesIO(data), script=True)) == sorted(
            name.rstrip("/") for name in names
        )


def leads_in_circles(path: Path) -> bool:
    """Whether it is a link that leads back to itself, of which ``realpath`` makes nonsense."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def fixed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _headers(data: bytes) -> Iterator[int]:
    """Where the headers are in ``PLAIN``."""
    return (at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar")


@settings(deadline=None)
@given(
    st.sampled_from(list(_headers(PLAIN))),
    st.lists(
        st.tuples(st.integers(0, 511), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4
    ),
)
def test_a_tar_header_with_a_right_checksum_is_read_as_tarfile_does(
    start: int, changes: list[tuple[int, bytes]]
) -> None:
    """What is taken has the files that Python's own reader sees, with the same content."""
    block = bytearray(PLAIN[start : start + 512])
    for at, value in changes:
        block[at : at + len(value)] = value[: 512 - at]
    data = PLAIN[:start] + fixed(block) + PLAIN[start + 512 :]
    try:
        ours = dict(tars.contents(iter([data]), lambda _: True, 10_000))
    except InvalidArtefact:
        return
    theirs = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
        for member in archive:
            if member.isreg():
                path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
                theirs[path] = archive.extractfile(member).read()  # type: ignore[union-attr]
    assert ours == theirs


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"2", b"1", b"5", b"0"]),
            st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4),
            st.lists(st.sampled_from(["a", "b", "c", ".", "..", ""]), min_size=1, max_size=5),
        ),
        min_size=1,
        max_size=7,
    )
)
@example([(b"2", ["a"], ["."]), (b"2", ["a", "a", "b"], ["..", ".."]), (b"0", ["b"], ["a"])])
@example([(b"2", ["a"], ["."]), (b"2", ["b"], ["a", "a", "..", ".."])])
@example([(b"2", ["a"], ["a", "", "a"])])
def test_what_is_taken_unpacks_to_inside(
    members: list[tuple[bytes, list[str], list[str]]],
) -> None:
    """S04: also with a reader that checks nothing; each link leads to inside then."""
    data = b"".join(
        tarred(
            "/".join(path).encode(),
            b"x" * (kind == b"0"),
            kind=kind,
            target="/".join(target).encode() * (kind in b"12"),
        )
        for kind, path, target in members
    )
    try:
        tars.contents(iter([data + bytes(1024)]), lambda _: False, 0)
    except InvalidArtefact:
        assume(False)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "a/b/c/d/e/f/root"
        root.mkdir(parents=True)
        with (
            suppress(OSError, KeyError, RecursionError),  # it cannot unpack everything
            tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive,
        ):
            archive.extractall(root, filter="fully_trusted")
        for where, folders, found in os.walk(folder):
            for name in folders + found:
                path = Path(where, name)
                assert root.is_relative_to(path) or root in path.parents
                if leads_in_circles(path):
                    continue
                assert path.is_relative_to(root) <= Path(os.path.realpath(path)).is_relative_to(
                    root
                )


@settings(deadline=None)
@given(st.sampled_from([None, "gzip", "bzip2", "xz"]), st.binary(max_size=300))
def test_any_bytes_unpack_or_are_refused(way: str | None, data: bytes) -> None:
    """Never another error."""
    magic = {"gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\0", "bzip2": b"BZh9", "xz": b"\xfd7zXZ\0\0\4"}
    for each in (data, magic.get(way or "", b"") + data):
        with suppress(InvalidArtefact):
            for piece in decompress.unpacked(io.BytesIO(each), way):
                assert piece


@settings(deadline=None)
@given(
    TEXTS | st.from_regex(r"[a-c_.-]{1,8}-[0-9a-z.+_!-]{1,12}", fullmatch=True),
    st.sampled_from(
        ["", ".whl", "-py3-none-any.whl", ".tar.gz", ".zip", ".egg", ".exe", ".deb", ".rpm", ".Z"]
    ),
)
def test_any_name_is_taken_apart_or_refused(stem: str, ending: str) -> None:
    """And each of its projects is in it."""
    filename = stem + ending
    try:
        name = distnames.parse(filename)
    except InvalidArtefact as error:
        check(error)
        return
    assert name.projects
    for project in name.projects:
        for version in name.versions(project):
            assert version in filename
            assert distnames.states(version, version)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_any_form_agrees_or_is_refused(name: str, version: str) -> None:
    """Whatever it declares."""
    made = sdist("demo", "1.0")
    try:
        found = inspect(io.BytesIO(made.data), made.filename, name=name, version=version)
    except DevpiError as error:
        check(error)
    else:
        assert found.project == "demo"


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_any_metadata_agrees_or_is_refused(name: str, version: str) -> None:
    """Whatever it says, the project and the version stay those of the file."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    data = zipped(
        Zipped(b"demo-1.0.dist-info/METADATA", metadata),
        Zipped(b"demo-1.0.dist-info/WHEEL"),
        Zipped(b"demo-1.0.dist-info/RECORD"),
    )
    found = looked_into(WHEEL.filename, data)
    if found is not None:
        assert found.project == "demo"
        assert distnames.states("1.0", found.version)
