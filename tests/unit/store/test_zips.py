"""Zip archives: sound are those in which all readers see the same."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from dataclasses import replace

import pytest
from archives import LOCAL, Zipped, deflated, zipped

from devpi_server.errors import InvalidArtefact
from devpi_server.store import ziprecords, zips
from devpi_server.store.archives import DEEPEST, LONGEST_NAME, MOST_MEMBERS

MB = 2**20
ONE = Zipped(b"demo.py", b"one")
TWO = Zipped(b"demo/two.py", b"two " * 100, deflated=True)
DESCRIBED = 0x0008
UTF8 = 0x0800
WIDE = 0xFFFFFFFF
NOTHING_YET = {"crc": 0, "packed": 0, "size": 0}


def paths(data: bytes, *, script: bool = False) -> list[str]:
    return list(zips.members(io.BytesIO(data), script=script))


def content(data: bytes, path: str, largest: int = MB) -> bytes:
    file = io.BytesIO(data)
    return zips.content(file, zips.members(file)[path], largest)


def refused(data: bytes, reason: str, *, script: bool = False) -> None:
    with pytest.raises(InvalidArtefact, match=reason) as caught:
        zips.members(io.BytesIO(data), script=script)
    assert caught.value.message.isprintable()


def zip64(*numbers: int) -> bytes:
    return struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


def unicode_path(raw: bytes, name: str, crc: int | None = None) -> bytes:
    data = struct.pack("<BL", 1, zlib.crc32(raw) if crc is None else crc) + name.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data


class Pipe(io.BytesIO):
    """What cannot be sought: writers put sizes behind the data."""

    def seekable(self) -> bool:
        return False

    def seek(self, *args: int) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


# What is sound


def test_members_are_found_by_their_paths() -> None:
    """Folders too, without their last slash."""
    assert paths(zipped(ONE, Zipped(b"demo/"), TWO)) == ["demo.py", "demo", "demo/two.py"]


def test_the_content_is_what_was_put_in() -> None:
    """Stored or deflated."""
    data = zipped(ONE, TWO)
    assert content(data, "demo.py") == ONE.data
    assert content(data, "demo/two.py") == TWO.data


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3 * 256 * 1024])
def test_content_of_any_size_is_unpacked(size: int) -> None:
    """Whether or not it ends where a piece does."""
    data = zipped(Zipped(b"a", b"x" * size, deflated=True))
    assert content(data, "a") == b"x" * size


@pytest.mark.parametrize("file", [io.BytesIO, Pipe])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("wide", [False, True])
def test_what_python_writes_is_sound(
    file: type[io.BytesIO], compression: int, *, wide: bool
) -> None:
    """To a file or into a pipe, small or with room for the large."""
    target = file()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name in ("a", "b/c", "b/é"):
            with archive.open(name, "w", force_zip64=wide) as member:
                member.write(b"content " * 50)
        archive.comment = b"a comment"
    assert paths(target.getvalue()) == ["a", "b/c", "b/é"]
    assert content(target.getvalue(), "b/c") == b"content " * 50


@pytest.mark.parametrize("layout", ["<LLL", "<LQQ"])
@pytest.mark.parametrize("signature", [b"PK\x07\x08", b""])
def test_sizes_may_follow_the_data(layout: str, signature: bytes) -> None:
    """In all four forms."""
    described = Zipped(b"a", b"data", deflated=True, flags=DESCRIBED, local=NOTHING_YET)
    described = replace(described, behind=described.descriptor(layout, signature))
    assert paths(zipped(described, ONE)) == ["a", "demo.py"]


def test_numbers_may_be_in_the_extra_field() -> None:
    """Zip64, in the directory, in the header, or there without need."""
    there = Zipped(
        b"a", b"data", extra=zip64(4, 4), local={"size": WIDE, "packed": WIDE},
        central={"size": WIDE, "packed": WIDE},
    )  # fmt: skip
    idle = Zipped(b"b", b"data", local_extra=zip64(0, 0))
    assert paths(zipped(there, idle)) == ["a", "b"]


def test_the_end_may_be_that_of_zip64() -> None:
    """With the small end stating the same, or that it does not fit."""
    assert paths(zipped(ONE, zip64=True)) == ["demo.py"]
    full = {"count": 0xFFFF, "size": WIDE, "start": WIDE}
    assert paths(zipped(ONE, zip64=True, end=full)) == ["demo.py"]


def test_members_may_be_listed_in_another_order() -> None:
    """The directory is sorted by some tools."""
    first, second = Zipped(b"a", b"1"), Zipped(b"b", b"22")
    at = LOCAL.size + 2
    swapped = zipped(
        replace(first, central={"offset": 0}),
        replace(second, central={"offset": at}),
    )
    record = zipfile.ZipFile(io.BytesIO(swapped)).start_dir
    half = (len(swapped) - 22 - record) // 2
    directory = swapped[record : record + 2 * half]
    data = swapped[:record] + directory[half:] + directory[:half] + swapped[-22:]
    assert paths(data) == ["b", "a"]


def test_a_name_may_be_spelled_in_unicode_beside() -> None:
    """Info-ZIP does so for what is beyond ASCII."""
    raw = "é".encode("latin-1")
    assert paths(zipped(Zipped(raw, extra=unicode_path(raw, "é")))) == ["é"]


def test_an_old_egg_may_begin_with_a_script() -> None:
    """So that it can be run; nothing else may, and no other archive."""
    data = zipped(ONE, front=b"#!/bin/sh\nexec python -c ...\n")
    assert paths(data, script=True) == ["demo.py"]
    refused(data, "data in front")
    refused(zipped(ONE, front=b"MZ"), "data in front", script=True)


# P02: what readers would see differently


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"a", b"a"),
        (b"a", b"a/"),
        (b"a/b", b"a//b"),
        (b"a/b", b"./a/b"),
        (b"a/b", b"a/./b"),
    ],
)
def test_two_members_of_one_name_are_refused(one: bytes, other: bytes) -> None:
    """The first counts for some, the last for others."""
    refused(zipped(Zipped(one), Zipped(other)), "two members")


@pytest.mark.parametrize(
    "differs",
    [
        {"local_name": b"dem0.py"},
        {"local_name": b"demo.py\0"},
        {"local": {"size": 2}},
        {"local": {"packed": 2}},
        {"local": {"crc": 1}},
        {"local": {"method": 8}},
        {"local": NOTHING_YET},
        {"local": {"size": WIDE, "packed": WIDE}},
        {"local_extra": zip64(3, 9)},
        {"local_extra": zip64(9, 3)},
        {"local": {"size": WIDE, "packed": WIDE}, "local_extra": zip64(3, 2)},
        {"local": {"size": WIDE, "packed": WIDE}, "local_extra": zip64(0, 0)},
        {"local": {"size": 9}, "local_extra": zip64(3, 3)},
        {"central": {"offset": 1}},
    ],
)
def test_a_header_that_differs_from_the_directory_is_refused(differs: dict[str, object]) -> None:
    """One reader believes the one, another the other."""
    member = Zipped(b"demo.py", b"one", **differs)  # type: ignore[arg-type]
    refused(zipped(member), "different things|not a zip|impossible")


def test_a_name_in_two_encodings_is_refused() -> None:
    """The header says UTF-8, the directory does not."""
    name = "é".encode()
    refused(zipped(Zipped(name, local={"flags": UTF8})), "different things")


def test_a_name_with_another_beside_it_is_refused() -> None:
    """Readers that know the extra field see the other."""
    raw = b"demo.py"
    refused(zipped(Zipped(raw, extra=unicode_path(raw, "evil.py"))), "two names")
    refused(zipped(Zipped(raw, local_extra=unicode_path(raw, "evil.py"))), "two names")
    accented = b"d\x82mo.py"
    refused(zipped(Zipped(accented, extra=unicode_path(accented, "evil.py", crc=1))), "two names")
    other = unicode_path(accented, "evil.py")
    refused(zipped(Zipped(accented, local_extra=other)), "different things")


def test_a_member_that_the_directory_leaves_out_is_refused() -> None:
    """Who reads from the front would unpack it."""
    hidden = zipped(Zipped(b"evil.py", b"evil"))
    hidden = hidden[: hidden.index(b"PK\x01\x02")]
    refused(zipped(ONE, gap=hidden), "something behind")
    refused(zipped(ONE, front=hidden), "data in front")
    refused(zipped(Zipped(b"a", behind=hidden), ONE), "something behind")


def test_members_that_overlap_are_refused() -> None:
    """P01: the same data for many members is how the flattest bombs are built."""
    inner = zipped(Zipped(b"b", b"inner"))
    inner = inner[: inner.index(b"PK\x01\x02")]
    outer = Zipped(b"a", inner)
    second = Zipped(b"b", b"inner", central={"offset": LOCAL.size + 1})
    data = zipped(outer, second)
    cut = data.rindex(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    start = cut[0]
    directory = zipfile.ZipFile(io.BytesIO(data)).start_dir
    size = len(data) - 22 - directory
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, size, start, 0)
    refused(data[:start] + data[directory:-22] + end, "something behind")


def test_what_follows_the_data_must_be_right() -> None:
    """P02: a descriptor with other numbers, none, or a fifth form."""
    member = Zipped(b"a", b"data", deflated=True, flags=DESCRIBED, local=NOTHING_YET)
    wrong = Zipped(b"a", b"dato", deflated=True)
    for behind in (b"", b"PK\x07\x08", wrong.descriptor(), bytes(12), member.descriptor() + b"\0"):
        refused(zipped(replace(member, behind=behind)), "something behind")


def test_data_that_ends_before_its_end_is_refused() -> None:
    """P02: who finds the end by unpacking goes on with what is hidden behind."""
    data = b"harmless"
    hidden = zipped(Zipped(b"evil.py", b"evil"))
    early = deflated(data) + Zipped(b"a", data, deflated=True).descriptor() + hidden
    member = Zipped(b"a", data, packed=early, deflated=True, flags=DESCRIBED, local=NOTHING_YET)
    behind = member.descriptor()
    refused(zipped(replace(member, behind=behind)), "damaged")


@pytest.mark.parametrize("back", [b"\0", b"\n", b"evil", zipped(TWO)[:-1]])
def test_data_behind_the_end_is_refused(back: bytes) -> None:
    """P02: the end is the end."""
    refused(zipped(ONE, back=back), "behind its end|cut off")


def test_two_archives_in_one_file_are_refused() -> None:
    """P02: from the front the first counts, from the end the second."""
    refused(zipped(ONE) + zipped(TWO), "not where its end says|data in front")
    inside = zipped(ONE)
    refused(zipped(TWO, front=inside), "data in front")
    refused(zipped(ONE, comment=zipped(TWO)), "not where its end says")
    refused(zipped(ONE, comment=zipped(TWO) + b"x"), "behind its end")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"count": 1}, "more than it says"),
        ({"count": 3}, "damaged directory"),
        ({"here": 1}, "several parts"),
        ({"disk": 1}, "several parts"),
        ({"size": 0}, "not where"),
        ({"start": 0}, "not where"),
        ({"comment": 5}, "behind its end"),
        ({"count": 0xFFFF, "size": WIDE, "start": WIDE}, "too large"),
    ],
)
def test_an_end_that_is_wrong_is_refused(end: dict[str, int], reason: str) -> None:
    """P02: readers search the directory in different ways then."""
    refused(zipped(ONE, TWO, end=end), reason)


def test_a_wrong_end_of_zip64_is_refused() -> None:
    """P02: some go by the locator, some take what is in front of it."""
    refused(zipped(ONE, zip64=True, end={"end64": 0}), "zip64")
    refused(zipped(ONE, zip64=True, end={"count": 2}), "two ends")
    refused(zipped(ONE, zip64=True, end={"start": 1}), "two ends")
    good = zipped(ONE, zip64=True)
    refused(good.replace(b"PK\x06\x06", b"PK\x06\x05"), "zip64")
    longer = good.replace(
        struct.pack("<4sQ", b"PK\x06\x06", 44), struct.pack("<4sQ", b"PK\x06\x06", 45)
    )
    refused(longer, "zip64")
    refused(good.replace(b"PK\x06\x07\0", b"PK\x06\x07\1"), "zip64")


@pytest.mark.parametrize("extra", [b"\1\0\xff\0", zip64(3) + zip64(3), b"\x75\x70\4\0abc"])
def test_a_damaged_extra_field_is_refused(extra: bytes) -> None:
    """P02: it may hold numbers or a name."""
    refused(zipped(Zipped(b"a", b"abc", extra=extra)), "extra field")


@pytest.mark.parametrize("extra", [b"\0", b"\0\0\0", b"\1\0\0\0", b"UT\5\0\3abcd"])
def test_other_extra_fields_are_as_good_as_none(extra: bytes) -> None:
    """Times, owners, padding."""
    assert paths(zipped(Zipped(b"a", b"abc", extra=extra))) == ["a"]


# P02 and P05: what not everybody can unpack


@pytest.mark.parametrize("method", [1, 6, 9, 12, 14, 93, 99])
def test_other_methods_are_refused(method: int) -> None:
    """Only two are spoken by every installer."""
    numbers = {"method": method}
    refused(zipped(Zipped(b"a", b"abc", local=numbers, central=numbers)), "not every installer")


@pytest.mark.parametrize("flag", [0x0001, 0x0040, 0x2000])
def test_what_is_encrypted_is_refused(flag: int) -> None:
    """No installer has a password; either header may say it."""
    refused(zipped(Zipped(b"a", flags=flag)), "encrypted")
    refused(zipped(Zipped(b"a", local={"flags": flag})), "encrypted")
    refused(zipped(Zipped(b"a", central={"flags": flag})), "encrypted")


def test_stored_data_is_as_long_as_it_is() -> None:
    """P02: unpacked and packed size cannot differ there."""
    numbers = {"size": 9}
    refused(zipped(Zipped(b"a", b"abc", local=numbers, central=numbers)), "damaged")


@pytest.mark.parametrize(
    "name",
    [
        b"../evil", b"a/../../evil", b"a/..", b"..", b"/evil", b"//evil", b"\\evil", b"a\\evil",
        b"..\\evil", b"C:evil", b"c:/evil", b"C:\\evil", b"a\0", b"\0", b"a\nb", b"a\x1bb",
        b"a\x7f", b"", b".", b"./", b"/",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(name: bytes) -> None:
    """S01: outside, on any system, or nowhere."""
    refused(zipped(Zipped(name)), "outside|impossible")


def test_a_name_that_is_not_what_its_flag_says_is_refused() -> None:
    """UTF-8 that is none."""
    refused(zipped(Zipped(b"\xff", flags=UTF8)), "not the UTF-8")
    refused(zipped(Zipped(b"\x81", extra=b"\x75\x70\6\0\1\0\0\0\0\xff")), "not the UTF-8")


def test_names_have_a_length_and_a_depth() -> None:
    """At the limit they are taken, beyond not."""
    for name, limit in ((b"x", LONGEST_NAME), (b"/a", DEEPEST)):
        good = b"a" * (name != b"x") + name * limit
        assert len(paths(zipped(Zipped(good)))) == 1
        refused(zipped(Zipped(good + name)), "too long")


def test_a_folder_has_no_content() -> None:
    """Where data would be hidden from who unpacks."""
    refused(zipped(Zipped(b"a/", b"evil")), "folder")


# P01: archives that are made to fill disks


def test_what_unpacks_to_too_much_is_refused() -> None:
    """By what it says of itself; unpacking stops there anyway."""
    for size in (300 * MB, 2**40):
        numbers = {"size": size}
        bomb = Zipped(b"a", deflated=True, local=numbers, central=numbers)
        if size > WIDE:
            wide = {"size": WIDE, "packed": WIDE}
            bomb = Zipped(b"a", deflated=True, extra=zip64(size, 2), local=wide, central=wide)
        refused(zipped(bomb), "more than is reasonable")


def test_many_that_together_are_too_much_are_refused() -> None:
    """What counts is the sum."""
    numbers = {"size": 3 * MB}
    many = [Zipped(b"%d" % at, deflated=True, local=numbers, central=numbers) for at in range(100)]
    refused(zipped(*many), "more than is reasonable")


def test_what_is_much_smaller_packed_is_taken_up_to_a_size() -> None:
    """Zeros are no crime."""
    numbers = {"size": 200 * MB}
    assert paths(zipped(Zipped(b"a", deflated=True, local=numbers, central=numbers))) == ["a"]


def test_more_members_than_anybody_needs_are_refused() -> None:
    """Before the directory is read."""
    refused(zipped(ONE, zip64=False, end={"count": 0xFFFF}), "damaged directory")
    data = bytearray(zipped(ONE, zip64=True, end={"count": 0xFFFF, "here": 0xFFFF}))
    at = data.index(b"PK\x06\x06")
    struct.pack_into("<QQ", data, at + 24, MOST_MEMBERS + 1, MOST_MEMBERS + 1)
    refused(bytes(data), "more than 150000")


def test_unpacking_stops_where_it_was_said_to_end() -> None:
    """A member that is larger than it says, and one that is smaller."""
    for size, data in ((10, b"\0" * 50 * MB), (MB, b"abc")):
        member = Zipped(b"a", data, deflated=True, local={"size": size}, central={"size": size})
        archive = zipped(member)
        tracemalloc.start()
        try:
            with pytest.raises(InvalidArtefact, match="damaged"):
                content(archive, "a")
            assert tracemalloc.get_traced_memory()[1] < 5 * MB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "packed", [b"", b"\xff\xff", deflated(b"abd"), deflated(b"abc")[:-1], deflated(b"abc") + b"\0"]
)
def test_damaged_content_is_refused(packed: bytes) -> None:
    """Whatever the damage."""
    with pytest.raises(InvalidArtefact, match="damaged"):
        content(zipped(Zipped(b"a", b"abc", deflated=True, packed=packed)), "a")


def test_content_has_a_largest_size() -> None:
    """At the limit it is read."""
    data = zipped(ONE)
    assert content(data, "demo.py", largest=3) == b"one"
    with pytest.raises(InvalidArtefact, match="too large"):
        content(data, "demo.py", largest=2)


# What is no zip archive


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"PK\x05\x06", b"\0" * 1000, b"<html></html>", zipped(ONE)[:-1], zipped(ONE)[1:]],
)
def test_what_is_no_zip_archive_is_refused(data: bytes) -> None:
    """P05."""
    refused(data, "not a zip file|not where|behind its end")


def test_an_archive_with_nothing_in_it_is_refused() -> None:
    """Nobody could install it."""
    refused(zipped(), "empty")


@pytest.mark.parametrize("kept", range(0, len(zipped(ONE, TWO)), 7))
def test_an_archive_that_is_cut_off_is_refused(kept: int) -> None:
    """Wherever."""
    refused(zipped(ONE, TWO)[:kept], "not a zip file")


# What could be taken for one


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        (zipped(ONE), True),
        (b"front" + zipped(ONE), True),
        (b"front" + zipped(ONE) + b"back", True),
        (zipped(), True),
        (zipped(ONE, zip64=True, end={"size": WIDE}), True),
        (b"", False),
        (b"PK\x05\x06", False),
        (b"text PK\x05\x06 text that goes on and on and on and on", False),
    ],
)
def test_what_others_take_for_a_zip_archive_is_known(data: bytes, *, taken: bool) -> None:
    """P05: old pips look at the end of a file, not at its name."""
    assert ziprecords.may_be(io.BytesIO(data)) is taken
