"""Distribution files: sound, and what their names and forms say."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import zipfile
from collections.abc import Mapping

import pytest
from archives import Zipped, tarred, zipped
from upstream.artefacts import sdist, wheel

from devpi_server.errors import InvalidArtefact, StoreError
from devpi_server.services.artefact import Artefact, inspect
from devpi_server.store.artefact import LARGEST_METADATA, wheel_metadata

WHEEL = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info"
METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
PKG_INFO = b"Metadata-Version: 1.1\nName: demo\nVersion: 1.0\nSummary: old\n"
NEW_INFO = b"Metadata-Version: 2.2\nName: demo\nVersion: 1.0\nRequires-Python: >=3.8\n"


def inspected(
    filename: str, data: bytes, name: str | None = None, version: str | None = None
) -> Artefact:
    return inspect(io.BytesIO(data), filename, name=name, version=version)


def refused(
    reason: str,
    filename: str,
    data: bytes,
    name: str | None = None,
    version: str | None = None,
) -> None:
    with pytest.raises(InvalidArtefact, match=reason) as caught:
        inspected(filename, data, name, version)
    assert caught.value.message.isprintable()
    assert filename[:70] in caught.value.message


def members(**changes: bytes | None) -> dict[str, bytes]:
    """What is in a wheel; None leaves one out, ``/`` in a name is written ``__``."""
    made: dict[str, bytes | None] = {
        "demo.py": b"",
        f"{INFO}/METADATA": METADATA,
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\n",
        f"{INFO}/RECORD": b"",
    }
    made.update({f"{INFO}/{name}": data for name, data in changes.items()})
    return {name: data for name, data in made.items() if data is not None}


def packed(content: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tar(info: bytes = PKG_INFO, root: str = "demo-1.0") -> bytes:
    return tarred(f"{root}/PKG-INFO".encode(), info) + tarred(f"{root}/setup.py".encode(), b"x")


# Wheels


def test_a_wheel_is_what_it_says() -> None:
    """All of it, and the metadata byte for byte."""
    made = wheel("Demo.Thing", "1.0", requires_python=">=3.8", requires=["a>1", "b"])
    found = inspected(made.filename, made.data, "demo_thing", "1.0")
    assert found == Artefact(
        project="demo-thing",  # type: ignore[arg-type]
        version="1.0",
        filetype="bdist_wheel",
        pyversion="py3",
        metadata=made.metadata,
        fields={
            "metadata_version": "2.2",
            "name": "Demo.Thing",
            "version": "1.0",
            "requires_python": ">=3.8",
            "requires_dist": ("a>1", "b"),
        },
        requires_python=">=3.8",
    )


def test_what_is_not_declared_is_read() -> None:
    """For files that lie in a folder."""
    made = wheel("demo", "1.0")
    assert inspected(made.filename, made.data) == inspected(made.filename, made.data, "demo", "1.0")


@pytest.mark.parametrize(
    ("name", "version"), [("DEMO", "1.0"), ("demo", "1.0.0"), ("demo", "v1"), ("demo", "1")]
)
def test_spelling_does_not_count(name: str, version: str) -> None:
    """Names and versions are compared, not letters; the file's own spelling is kept."""
    found = inspected(WHEEL, packed(members()), name, version)
    assert (found.project, found.version) == ("demo", "1.0")


def test_a_folder_may_spell_the_name_in_its_own_way() -> None:
    """Old wheels do."""
    metadata = b"Metadata-Version: 2.0\nName: Some.Demo\nVersion: 1.0-rc1\n"
    content = {
        f"Some.Demo-1.0rc1.dist-info/{name}": metadata for name in ("METADATA", "WHEEL", "RECORD")
    }
    found = inspected("some_demo-1.0rc1-py3-none-any.whl", packed(content))
    assert (found.project, found.version) == ("some-demo", "1.0-rc1")


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("other", "1.0", "does not match project name 'other'"),
        ("dem", "1.0", "does not match project name 'dem'"),
        ("demo", "1.1", "does not contain version '1.1'"),
        ("demo", "1", None),
        ("demo", "0", "does not contain version '0'"),
        ("demo", "", "does not contain version ''"),
        ("demo", "1.0\r\nX: y", "does not contain version"),
    ],
)
def test_the_form_agrees_with_the_file_name(name: str, version: str, reason: str | None) -> None:
    """P03."""
    for filename, data in ((WHEEL, packed(members())), ("demo-1.0.tar", tar())):
        if reason is None:
            assert inspected(filename, data, name, version)
        else:
            refused(reason, filename, data, name, version)


@pytest.mark.parametrize("name", ["", "a b", "-demo", "d\u0435mo", "demo\n", "../demo"])
def test_the_form_has_a_project_name(name: str) -> None:
    """P04: and none that only looks like one."""
    with pytest.raises(InvalidArtefact, match=r"invalid metadata: .* is not a valid project name"):
        inspected(WHEEL, b"", name, "1.0")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Name: demo", b"Name: other"),
        (b"Name: demo", b"Name: d\xd0\xb5mo"),
        (b"Name: demo", b"Name: demo evil"),
        (b"Version: 1.0", b"Version: 1.1"),
        (b"Version: 1.0", b"Version: 1.0+local"),
        (b"Version: 1.0", b"Version: " + b"9" * 5000),
    ],
)
def test_the_metadata_of_a_wheel_agrees_with_its_name(old: bytes, new: bytes) -> None:
    """P03: installers believe the one or the other."""
    data = packed(members(METADATA=METADATA.replace(old, new)))
    refused("has metadata of", WHEEL, data)
    refused("has metadata of", WHEEL, data, "demo", "1.0")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (b"", "without a name or a version"),
        (b"Name: demo\n", "without a name or a version"),
        (b"Version: 1.0\n", "without a name or a version"),
        (b"\n" + METADATA, "without a name or a version"),
        (METADATA + b"Name: other\n", "more than one Name"),
        (METADATA + b"\xff", "not UTF-8"),
        (b"x" * (LARGEST_METADATA + 1), "too large"),
    ],
)
def test_a_wheel_has_metadata_that_can_be_read(metadata: bytes, reason: str) -> None:
    """P03: of a size, once, and text."""
    refused(reason, WHEEL, packed(members(METADATA=metadata)))


@pytest.mark.parametrize("name", ["METADATA", "WHEEL", "RECORD"])
def test_a_wheel_is_complete(name: str) -> None:
    """PEP 427: also where case does not count."""
    refused(f"not have one {name}", WHEEL, packed(members(**{name: None})))
    refused(f"not have one {name}", WHEEL, packed(members(**{name.lower(): b""})))
    folder = members(**{name: None})
    refused(f"folder {name}", WHEEL, packed({**folder, f"{INFO}/{name}/": b""}))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"other-1.0.dist-info/METADATA": METADATA}, "2 folders"),
        ({"demo-1.0.DIST-INFO/METADATA": METADATA}, "2 folders"),
        ({"other.dist-info": b""}, "2 folders"),
    ],
)
def test_a_wheel_has_one_folder_of_metadata(more: dict[str, bytes], reason: str) -> None:
    """P03: one that counts."""
    refused(reason, WHEEL, packed({**members(), **more}))


@pytest.mark.parametrize(
    "info",
    [
        "other-1.0.dist-info", "demo-1.1.dist-info", "demo.dist-info", ".dist-info",
        "x-demo-1.0.dist-info", "demo-1.0-evil.dist-info", f"demo-{'1' * 300}.dist-info",
    ],
)  # fmt: skip
def test_the_folder_of_metadata_is_of_the_wheel(info: str) -> None:
    """P03: its name is the third place that says who it is."""
    content = {name.replace(INFO, info): data for name, data in members().items()}
    refused("instead of its own", WHEEL, packed(content))


def test_metadata_elsewhere_does_not_count() -> None:
    """P03: deeper, or in a folder of another kind."""
    content = {f"deep/{name}": data for name, data in members().items()}
    refused("0 folders", WHEEL, packed(content))
    assert inspected(WHEEL, packed({**members(), f"demo/{INFO}/METADATA": b"evil"}))


def test_what_is_served_as_metadata_is_what_a_mirror_reads() -> None:
    """PEP 658: the other way to it gives the same bytes."""
    data = packed(members())
    assert inspected(WHEEL, data).metadata == wheel_metadata(io.BytesIO(data))


def test_a_wheel_that_readers_see_differently_is_refused() -> None:
    """P02: the laws of archives hold, and the message says of which file."""
    content = [Zipped(name.encode(), data) for name, data in members().items()]
    assert inspected(WHEEL, zipped(*content))
    refused("two members named 'demo.py'", WHEEL, zipped(*content, Zipped(b"demo.py")))
    refused("leads outside", WHEEL, zipped(*content, Zipped(b"../evil")))
    refused("in front", WHEEL, zipped(*content, front=b"#!/bin/sh\n"))
    refused("not where", WHEEL, zipped(*content) + zipped(*content))


def test_bombs_inside_are_left_alone() -> None:
    """P01: an archive in an archive is a file."""
    bomb = gzip.compress(bytes(10 * 2**20))
    assert inspected(WHEEL, packed({**members(), "demo/bomb.gz": bomb}))


# Source distributions


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".bz2", bz2.compress),
        (".tar.xz", lzma.compress),
        (".tar", bytes),
    ],
)
def test_a_tar_archive_is_read(ending: str, pack: type[bytes]) -> None:
    """In every compression that there was."""
    found = inspected(f"demo-1.0{ending}", pack(tar(NEW_INFO)), "demo", "1.0")
    assert (found.filetype, found.pyversion, found.metadata) == ("sdist", "source", None)
    assert found.fields["version"] == "1.0"
    assert found.requires_python == ">=3.8"


def test_a_zip_archive_is_read() -> None:
    """As Windows made them."""
    found = inspected("demo-1.0.zip", packed({"demo-1.0/PKG-INFO": PKG_INFO}))
    assert (found.filetype, found.metadata) == ("sdist", None)
    assert found.fields["summary"] == "old"


def test_a_sdist_of_today_is_read() -> None:
    """Its name says less than its metadata."""
    made = sdist("Demo.Thing", "1.0", requires_python=">=3.8")
    found = inspected(made.filename, made.data)
    assert (found.project, found.version, found.requires_python) == ("demo-thing", "1.0", ">=3.8")


def test_metadata_says_which_reading_of_the_name_is_right() -> None:
    """``a-2-1`` is release 1 of ``a-2`` or ``2-1`` of ``a``."""
    for name, version in (("a-2", "1"), ("a", "2-1")):
        info = f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n".encode()
        found = inspected("a-2-1.tar", tar(info, "a-2-1"))
        assert (found.project, found.version) == (name, version)


def test_the_form_says_which_reading_of_the_name_is_right() -> None:
    """Where there is no metadata."""
    data = tarred(b"a-2-1/setup.py")
    for name, version in (("a-2", "1"), ("a", "2-1")):
        found = inspected("a-2-1.tar", data, name, version)
        assert (found.project, found.version) == (name, version)
        assert inspected("a-2-1.tar", data, version=version).project == name
        assert inspected("a-2-1.tar", data, name=name).version == version


@pytest.mark.parametrize(
    "content",
    [
        {"demo-1.0/setup.py": b""},
        {"setup.py": b"", "PKG-INFO": PKG_INFO},
        {"a/PKG-INFO": PKG_INFO, "b/PKG-INFO": PKG_INFO},
        {"demo-1.0/demo.egg-info/PKG-INFO": PKG_INFO},
    ],
)
def test_a_sdist_may_have_no_metadata(content: dict[str, bytes]) -> None:
    """Old tools wrote none, or one cannot tell which counts."""
    for filename, data in (
        ("demo-1.0.zip", packed(content)),
        ("demo-1.0.tar", b"".join(tarred(name.encode(), it) for name, it in content.items())),
    ):
        found = inspected(filename, data)
        assert (found.fields, found.requires_python, found.version) == ({}, None, "1.0")


def test_the_metadata_in_the_folder_of_its_name_counts() -> None:
    """Beside others."""
    content = {"demo-1.0/PKG-INFO": PKG_INFO, "other-2.0/PKG-INFO": b"Name: other\n"}
    assert inspected("demo-1.0.zip", packed(content)).fields["name"] == "demo"


@pytest.mark.parametrize(
    ("old", "new"), [(b"Name: demo", b"Name: other"), (b"Version: 1.0", b"Version: 1.1")]
)
def test_the_metadata_of_a_sdist_agrees_since_it_has_to(old: bytes, new: bytes) -> None:
    """P03 and PEP 643: since 2.2 it is refused, of before it is no metadata of this file."""
    for ending, pack in ((".tar", tar), (".zip", lambda info: packed({"demo-1.0/PKG-INFO": info}))):
        data = pack(NEW_INFO.replace(old, new))
        refused("has metadata of", f"demo-1.0{ending}", data)
        refused("has metadata of", f"demo-1.0{ending}", data, "demo", "1.0")
        found = inspected(f"demo-1.0{ending}", pack(PKG_INFO.replace(old, new)))
        assert (found.project, found.version, found.fields) == ("demo", "1.0", {})


@pytest.mark.parametrize("stated", [b"9" * 5000 + b".0", b"2", b"two", b"2.2.2", b""])
def test_metadata_of_no_known_version_is_not_binding(stated: bytes) -> None:
    """Whatever it says of itself."""
    info = NEW_INFO.replace(b"demo", b"other").replace(b"2.2", stated)
    assert inspected("demo-1.0.tar", tar(info)).fields == {}


def test_a_declared_version_is_kept_without_blanks() -> None:
    """It becomes a part of URLs and headers."""
    assert inspected("demo-1.0.exe", b"MZ", "demo", " 1.0.0\r\n").version == "1.0.0"


def test_metadata_of_a_sdist_has_a_largest_size() -> None:
    """P01."""
    info = b"x" * (LARGEST_METADATA + 1)
    refused("too large", "demo-1.0.tar", tar(info))
    refused("too large", "demo-1.0.zip", packed({"demo-1.0/PKG-INFO": info}))


def test_an_old_name_with_spaces_is_escaped_as_uploads_do() -> None:
    """setuptools wrote any name into PKG-INFO."""
    info = b"Metadata-Version: 1.0\nName: My Demo\nVersion: 1.0 beta\n"
    found = inspected("My-Demo-1.0.beta.tar", tar(info, "My-Demo-1.0.beta"), "My-Demo")
    assert (found.project, found.version) == ("my-demo", "1.0 beta")
    strange = tar(info.replace(b" Demo", b"\x0bDemo"), "My-Demo-1.0.beta")
    assert inspected("My-Demo-1.0.beta.tar", strange).fields == {}


@pytest.mark.parametrize(
    "ending", [".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip", ".egg"]
)
@pytest.mark.parametrize("data", [b"", b"<html></html>", b"<svg/>", bytes(1024), b"MZ" * 600])
def test_a_file_is_of_the_kind_that_its_name_says(ending: str, data: bytes) -> None:
    """P05."""
    refused("is not a|is empty", f"demo-1.0{ending}", data)


def test_another_compression_than_its_name_says_is_refused() -> None:
    """P05: installers go by the name."""
    refused("is not a gzip file", "demo-1.0.tar.gz", bz2.compress(tar()))
    refused("is not a tar file", "demo-1.0.tar", gzip.compress(tar() * 9))
    refused("taken for a zip", "demo-1.0.tar.gz", packed(members()))
    refused("not a zip file", WHEEL, gzip.compress(tar()))


def test_a_file_of_two_kinds_is_refused() -> None:
    """P05: old pips unpack as zip what ends like one, whatever its name."""
    other = zipped(Zipped(b"evil.py"))
    refused("taken for a zip", "demo-1.0.tar.gz", gzip.compress(tar()) + other)
    inside = gzip.compress(tar() + tarred(b"demo-1.0/x", other), compresslevel=0)
    refused("taken for a zip", "demo-1.0.tar.gz", inside)


def test_a_tar_archive_that_is_not_safe_is_refused() -> None:
    """S04: the laws of archives hold, and the message says of which file."""
    evil = tar() + tarred(b"demo-1.0/x", kind=b"2", target=b"/etc/passwd")
    refused("leads outside", "demo-1.0.tar.gz", gzip.compress(evil))
    refused("cut off", "demo-1.0.tar.gz", gzip.compress(tar())[:-9])


# Others


def test_an_egg_is_read() -> None:
    """With a script in front, as the old setuptools has."""
    data = zipped(Zipped(b"EGG-INFO/PKG-INFO", PKG_INFO), Zipped(b"demo.py"), front=b"#!/bin/sh\n")
    found = inspected("demo-1.0-py2.7.egg", data, "demo", "1.0")
    assert (found.filetype, found.pyversion, found.metadata) == ("bdist_egg", "2.7", None)
    assert found.fields["summary"] == "old"


def test_an_archive_for_a_platform_is_no_sdist() -> None:
    """distutils called it dumb."""
    filename = "demo-1.0.linux-x86_64.tar.gz"
    data = gzip.compress(tarred(b"./usr/lib/demo.py"))
    for declared in (None, "1.0"):
        found = inspected(filename, data, "demo", declared)
        assert (found.version, found.filetype, found.pyversion) == ("1.0", "bdist_dumb", "")
    assert inspected(filename, data, "demo", "1.0.linux-x86_64").filetype == "sdist"


@pytest.mark.parametrize(
    ("filename", "begins", "filetype"),
    [
        ("demo-1.0.win32-py2.7.exe", b"MZ\x90", "bdist_wininst"),
        ("demo-1.0.win32.msi", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "bdist_msi"),
        ("demo-1.0-1.noarch.rpm", b"\xed\xab\xee\xdb\3", "bdist_rpm"),
        ("python-demo_1.0-1_all.deb", b"!<arch>\n", "bdist_deb"),
        ("demo-1.0.tar.Z", b"\x1f\x9d", "sdist"),
    ],
)
def test_of_other_files_only_name_and_beginning_count(
    filename: str, begins: bytes, filetype: str
) -> None:
    """P05: nobody but their own tools looks inside."""
    found = inspected(filename, begins + b"anything", "demo", "1.0")
    assert (found.project, found.version, found.filetype) == ("demo", "1.0", filetype)
    assert (found.metadata, found.fields, found.requires_python) == (None, {}, None)
    refused("not what its name says", filename, b"<html></html>")
    refused("does not contain version", filename, begins, "demo", "2.0")
    refused("does not match project", filename, begins, "other", "1.0")


def test_a_disk_image_may_begin_with_anything() -> None:
    """Its mark is at the end, if anywhere."""
    assert inspected("demo-1.0.dmg", b"x").filetype == "bdist_dmg"


def test_a_name_without_a_version_is_refused() -> None:
    """A release has one."""
    refused("does not contain a version", "demo.tar.gz", gzip.compress(tar()))


class SickDisk(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


def test_a_sick_disk_is_not_the_clients_fault() -> None:
    """Nothing was found out about the file."""
    for filename in (WHEEL, "demo-1.0.tar.gz", "demo-1.0.tar.bz2", "demo-1.0.exe"):
        with pytest.raises(StoreError, match="cannot read a distribution file"):
            inspect(SickDisk(packed(members())), filename)
