"""Dumps of other servers, plain and odd, as records."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from dumping import (
    CONTENT,
    MD5,
    PWHASH,
    RELPATH,
    SHA256,
    index,
    place_file,
    release,
    tox_result,
    user,
    write,
    write_text,
)

from devpi_server.errors import BadDump
from devpi_server.services.dump.read import Dump, open_dump
from devpi_server.services.dump.records import (
    DumpedEvent,
    DumpedFile,
    DumpedIndex,
    DumpedRelease,
    DumpedUser,
    Subject,
    Survey,
)
from devpi_server.store.meta import FileKind


def utc(*parts: int) -> datetime:
    year, month, day, hour, minute, second = parts
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)


def only_file(dump: Dump) -> DumpedFile:
    (found,) = dump.files("alice/dev")
    return found


def test_a_plain_dump(tmp_path: Path) -> None:
    """All that a dump says of users, indexes, releases and files is in the records."""
    alice = user(
        email="a@b.example", title="Größe", custom_data=[1], modified="2026-11-22T00:00:00Z"
    )
    dev = index(release(), title="Dev", acl_upload=["alice", ":AUTHENTICATED:"])
    dump = open_dump(write(tmp_path, {"alice/dev": dev}, users={"alice": alice}))

    assert dump.users == (
        DumpedUser(
            "alice",
            PWHASH,
            created=utc(2026, 11, 21, 7, 4, 40),
            modified=utc(2026, 11, 22, 0, 0, 0),
            details={"email": "a@b.example", "title": "Größe", "custom_data": [1]},
        ),
    )
    acl = ["alice", ":AUTHENTICATED:"]
    options = {"volatile": True, "title": "Dev", "acl_upload": acl}
    assert dump.indexes == (DumpedIndex("alice", "dev", "stage", (), options),)
    assert list(dump.releases("alice/dev")) == [
        DumpedRelease("demo", "1.0", {"name": "demo", "version": "1.0"})
    ]
    assert list(dump.files("alice/dev")) == [
        DumpedFile(
            "demo",
            "1.0",
            FileKind.RELEASE,
            "demo-1.0.tar.gz",
            tmp_path / RELPATH,
            len(CONTENT),
            utc(2026, 11, 21, 7, 4, 46),
            {"sha256": SHA256},
            (DumpedEvent("upload", "alice", utc(2026, 11, 21, 7, 4, 46), dst="alice/dev"),),
        )
    ]
    assert dump.survey() == Survey(users=1, indexes=1, releases=1, files=1, size=len(CONTENT))
    assert dump.written_by == "6.20.3"
    assert dump.warnings == ()


def test_the_bytes_are_those_that_were_dumped(tmp_path: Path) -> None:
    """Bytes are read with their digests checked, and a file that differs is refused."""
    dump = open_dump(write(tmp_path))
    file = only_file(dump)
    assert b"".join(dump.blocks(file)) == CONTENT

    file.path.write_bytes(CONTENT.upper())
    with pytest.raises(BadDump, match="its sha256 differs"):
        list(dump.blocks(file))
    file.path.write_bytes(CONTENT * 2)
    with pytest.raises(BadDump, match="has changed since"):
        list(dump.blocks(file))


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"md5": MD5}, {"md5": MD5}),
        ({"hash_spec": f"md5={MD5}"}, {"md5": MD5}),
        ({"hashes": {"sha256": SHA256}, "hash_spec": f"md5={MD5}"}, {"sha256": SHA256, "md5": MD5}),
        ({"hashes": {"md5": "0" * 32, "sha1": "0" * 40}, "hash_spec": f"md5={MD5}"}, {"md5": MD5}),
        ({"hashes": {"tomorrow": "x"}, "hash_spec": "tomorrow=x"}, {}),
        ({"hashes": None, "hash_spec": None, "md5": None}, {}),
        (None, {}),
    ],
)
def test_digests_of_all_ages(tmp_path: Path, mapping: Any, expected: dict[str, str]) -> None:
    """The digests stand where the server's age put them; ``hash_spec`` is the newest."""
    dump = open_dump(write(tmp_path, {"alice/dev": index(release(entrymapping=mapping))}))
    file = only_file(dump)

    assert file.digests == expected
    assert b"".join(dump.blocks(file)) == CONTENT


def test_a_digest_that_is_none(tmp_path: Path) -> None:
    """What cannot be a digest is a fault, not a file without digest."""
    dump = open_dump(write(tmp_path, {"alice/dev": index(release(entrymapping={"md5": "foo"}))}))
    with pytest.raises(BadDump, match=r"dataindex\.json: index alice/dev, file 1: 'foo' is no md5"):
        only_file(dump)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (release(), utc(2026, 11, 21, 7, 4, 46)),
        (release(uploaded="2026-11-21T08:04:46+01:00"), utc(2026, 11, 21, 7, 4, 46)),
        (release(entrymapping={"last_modified": "never"}), utc(2026, 11, 21, 7, 4, 46)),
        (release(entrymapping=None, log=None), utc(2001, 9, 9, 1, 46, 40)),
    ],
)
def test_when_a_file_came(tmp_path: Path, entry: dict[str, Any], expected: datetime) -> None:
    """Our own time goes first, then last_modified, the history, and the file's own."""
    write(tmp_path, {"alice/dev": index(entry)})
    os.utime(tmp_path / RELPATH, (1_000_000_000, 1_000_000_000))

    assert only_file(open_dump(tmp_path)).uploaded == expected


def test_history(tmp_path: Path) -> None:
    """Uploads, pushes and overwrites are events; what cannot be read is left out and told."""
    log = [
        {"what": "overwrite", "who": None, "when": [2026, 1, 2, 3, 4, 5], "count": 2},
        {"what": "upload", "who": "bob", "when": "2026-01-02T03:04:06Z", "dst": "alice/dev"},
        {
            "what": "push",
            "who": "bob",
            "when": [2026, 1, 2, 3, 4, 7, 0],
            "src": "b/x",
            "dst": "b/y",
        },
        {"what": "push", "who": "bob", "when": [2026, 13, 2]},
        {"what": "push", "who": "bob", "when": [2026, 2, 30, 0, 0, 0]},
        {"who": "bob", "when": [2026, 1, 2, 3, 4, 5]},
        "nonsense",
    ]
    dump = open_dump(write(tmp_path, {"alice/dev": index(release(log=log))}))

    assert only_file(dump).log == (
        DumpedEvent("overwrite", None, utc(2026, 1, 2, 3, 4, 5), count=2),
        DumpedEvent("upload", "bob", utc(2026, 1, 2, 3, 4, 6), dst="alice/dev"),
        DumpedEvent("push", "bob", utc(2026, 1, 2, 3, 4, 7), src="b/x", dst="b/y"),
    )
    assert [warning for warning in dump.warnings if RELPATH in warning] == list(dump.warnings)
    assert dump.warnings


def test_results_of_tox_come_last(tmp_path: Path) -> None:
    """A result says which file it is about, and comes after all files that it can be about."""
    docs = release(type="doczip", relpath="alice/dev/demo-1.0.doc.zip")
    files = index(tox_result(), release(), docs)
    dump = open_dump(write(tmp_path, {"alice/dev": files}))

    *_, result = found = list(dump.files("alice/dev"))
    assert [file.kind for file in found] == [FileKind.RELEASE, FileKind.DOCS, FileKind.TOX_RESULT]
    assert result.filename == "demo-1.0.tar.gz.toxresult-20261121070449-0"
    assert result.tested == Subject("demo-1.0.tar.gz", {"sha256": SHA256})
    assert dump.survey().files == 3


@pytest.mark.parametrize(
    ("folder", "expected"),
    [(f"sha256={SHA256}", {"sha256": SHA256}), (MD5, {"md5": MD5}), ("1.0", {})],
)
def test_names_of_tox_results_of_all_ages(
    tmp_path: Path, folder: str, expected: dict[str, str]
) -> None:
    """The folder says which bytes were tested, in the spelling of its time."""
    entry = tox_result(
        relpath=f"alice/dev/demo/{folder}/demo-1.0.tar.gz.toxresult0",
        for_entrypath="alice/dev/demo/1.0/demo-1.0.tar.gz",
    )
    file = only_file(open_dump(write(tmp_path, {"alice/dev": index(entry)})))

    assert file.filename == "demo-1.0.tar.gz.toxresult0"
    assert file.tested == Subject("demo-1.0.tar.gz", expected)


def test_a_result_of_tox_with_the_digest_of_the_tested_file(tmp_path: Path) -> None:
    """Servers from 6.5 to 6.9 mistook the one digest for the other; that is no fault."""
    tested = "a" * 64
    entry = tox_result(
        relpath=f"alice/dev/demo/sha256={tested}/demo-1.0.tar.gz.toxresult0",
        entrymapping={"hashes": {"sha256": tested}},
    )
    dump = open_dump(write(tmp_path, {"alice/dev": index(entry)}))

    assert b"".join(dump.blocks(only_file(dump))) == CONTENT


def test_passwords_of_before_argon2(tmp_path: Path) -> None:
    """A password that we cannot check is left out, and so is one that takes too much to."""
    salted = user(pwsalt="uBLR5DKWtF6ro4H7h3FObQ==", pwhash="66" * 32)
    huge = user(pwhash=PWHASH.replace("m=65536", "m=99999999"))
    slow = user(pwhash=PWHASH.replace("t=3", "t=99999"))
    users = {"a": salted, "b": huge, "c": slow, "d": {"username": "d"}, "e": user()}
    dump = open_dump(write(tmp_path, {}, users=users))

    assert [each.pwhash for each in dump.users] == [None, None, None, None, PWHASH]
    assert len(dump.warnings) == 3
    assert dump.users[3].created is None
    assert "pwsalt" not in dump.users[0].details


def test_bases_come_first(tmp_path: Path) -> None:
    """An index comes after its bases, however they stand in the dump."""
    indexes = {
        "alice/c": index(bases=["alice/b", "root/pypi", "alice/a"]),
        "alice/b": index(bases=["alice/a", "alice/a"]),
        "alice/a": index(type="mirror", bases=["alice/gone"]),
    }
    dump = open_dump(write(tmp_path, indexes), {"root/pypi"})

    assert [(each.full_name, each.bases) for each in dump.indexes] == [
        ("alice/a", ()),
        ("alice/b", ("alice/a",)),
        ("alice/c", ("alice/b", "root/pypi", "alice/a")),
    ]
    assert dump.warnings == ()


def test_bases_that_are_not_there_or_go_in_circles(tmp_path: Path) -> None:
    """They are left out, and each is told."""
    indexes = {
        "alice/self": index(bases=["alice/self"]),
        "alice/hen": index(bases=["alice/egg"]),
        "alice/egg": index(bases=["alice/hen", "alice/gone"]),
    }
    dump = open_dump(write(tmp_path, indexes))

    assert {each.full_name: each.bases for each in dump.indexes} == {
        "alice/self": (),
        "alice/hen": ("alice/egg",),
        "alice/egg": (),
    }
    assert dump.warnings == (
        "index alice/self: its base alice/self builds on it in turn, and was left out",
        "index alice/egg: its base alice/hen builds on it in turn, and was left out",
        "index alice/egg: its base alice/gone is not there, and was left out",
    )


def test_settings_of_old_servers(tmp_path: Path) -> None:
    """A setting that was renamed has its new name; one that was not set is not there."""
    old = index(pypi_whitelist=["demo"], uploadtrigger_jenkins=None, projects=[])
    both = index(pypi_whitelist=["old"], mirror_whitelist=["new"])
    dump = open_dump(write(tmp_path, {"alice/old": old, "alice/both": both}))

    assert [each.options for each in dump.indexes] == [
        {"volatile": True, "mirror_whitelist": ["demo"]},
        {"volatile": True, "mirror_whitelist": ["new"]},
    ]
    assert list(dump.releases("alice/old")) == []


def test_types_that_are_skipped(tmp_path: Path) -> None:
    """An index of a skipped type is not there, be its name as it may, nor is it a base."""
    odd, new = index(release(), type="custom"), index(bases=["alice/+odd"])
    write(tmp_path, {"alice/+odd": odd, "alice/new": new})

    with pytest.raises(BadDump, match="no index can be called"):
        open_dump(tmp_path)
    dump = open_dump(tmp_path, skipped_types={"custom"})
    assert [(each.full_name, each.bases) for each in dump.indexes] == [("alice/new", ())]
    assert dump.survey().files == 0


def test_one_project_under_several_names(tmp_path: Path) -> None:
    """What was kept apart under two spellings is one project, without losing a version."""
    projects = {
        "hello.pkg": {"1.0": {"name": "hello.pkg", "summary": "first"}},
        "hello": {},
        "Hello-Pkg": {"1.0": {"name": "Hello-Pkg", "version": "1.0"}, "1.1": {"version": "1.1"}},
    }
    dump = open_dump(write(tmp_path, {"alice/dev": index(projects=projects)}))

    assert list(dump.releases("alice/dev")) == [
        DumpedRelease("hello-pkg", "1.0", {"name": "Hello-Pkg", "version": "1.0"}),
        DumpedRelease("hello-pkg", "1.1", {"name": "hello-pkg", "version": "1.1"}),
    ]
    assert "of hello-pkg 1.0 the later metadata was taken" in dump.warnings[0]


def test_metadata_that_lacks_its_version(tmp_path: Path) -> None:
    """Name and version are made up; notes of the server are no metadata."""
    metadata = {"name": "", "+doczip": {}, ":action": "submit", "+elinks": [], "summary": "s"}
    dump = open_dump(write(tmp_path, {"alice/dev": index(projects={"demo": {"1.0": metadata}})}))

    (found,) = dump.releases("alice/dev")
    assert found.metadata == {"name": "demo", "version": "1.0", "summary": "s"}
    assert len(dump.warnings) == 2


def test_dump_version_1(tmp_path: Path) -> None:
    """There the version is in the file's name, where a dash is an underscore."""
    projects = {"demo": {"1.2-3": {"name": "demo", "version": "1.2-3"}}}
    files = [
        release(relpath=f"alice/dev/demo/{name}", version=None, entrymapping={"md5": MD5})
        for name in ("demo-1.2_3.tar.gz", "demo-2.0.zip")
    ]
    docs = release(type="doczip", relpath="alice/dev/demo-1.2-3.doc.zip", version=None)
    write(tmp_path, {"alice/dev": index(*files, docs, projects=projects)}, dumpversion="1")
    dump = open_dump(tmp_path)

    assert [file.version for file in dump.files("alice/dev")] == ["1.2-3", "2.0", "1.2-3"]
    assert "of demo 2.0 there is only alice/dev/demo/demo-2.0.zip" in dump.warnings[0]


def test_a_project_that_no_index_can_have(tmp_path: Path) -> None:
    """It is left out with its files, and told; the rest is read."""
    relpath = "alice/dev/_x/1.0/_x-1.0.zip"
    odd = release(projectname="_x", relpath=relpath)
    projects = {"_x": {"1.0": {}}, "demo": {"1.0": {"name": "demo", "version": "1.0"}}}
    files = index(odd, release(), projects=projects)
    dump = open_dump(write(tmp_path, {"alice/dev": files}))

    assert dump.survey() == Survey(users=1, indexes=1, releases=1, files=1, size=len(CONTENT))
    assert ["'_x'" in dump.warnings[0], relpath in dump.warnings[1]] == [True, True]


def test_files_of_mirrors(tmp_path: Path) -> None:
    """A mirror's file says where it is from."""
    mapping = {"url": "https://files.example/demo-1.0.tar.gz", "hash_spec": f"sha256={SHA256}"}
    mirror = index(release(entrymapping=mapping, log=[]), type="mirror")
    dump = open_dump(write(tmp_path, {"alice/dev": mirror}))

    assert only_file(dump).url == "https://files.example/demo-1.0.tar.gz"


def test_what_only_we_write(tmp_path: Path) -> None:
    """A file may be yanked, without a reason too, and have companions."""
    companions = {
        "signature": "alice/dev/demo/1.0/+/demo-1.0.tar.gz.asc",
        "attestations": "alice/dev/demo/1.0/+/demo-1.0.tar.gz.attestations.json",
    }
    write(tmp_path, {"alice/dev": index(release(yanked="", **companions))})
    for path in companions.values():
        place_file(tmp_path, path)
    dump = open_dump(tmp_path)
    file = only_file(dump)

    assert file.yanked == ""
    assert file.signature is not None
    assert file.attestations is not None
    assert dump.companion(file.signature) == dump.companion(file.attestations) == CONTENT


# What cannot be used


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dumpversion": "3"}, "dumpversion '3' is not known"),
        ({"dumpversion": None}, "dumpversion None is not known"),
        ({"users": {"alice": user(), "root~x": user()}}, "no user can be called 'root~x'"),
        ({"users": {"..": user()}}, "no user can be called"),
        ({"users": {"alice": []}}, "user alice: what is said of it is not an object"),
        ({"users": []}, "there is no object"),
        ({"users": {}}, "the index 'alice/dev' is of a user who is not there"),
        ({"indexes": {"alice": index()}}, "no index can be called 'alice'"),
        ({"indexes": {"alice/a/b": index()}}, "no index can be called 'alice/a/b'"),
        ({"indexes": {"alice/dev": {"files": []}}}, "index alice/dev: indexconfig is not"),
        ({"indexes": {"alice/dev": index(type=None)}}, "index alice/dev: type is not a text"),
        ({"indexes": {"alice/dev": index(bases="a/b")}}, "bases is not an array"),
        ({"indexes": {"alice/dev": index(bases=[1])}}, "a base is not a text"),
        ({"indexes": {"alice/dev": index(projects=["demo"])}}, "has projects without versions"),
    ],
)
def test_a_dump_that_cannot_be_opened(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    """The file is named, and the place in it."""
    write(tmp_path, **changes)
    with pytest.raises(BadDump) as caught:
        open_dump(tmp_path)
    assert caught.value.message.startswith(f"{tmp_path}/dataindex.json: ")
    assert told in caught.value.message


def test_faults_and_warnings_are_one_line(tmp_path: Path) -> None:
    """Whatever the names in a dump are, and however long, the terminal is safe from them."""
    odd = "1.0\n\x1b[2J" + "x" * 5000
    projects = {"\n": {}, "demo": {odd: {}}, "Demo": {odd: {}}}
    files = index(release(version="1.0\n"), release(relpath="a\n/b.zip"), projects=projects)
    write_text(tmp_path, {"alice/dev": files})
    place_file(tmp_path, RELPATH)
    dump = open_dump(tmp_path)
    said = (*dump.survey().faults, *dump.warnings)

    assert len(said) == 6
    assert all(sentence.isprintable() and len(sentence) < 2000 for sentence in said)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "at byte 0 there is no object"),
        ("[]", "at byte 0 there is no object"),
        ('{"users": {}, "indexes": {}', "at byte 27 there is no JSON"),
        ('{"users": {}, "indexes": {}}', 'it has no "dumpversion"'),
        ('{"users": {"a": {}, "a": {}}}', "the user 'a' is there twice"),
        ('{"users": {"a": "}', "at byte 16 there is no JSON"),
        ('{"users": {"a": {"x": "}', "at byte 16 there is no JSON"),
        ('{"dumpversion": "2", "users": {}, "indexes": {}} {}', "at byte 49 there is no JSON"),
        ('{"dumpversion": "2", "users": {"a": {0}}, "indexes": {}}', "user a: at byte 36"),
    ],
)
def test_a_text_that_is_no_dump(tmp_path: Path, text: str, told: str) -> None:
    """A broken or cut text is told with the place where it breaks."""
    (tmp_path / "dataindex.json").write_text(text)
    with pytest.raises(BadDump) as caught:
        open_dump(tmp_path)
    assert told in caught.value.message


def test_a_folder_without_a_dump(tmp_path: Path) -> None:
    """No ``dataindex.json``, no dump."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadDump, match="no dump, or an unfinished one"):
            open_dump(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"relpath": "../secret"},
        {"relpath": "/etc/passwd"},
        {"relpath": "alice/../../secret"},
        {"relpath": "alice//dev"},
        {"relpath": ""},
        {"relpath": 7},
        {"relpath": "a\0b"},
        {"relpath": "alice/link/demo-1.0.tar.gz"},
        {"relpath": "link"},
        {"relpath": "pipe"},
        {"relpath": "alice"},
        {"relpath": "alice/nothing.zip"},
        {"relpath": f"{'n' * 230}.zip/x.zip"},
        {"relpath": f"{'n' * 300}/x.zip"},
        {"relpath": "a/" * 3000 + "x.zip"},
        {"type": "gift"},
        {"type": ["releasefile"]},
        {"projectname": None},
        {"version": None},
        {"version": 1.0},
        {"entrymapping": "sha256"},
        {"entrymapping": {"hashes": ["x"]}},
        {"entrymapping": {"hashes": {"sha256": 5}}},
        {"entrymapping": {"url": 5}},
        {"yanked": True},
        {"signature": "../secret"},
        {"attestations": "link"},
        {"type": "toxresult"},
        {"type": "toxresult", "for_entrypath": "alice/dev/"},
    ],
)
def test_an_entry_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any]) -> None:
    """It is a fault of the survey, with its place; nothing outside of the folder is opened."""
    folder = tmp_path / "dump"
    write(folder, {"alice/dev": index(release())})
    (tmp_path / "secret").write_bytes(CONTENT)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "alice" / "link").symlink_to(folder / "alice" / "dev" / "demo" / "1.0")
    os.mkfifo(folder / "pipe")
    write_text(folder, {"alice/dev": index(release(), release(**changes), release())})
    survey = open_dump(folder).survey()

    (fault,) = survey.faults
    assert fault.startswith(f"{folder}/dataindex.json: index alice/dev, file 2: ")
    assert survey.files == 2


def test_a_file_gets_another_name_as_it_is(tmp_path: Path) -> None:
    """A symbolic link that has taken its place is not followed."""
    dump = open_dump(write(tmp_path / "dump"))
    (file,) = dump.files("alice/dev")
    dump.link(file, tmp_path / "another")
    assert (tmp_path / "another").samefile(file.path)

    file.path.unlink()
    file.path.symlink_to("/etc/passwd")
    dump.link(file, tmp_path / "third")
    assert (tmp_path / "third").is_symlink()
