"""Tar archives: sound are those that are safe to unpack, and complete."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest
from archives import END_OF_TAR, announced, tarred

from devpi_server.errors import InvalidArtefact
from devpi_server.store import archives, tars

NAME = b"demo-1.0/PKG-INFO"
INFO = b"Metadata-Version: 1.0\nName: demo\n"
GOOD = tarred(b"demo-1.0/demo.py", b"x" * 1000) + tarred(NAME, INFO)
GNU = b"ustar  \0"
V7 = bytes(8)


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return iter([data[at : at + size] for at in range(0, len(data), size)])


def found(data: bytes, *, piece: int = 4096, largest: int = 10_000) -> dict[str, bytes]:
    return dict(tars.contents(in_pieces(data, piece), lambda path: "PKG-INFO" in path, largest))


def refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidArtefact, match=reason) as caught:
        found(data + END_OF_TAR)
    assert caught.value.message.isprintable()


# What is sound


@pytest.mark.parametrize("piece", [1, 7, 511, 512, 513, 10_000])
def test_what_is_wanted_is_found_in_pieces_of_any_size(piece: int) -> None:
    """The stream comes as it comes."""
    assert found(GOOD + END_OF_TAR, piece=piece) == {NAME.decode(): INFO}


@pytest.mark.parametrize(
    "archive_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_what_python_writes_is_sound(archive_format: int) -> None:
    """In three formats, with long names and links and what lies deep."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=archive_format) as archive:
        folder = tarfile.TarInfo("demo-1.0")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name in ("PKG-INFO", "a/" * 40 + "PKG-INFO", "b" * 90, "ünïcode"):
            member = tarfile.TarInfo(f"demo-1.0/{name}")
            member.size = len(INFO)
            archive.addfile(member, io.BytesIO(INFO))
        for kind, target in (
            (tarfile.SYMTYPE, "a/a/" + "b" * 90),
            (tarfile.LNKTYPE, "demo-1.0/PKG-INFO"),
        ):
            link = tarfile.TarInfo(f"demo-1.0/link{kind.decode()}")
            link.type, link.linkname = kind, target
            archive.addfile(link)
    expected = {"demo-1.0/PKG-INFO": INFO, "demo-1.0/" + "a/" * 40 + "PKG-INFO": INFO}
    assert found(buffer.getvalue()) == expected


@pytest.mark.parametrize("magic", [b"ustar\x0000", GNU, V7])
def test_the_formats_of_all_times_are_read(magic: bytes) -> None:
    """POSIX, GNU, and what was before."""
    assert found(tarred(NAME, INFO, magic=magic) + END_OF_TAR) == {NAME.decode(): INFO}


@pytest.mark.parametrize("kind", [b"0", b"\0", b"7"])
def test_a_file_is_a_file(kind: bytes) -> None:
    """Of the three kinds."""
    assert found(tarred(NAME, INFO, kind=kind) + END_OF_TAR) == {NAME.decode(): INFO}


@pytest.mark.parametrize("name", [b"./demo-1.0/PKG-INFO", b".//demo-1.0/./PKG-INFO"])
def test_a_name_may_begin_here(name: bytes) -> None:
    """As "tar c ." writes it."""
    assert found(tarred(b"./", kind=b"5") + tarred(name, INFO)) == {NAME.decode(): INFO}


def test_a_prefix_is_a_part_of_the_name() -> None:
    """POSIX: for names of more than 100 bytes."""
    assert found(tarred(b"PKG-INFO", INFO, prefix=b"demo-1.0")) == {NAME.decode(): INFO}


@pytest.mark.parametrize(
    "before",
    [
        tarred(b"././@LongLink", NAME + b"\0", kind=b"L", magic=GNU),
        announced(b"x", path=NAME, mtime=b"1.5", comment=b"a=b\nc"),
        announced(b"X", path=NAME),
        announced(b"g", comment=b"0123456789") + announced(b"x", path=NAME),
        announced(b"x", path=NAME, size=b"%d" % len(INFO)),
    ],
)
def test_a_name_may_be_announced(before: bytes) -> None:
    """By GNU, POSIX, Solaris and git."""
    assert found(before + tarred(b"x", INFO)) == {NAME.decode(): INFO}


def test_an_announced_name_is_for_one_member() -> None:
    """The next has its own."""
    data = announced(b"x", path=NAME) + tarred(b"x", INFO) + tarred(b"y", b"other")
    assert found(data) == {NAME.decode(): INFO}


@pytest.mark.parametrize(
    "size", [b"%12o" % len(INFO), b"%o \0" % len(INFO), b"\x80" + len(INFO).to_bytes(11, "big")]
)
def test_numbers_are_written_in_many_ways(size: bytes) -> None:
    """With spaces or zeros, ended or not, and as bytes."""
    assert found(tarred(NAME, INFO, size=size.ljust(12, b"\0"))) == {NAME.decode(): INFO}


def test_a_checksum_may_be_of_signed_bytes() -> None:
    """As some wrote it."""
    name = "demo-1.0/é/PKG-INFO".encode()
    assert list(found(tarred(name, INFO, signed=True))) == [name.decode()]


@pytest.mark.parametrize("end", [b"", bytes(512), END_OF_TAR, bytes(10240)])
def test_the_end_may_be_marked_or_not(end: bytes) -> None:
    """Whole records of zeros, as for tapes, or nothing."""
    assert found(GOOD + end) == {NAME.decode(): INFO}


def test_a_file_may_be_there_twice() -> None:
    """Old tools listed some files twice; both are the same."""
    assert found(tarred(NAME, INFO) * 2) == {NAME.decode(): INFO}


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"a/link", b"b"),
        (b"a/link", b"../b"),
        (b"a/b/link", b"../../c/d"),
        (b"link", b"a/b"),
        (b"a/link", b"./b"),
        (b"link", b"."),
    ],
)
def test_a_link_may_lead_to_what_is_inside(path: bytes, target: bytes) -> None:
    """Sdists have them."""
    assert found(tarred(path, kind=b"2", target=target)) == {}


def test_a_hard_link_may_lead_to_what_is_inside() -> None:
    """Its target counts from the top."""
    assert found(tarred(b"a", b"x") + tarred(b"b/c", kind=b"1", target=b"a")) == {}


# What is not safe


@pytest.mark.parametrize(
    "name",
    [
        b"../evil", b"a/../../evil", b"a/..", b"..", b"/evil", b"//evil", b"\\evil", b"..\\evil",
        b"a\\..\\..\\evil", b"C:evil", b"c:/evil",
    ],
)  # fmt: skip
def test_a_name_that_leads_outside_is_refused(name: bytes) -> None:
    """S01: on any system, however it is given."""
    refused(tarred(name), "outside")
    refused(announced(b"x", path=name) + tarred(b"good"), "outside")
    refused(tarred(b"L", name + b"\0", kind=b"L", magic=GNU) + tarred(b"good"), "outside")
    refused(tarred(b"good", kind=b"1", target=name), "outside")


def test_a_name_with_nul_is_refused() -> None:
    """POSIX announces names of any bytes."""
    refused(announced(b"x", path=b"a\0b") + tarred(b"good"), "outside")


@pytest.mark.parametrize("name", [b"", b".", b"./."])
def test_a_file_without_a_name_is_refused(name: bytes) -> None:
    """It would be the folder itself."""
    refused(tarred(name, b"x"), "without a name")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"link", b".."),
        (b"link", b"../evil"),
        (b"a/link", b"../../evil"),
        (b"a/link", b".././../evil"),
        (b"link", b"/etc/passwd"),
        (b"link", b"\\evil"),
        (b"a/link", b"..\\..\\evil"),
        (b"link", b"C:\\evil"),
        (b"link", b"a/../../evil"),
        (b"d/d/link", b"d/d/../../.."),
    ],
)
def test_a_link_that_leads_outside_is_refused(path: bytes, target: bytes) -> None:
    """S04: and one that may, once other links are followed."""
    refused(tarred(path, kind=b"2", target=target), "leads outside")
    long = announced(b"x", linkpath=target) + tarred(path, kind=b"2", target=b"good")
    refused(long, "leads outside")


@pytest.mark.parametrize(
    "second",
    [
        tarred(b"a/link/evil"),
        tarred(b"./a//link/evil"),
        tarred(b"a/link"),
        tarred(b"a/link/evil", kind=b"5"),
        tarred(b"a/link/evil", kind=b"2", target=b"../.."),
    ],
)
def test_nothing_goes_through_a_link(second: bytes) -> None:
    """S04: that is how two harmless members do harm."""
    refused(tarred(b"a/link", kind=b"2", target=b"..") + second, "behind a link")


@pytest.mark.parametrize("target", [b"absent", b"evil", b"", b".", b"a", b"a/link", b"a/link/b"])
def test_a_hard_link_to_what_is_not_there_is_refused(target: bytes) -> None:
    """S04: it has to be a file that came before, by its own name."""
    before = tarred(b"b") + tarred(b"a", kind=b"5") + tarred(b"a/link", kind=b"2", target=b"..")
    refused(before + tarred(b"evil", kind=b"1", target=target), "not there")


@pytest.mark.parametrize("kind", [b"3", b"4", b"6", b"S", b"M", b"V", b"D", b"N", b"A", b"\xff"])
def test_devices_and_other_strange_things_are_refused(kind: bytes) -> None:
    """P01: and members with holes, which are large and cost nothing."""
    refused(tarred(b"evil", kind=kind), "no file")


@pytest.mark.parametrize("key", ["GNU_sparse_major", "GNU_sparse_map", "GNU_sparse_realsize"])
def test_holes_are_refused_however_they_are_announced(key: str) -> None:
    """P01: by POSIX too."""
    refused(announced(b"x", **{key: b"1"}) + tarred(b"evil"), "sparse")


# What readers would see differently


@pytest.mark.parametrize("kind", [b"1", b"2", b"5"])
def test_only_files_have_content(kind: bytes) -> None:
    """P02: for some readers the next header is there, for others behind it."""
    hidden = tarred(b"evil")
    refused(tarred(b"a", hidden, kind=kind, target=b"b"), "content in what is no file")
    refused(tarred(b"a/", hidden), "content in what is no file")


@pytest.mark.parametrize(
    "before",
    [
        announced(b"x", path=b"a") + announced(b"x", path=b"b"),
        announced(b"x", path=b"a") + tarred(b"L", b"b\0", kind=b"L", magic=GNU),
        tarred(b"L", b"a\0", kind=b"L", magic=GNU) * 2,
        announced(b"g", path=b"a"),
        announced(b"g", size=b"0"),
        announced(b"g", linkpath=b"a"),
    ],
)
def test_a_member_with_two_names_is_refused(before: bytes) -> None:
    """P02: which counts depends on the reader; so does what is said for all."""
    refused(before + tarred(b"x"), "two names")


def test_two_files_of_one_name_that_differ_are_refused() -> None:
    """P03: where it is the one that says what the archive is."""
    refused(tarred(NAME, INFO) + tarred(NAME, INFO + b"Version: 2\n"), "two members")


@pytest.mark.parametrize("magic", [GNU, V7])
def test_a_prefix_in_a_format_without_is_refused(magic: bytes) -> None:
    """P02: some take it for a part of the name, some do not."""
    refused(tarred(b"a", prefix=b"b", magic=magic), "not read alike")


@pytest.mark.parametrize("size", [b"-1", b"1e3", b"1" * 20, b"", b"\xd9\xa1"])
def test_an_announced_size_is_a_number(size: bytes) -> None:
    """P02: of decimal digits."""
    refused(announced(b"x", size=size) + tarred(b"x"), "damaged header")


@pytest.mark.parametrize(
    "data",
    [
        b"5 a=b\n", b"7 a=b\n", b"0 a=b\n", b"06 a=b\n", b"6 a=bc", b"-6 a=b\n", b"a=b\n",
        b"6 =bc\n",        b"6 ab\n", b"99999999 a=b\n", b"6 a=b\n\0", b"3 a=b\n", b"\xff",
    ],
)  # fmt: skip
def test_a_damaged_announcement_is_refused(data: bytes) -> None:
    """POSIX: length, space, key, equals, value, newline."""
    refused(tarred(b"x", data, kind=b"x") + tarred(b"a"), "damaged header")


def test_an_announcement_without_a_member_is_refused() -> None:
    """The archive is cut off, or has data behind its end."""
    refused(announced(b"x", path=b"a"), "behind its end")


@pytest.mark.parametrize("end", [bytes(512), END_OF_TAR])
def test_data_behind_the_end_is_refused(end: bytes) -> None:
    """P02: some readers go on."""
    for back in (tarred(b"evil"), b"\0" * 100_000 + b"x"):
        with pytest.raises(InvalidArtefact, match="behind its end"):
            found(GOOD + end + back)


# Damage, and limits


@pytest.mark.parametrize("kept", [1, 100, 511, 513, 1000, 1535, 1537, 2047, 2049, 2500])
def test_an_archive_that_is_cut_off_is_refused(kept: int) -> None:
    """Within a header or within content."""
    with pytest.raises(InvalidArtefact, match="cut off"):
        found(GOOD[:kept])


@pytest.mark.parametrize("field", [(100, b"rw-r--r--"), (108, b"8"), (136, b"1.5"), (329, b"\x81")])
def test_a_header_whose_numbers_are_none_is_refused(field: tuple[int, bytes]) -> None:
    """P02: for Python's reader the archive ends there."""
    block = bytearray(tarred(b"a"))
    block[field[0] : field[0] + len(field[1])] = field[1]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    refused(GOOD + bytes(block), "damaged")


@pytest.mark.parametrize("at", [0, 50, 124, 130, 148, 156, 300])
def test_a_damaged_header_is_refused(at: int) -> None:
    """It is no end, either."""
    for start in (0, 1536):
        data = bytearray(GOOD)
        data[start + at] ^= 0x40
        with pytest.raises(InvalidArtefact, match="damaged"):
            found(bytes(data))


@pytest.mark.parametrize("data", [b"", bytes(10240)])
def test_an_archive_with_nothing_in_it_is_refused(data: bytes) -> None:
    """Nobody could install it."""
    with pytest.raises(InvalidArtefact, match="empty"):
        found(data)


def test_what_is_wanted_has_a_largest_size_together() -> None:
    """At the limit it is read."""
    data = tarred(NAME, b"x" * 60) + tarred(b"b/PKG-INFO", b"x" * 40)
    assert len(found(data, largest=100)) == 2
    with pytest.raises(InvalidArtefact, match="too large"):
        found(data, largest=99)


def test_a_size_that_is_claimed_takes_no_memory() -> None:
    """P01: it is cut off then, or too large."""
    size = b"\x80" + (2**60).to_bytes(11, "big")
    refused(tarred(b"a", size=size), "cut off")
    refused(tarred(NAME, size=size), "too large")
    refused(tarred(b"L", kind=b"L", size=size), "too large")
    refused(tarred(b"x", kind=b"x", size=size), "too large")


def test_headers_have_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """P01: each, and all together."""
    long = tarred(b"L", b"x" * 65_537, kind=b"L", magic=GNU)
    refused(long + tarred(b"a"), "too large headers")
    monkeypatch.setattr(tars, "_LARGEST_HEADERS", 51)
    small = announced(b"x", comment=b"c" * 5) + tarred(b"a")
    assert found(small * 3) == {}
    refused(small * 4, "too large headers")


def test_more_members_than_anybody_needs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """P01: at the limit they are taken."""
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    assert found(tarred(b"a") * 3) == {}
    refused(tarred(b"a") * 4, "more than 3 members")
