"""``devpi-import``: what becomes of a dump."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dumping
import pytest
from commanding import Shell
from people import Person
from server import JSON, App, mirror_of
from uploading import basic, upload
from upstream import Upstream
from upstream.artefacts import Artefact, sdist, wheel

from devpi_server.cli import export, import_, init
from devpi_server.names import project
from devpi_server.services.passwords import Passwords
from devpi_server.store.meta import AuditRow, FileKind, StoredFile

PASSWORD = "wonderland"
PWHASH = Passwords().hash(PASSWORD)
EMPTY = Passwords().hash("")
WHEEL = wheel("demo", "1.0", requires_python=">=3.9")
SDIST = sdist("demo", "1.0")


class Site:
    """A dump, and the data directory that it is imported into."""

    def __init__(self, shell: Shell, folder: Path, up: Upstream) -> None:
        self.shell = shell
        self.dump = folder
        self._up = up

    def write(self, indexes: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Write the dump; alice's password is ``PASSWORD``."""
        users = changes.pop("users", {"alice": dumping.user(pwhash=PWHASH)})
        dumping.write(self.dump, indexes, users=users, **changes)

    def put(self, *artefacts: Artefact, **config: Any) -> None:
        """Write a dump whose index alice/dev has these files."""
        entries = [dumping.release(relpath=relpath(each), entrymapping={}) for each in artefacts]
        self.write({"alice/dev": dumping.index(*entries, **config)})
        for each in artefacts:
            (self.dump / relpath(each)).write_bytes(each.data)

    def __call__(self, *words: str | Path) -> Any:
        return self.shell(import_.main, *words, self.dump)

    @contextmanager
    def serve(self, *options: str) -> Iterator[App]:
        server = App(*mirror_of(self._up, self.shell.datadir, *options))
        try:
            yield server
        finally:
            server.services.close()

    def files(self, index: str = "alice/dev") -> dict[str, StoredFile]:
        with self.serve() as server, server.services.meta.reading() as tables:
            row = tables.indexes.get(index)
            assert row is not None
            return {file.filename: file for file in tables.files.all(row.id)}

    def options(self, index: str) -> Mapping[str, object]:
        with self.serve() as server, server.services.meta.reading() as tables:
            row = tables.indexes.get(index)
            assert row is not None
            return row.options

    def audit(self) -> list[AuditRow]:
        with self.serve() as server, server.services.meta.reading() as tables:
            return list(reversed(tables.audit.last(1000)))


def relpath(artefact: Artefact) -> str:
    return f"alice/dev/demo/1.0/{artefact.filename}"


def login(server: App, user: str, password: str) -> int:
    return server.request("POST", "/+login", {"user": user, "password": password}).status


@pytest.fixture
def site(shell: Shell, tmp_path: Path, up: Upstream) -> Site:
    return Site(shell, tmp_path / "dump", up)


# What comes


def test_users_log_in_with_their_old_passwords(site: Site) -> None:
    site.write(users={"alice": dumping.user(pwhash=PWHASH, email="a@example", title="größer")})
    told = site()

    assert (told.code, told.err) == (0, told.err)
    with site.serve() as server:
        assert login(server, "alice", PASSWORD) == 200
        assert login(server, "alice", "another") == 401
        alice = server.request("GET", "/alice").json["result"]
    assert (alice["email"], alice["title"]) == ("a@example", "größer")
    assert alice["created"] == "2026-11-21T07:04:40Z"


def test_files_are_served_with_what_is_known_of_them(site: Site) -> None:
    site.put(WHEEL, SDIST)
    assert site().code == 0

    with site.serve() as server:
        links = server.links("demo", "/alice/dev/+simple/")
        for artefact in (WHEEL, SDIST):
            assert server(links[artefact.filename]["url"]).body == artefact.data
        link = links[WHEEL.filename]
        assert server(f"{link['url']}.metadata").body == WHEEL.metadata
    assert link["requires-python"] == ">=3.9"
    assert link["upload-time"] == "2026-11-21T07:04:46Z"


def test_an_export_that_is_imported_is_exported_the_same(
    site: Site, shell: Shell, tmp_path: Path
) -> None:
    """Nothing is lost on the way: yanks, signatures, results, history, who may read."""
    site.write(
        {
            "alice/dev": dumping.index(
                dumping.release(yanked="broken", uploaded="2026-11-21T07:04:46.125000+00:00"),
                dumping.release(type="doczip", relpath="alice/dev/demo/1.0/demo-1.0.doc.zip"),
                dumping.tox_result(),
                projects={"demo": {"1.0": {"name": "Demo", "version": "1.0", "summary": "größer"}}},
                acl_read=["alice"],
                bases=["root/pypi"],
            ),
            "root/pypi": dumping.index(type="mirror", mirror_url="https://pypi.example/simple/"),
        },
        users={
            "root": dumping.user(username="root", pwhash=PWHASH),
            "alice": dumping.user(email="a@example"),
        },
    )
    assert site().code == 0
    shell(export.main, tmp_path / "one")
    again = Shell(tmp_path / "again", shell._capsys)
    assert again(import_.main, tmp_path / "one").code == 0
    again(export.main, tmp_path / "two")
    one, two = (
        json.loads((tmp_path / name / "dataindex.json").read_text()) for name in ("one", "two")
    )

    assert one["users"].keys() == {"alice", "root"}
    assert len(one["indexes"]["alice/dev"]["files"]) == 3
    assert one == two


def test_metadata_for_resolvers_says_what_the_release_says_where_a_file_is_silent(
    site: Site,
) -> None:
    site.put(SDIST)
    document = json.loads((site.dump / "dataindex.json").read_text())
    release = document["indexes"]["alice/dev"]["projects"]["demo"]["1.0"]
    release["requires_python"] = ">=3.7"
    (site.dump / "dataindex.json").write_text(json.dumps(document))
    site()

    assert site.files()[SDIST.filename].requires_python == ">=3.7"


def test_what_came_with_a_file_comes_with_it(site: Site) -> None:
    site.write(
        {
            "alice/dev": dumping.index(
                dumping.release(
                    signature="alice/dev/demo/1.0/+/demo-1.0.tar.gz.asc",
                    attestations="alice/dev/demo/1.0/+/attestations.json",
                )
            )
        }
    )
    dumping.place_file(site.dump, "alice/dev/demo/1.0/+/demo-1.0.tar.gz.asc")
    dumping.place_file(site.dump, "alice/dev/demo/1.0/+/attestations.json").write_text("{}")
    site()

    with site.serve() as server:
        link = server.links("demo", "/alice/dev/+simple/")["demo-1.0.tar.gz"]
        assert server(f"{link['url']}.asc").body == dumping.CONTENT
        assert server(f"{link['url']}.provenance").body == b"{}"


def test_attestations_that_are_none_are_left_out_with_a_warning(site: Site) -> None:
    site.write(
        {"alice/dev": dumping.index(dumping.release(attestations="alice/dev/demo/1.0/broken"))}
    )
    dumping.place_file(site.dump, "alice/dev/demo/1.0/broken")
    told = site("--json")

    assert told.code == 0
    assert site.files()["demo-1.0.tar.gz"].provenance is None
    assert any("attestations" in each for each in told.json["warnings"])


def test_an_odd_file_comes_with_a_warning_and_without_metadata(site: Site) -> None:
    """What was taken by an old server is not refused now."""
    broken = Artefact("demo-1.0-py3-none-any.whl", b"no zip", b"")
    site.put(broken, SDIST)
    told = site("--json")
    files = site.files()

    assert told.code == 0
    assert files[broken.filename].metadata is None
    assert files[SDIST.filename].sha256
    assert any(broken.filename in each for each in told.json["warnings"])


def test_mirrored_files_are_held(site: Site, up: Upstream) -> None:
    file = up.release("upstairs", "1.0")
    entry = dumping.release(
        projectname="upstairs",
        relpath=f"root/pypi/upstairs/1.0/{file.filename}",
        entrymapping={"url": f"{up.url.rstrip('/')}{file.path}"},
        log=None,
    )
    index = dumping.index(entry, type="mirror", mirror_url=up.simple_url, projects={})
    site.write({"root/pypi": index}, users={"root": dumping.user(username="root")})
    (site.dump / entry["relpath"]).write_bytes(file.data)
    assert site("--json").json["imported"]["files"] == 1

    with site.serve() as server:
        assert server(server.links("upstairs")[file.filename]["url"]).body == file.data
    assert up.count(file.path) == 0
    assert site("--json").json["imported"]["files_there"] == 1


def test_each_thing_that_came_is_in_the_audit_trail(site: Site) -> None:
    site.put(SDIST)
    site()
    rows = [row for row in site.audit() if row.origin == "devpi-import"]

    assert {row.who for row in rows} == {"root"}
    assert [(row.action, row.target) for row in rows] == [
        ("user_create", "root"),
        ("index_create", "root/pypi"),
        ("user_create", "alice"),
        ("index_create", "alice/dev"),
        ("import", "alice/dev"),
        ("import", f"alice/dev/{SDIST.filename}"),
    ]


def test_a_large_index_comes_in_many_transactions(site: Site) -> None:
    versions = [f"1.{number}" for number in range(450)]
    entries = [
        dumping.release(version=version, relpath=f"alice/dev/demo/{version}/demo-{version}.tar.gz")
        for version in versions[:120]
    ]
    projects = {"demo": {each: {"name": "demo", "version": each} for each in versions}}
    site.write({"alice/dev": dumping.index(*entries, projects=projects)})
    told = site("--json")

    assert told.json["imported"]["releases"] == 450
    assert len(site.files()) == 120
    serials = {row.serial for row in site.audit() if row.action == "import"}
    assert len(serials) == 3 + 3


# Into what


def test_a_dry_run_says_what_it_would_do_and_makes_nothing(site: Site) -> None:
    site.put(SDIST, WHEEL)
    told = site("--dry-run", "--json")

    assert told.code == 0
    assert told.json["plan"] == {
        "users": ["alice"],
        "indexes": ["alice/dev"],
        "files": 2,
        "size": len(SDIST.data) + len(WHEEL.data),
        "files_there": 0,
    }
    assert not site.shell.datadir.exists()


def test_a_dry_run_changes_nothing_that_is_there(site: Site) -> None:
    site.put(SDIST)
    site.shell(init.main)
    before = (site.shell.datadir / "devpi.sqlite").read_bytes()
    assert site("--dry-run").code == 0

    assert (site.shell.datadir / "devpi.sqlite").read_bytes() == before


def test_a_second_run_has_nothing_left_to_do(site: Site) -> None:
    site.put(SDIST, WHEEL)
    site()
    told = site("--json")

    assert told.code == 0
    assert told.json["imported"] == {
        "users": 0,
        "indexes": 0,
        "releases": 0,
        "files": 0,
        "size": 0,
        "files_there": 2,
    }


def test_what_is_there_stays_as_it_is(site: Site) -> None:
    site.put(SDIST, volatile=False, title="old")
    with site.serve() as server:
        Person(server).ok("PUT", "/alice", {"password": "hers, here"})
        server.add_index("alice/dev", title="new")
        assert upload(server, "alice/dev", WHEEL, basic("alice", "hers, here")).status == 200
    told = site("--json")

    assert told.json["warnings"] == [
        "user alice is there, and keeps its password here",
        "index alice/dev is there, and stays as it is configured",
    ]
    assert set(site.files()) == {SDIST.filename, WHEEL.filename}
    assert site.options("alice/dev") == {"title": "new"}
    with site.serve() as server:
        assert login(server, "alice", "hers, here") == 200
        assert login(server, "alice", PASSWORD) == 401


def test_metadata_that_is_there_counts_more(site: Site) -> None:
    site.write(
        {
            "alice/dev": dumping.index(
                projects={"demo": {"1.0": {"name": "demo", "version": "1.0", "summary": "dumped"}}}
            )
        }
    )
    with site.serve() as server:
        Person(server).ok("PUT", "/alice", {"password": "pw"})
        server.add_index("alice/dev")
        mine = basic("alice", "pw")
        assert upload(server, "alice/dev", SDIST, mine, summary="here").status == 200
    site()

    with site.serve() as server, server.services.meta.reading() as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        (release,) = tables.releases.of(row.id, project("demo"))
    assert release.fields["summary"] == "here"


def test_it_works_while_a_server_runs(site: Site) -> None:
    site.put(SDIST)
    with site.serve() as server:
        assert server("/alice/dev/+simple/demo/").status == 404
        site()
        assert server("/alice/dev/+simple/demo/").status == 200


# What is in the way


def refused(site: Site, *words: str) -> list[str]:
    """The faults of an import that is refused; nothing has been imported."""
    told = site("--json", *words)
    assert told.code == 1
    assert "imported" not in told.json
    dry = site("--json", "--dry-run", *words)
    assert dry.json["errors"] == told.json["errors"]
    found: list[str] = told.json["errors"]
    return found


def test_other_bytes_under_a_name_are_told_before_anything_comes(site: Site) -> None:
    site.write({"alice/dev": dumping.index(dumping.release()), "alice/new": dumping.index()})
    with site.serve() as server:
        Person(server).ok("PUT", "/alice", {"password": "pw"})
        server.add_index("alice/dev")
        assert upload(server, "alice/dev", SDIST, basic("alice", "pw")).status == 200

    assert refused(site) == ["alice/dev has a demo-1.0.tar.gz with other bytes"]
    with site.serve() as server:
        assert server.request("GET", "/alice").json["result"]["indexes"].keys() == {"dev"}


def test_what_is_a_mirror_here_is_no_stage(site: Site) -> None:
    site.write({"root/pypi": dumping.index()}, users={"root": dumping.user(username="root")})
    site.shell(init.main)

    assert refused(site) == ["root/pypi is a stage in the dump, and a mirror here"]


@pytest.mark.parametrize("name", ["pypi", "_alice", "-alice", ".alice"])
def test_a_name_that_no_user_can_have_here_is_refused_and_can_be_renamed(
    site: Site, name: str
) -> None:
    index = dumping.index(bases=[f"{name}/base"], acl_upload=[name, "bob"])
    users = {name: dumping.user(pwhash=PWHASH), "bob": dumping.user()}
    site.write({f"{name}/dev": index, f"{name}/base": dumping.index()}, users=users)

    (fault,) = refused(site)
    assert "--rename" in fault
    assert site(f"--rename={name}=alice").code == 0
    with site.serve() as server:
        assert login(server, "alice", PASSWORD) == 200
        config = server.request("GET", "/alice/dev?no_projects=").json["result"]
    assert config["bases"] == ["alice/base"]
    with site.serve() as server, server.services.meta.reading() as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        assert row.options["acl_upload"] == ["alice", "bob"]


def test_an_index_can_be_renamed(site: Site) -> None:
    site.write({"alice/_dev": dumping.index(dumping.release())})

    assert refused(site)
    assert site("--rename", "alice/_dev=alice/dev").code == 0
    assert set(site.files()) == {"demo-1.0.tar.gz"}


@pytest.mark.parametrize(
    ("pair", "said"),
    [("bob=carol", "no bob"), ("alice/dev=alice/prod", "would be called alice/prod")],
)
def test_a_renaming_that_cannot_be_is_refused(site: Site, pair: str, said: str) -> None:
    site.write({"alice/dev": dumping.index(), "alice/prod": dumping.index()})

    assert said in " ".join(refused(site, "--rename", pair))


@pytest.mark.parametrize("pair", ["alice", "alice=", "alice=bob/dev", "a/b/c=d/e/f"])
def test_a_renaming_that_is_none_is_refused(site: Site, pair: str) -> None:
    site.write()

    assert site("--rename", pair).code == 2


def test_an_index_of_a_type_that_is_not_known_is_refused_or_left_out(site: Site) -> None:
    """Constraints are not a stage that would show more."""
    site.write({"alice/only": dumping.index(type="constraints"), "alice/dev": dumping.index()})

    (fault,) = refused(site)
    assert "--skip-import-type constraints" in fault
    assert site("--skip-import-type", "constraints").code == 0
    with site.serve() as server:
        assert server.request("GET", "/alice").json["result"]["indexes"].keys() == {"dev"}


def test_a_dump_with_a_missing_file_is_refused(site: Site) -> None:
    site.write()
    (site.dump / dumping.RELPATH).unlink()

    (fault,) = refused(site)
    assert "demo-1.0.tar.gz is missing" in fault


def test_a_folder_that_is_no_dump_is_refused(site: Site) -> None:
    site.dump.mkdir()
    told = site()

    assert (told.code, told.err.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("word", "value"), [("acl_upload", 5), ("acl_read", {}), ("volatile", "x")]
)
def test_an_option_that_decides_who_may_what_is_not_guessed(
    site: Site, word: str, value: object
) -> None:
    site.write({"alice/dev": dumping.index(**{word: value})})

    (fault,) = refused(site)
    assert fault.startswith(f"index alice/dev, {word}: ")


def test_other_options_that_cannot_be_are_left_out_with_a_warning(site: Site) -> None:
    site.write({"alice/dev": dumping.index(title="two\nlines", of_a_plugin=1)})
    told = site("--json")

    assert told.code == 0
    assert [each.partition(":")[0] for each in told.json["warnings"]] == [
        "index alice/dev, title",
        "index alice/dev, of_a_plugin",
    ]
    assert site.options("alice/dev") == {"bases": [], "volatile": True}


def test_details_of_a_user_that_cannot_be_are_left_out_with_a_warning(site: Site) -> None:
    user = dumping.user(email=5, of_a_plugin=1, custom_data={"a": [1]})
    site.write({"alice/dev": dumping.index()}, users={"alice": user})
    told = site("--json")

    assert told.code == 0
    assert len(told.json["warnings"]) == 2
    with site.serve() as server:
        assert server.request("GET", "/alice").json["result"]["custom_data"] == {"a": [1]}


def test_a_file_that_is_not_what_was_dumped_keeps_no_other_from_coming(site: Site) -> None:
    """It comes with the next run, once it is mended."""
    site.put(SDIST, WHEEL)
    document = json.loads((site.dump / "dataindex.json").read_text())
    entry = document["indexes"]["alice/dev"]["files"][0]
    entry["entrymapping"] = {"hash_spec": f"sha256={dumping.SHA256}"}
    (site.dump / "dataindex.json").write_text(json.dumps(document))
    told = site("--json")

    assert told.code == 1
    assert len(told.json["errors"]) == 1
    assert SDIST.filename in told.json["errors"][0]
    assert set(site.files()) == {WHEEL.filename}

    (site.dump / relpath(SDIST)).write_bytes(dumping.CONTENT)
    assert site().code == 0
    assert set(site.files()) == {WHEEL.filename, SDIST.filename}


# Names that are there twice


def test_two_spellings_of_a_version_are_one_with_the_files_of_both(site: Site) -> None:
    site.write(
        {
            "alice/dev": dumping.index(
                *(
                    dumping.release(
                        version=each, relpath=f"alice/dev/demo/{each}/demo-{each}.tar.gz"
                    )
                    for each in ("2.0", "2.0.0")
                ),
                projects={
                    "demo": {
                        "2.0": {"name": "demo", "version": "2.0", "summary": "one"},
                        "2.0.0": {"name": "demo", "version": "2.0.0", "license": "MIT"},
                    }
                },
            )
        }
    )
    told = site("--json")

    assert "alice/dev has demo 2.0.0 as version 2.0" in told.json["warnings"]
    assert {file.version for file in site.files().values()} == {"2.0"}
    assert len(site.files()) == 2
    with site.serve() as server, server.services.meta.reading() as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        (release,) = tables.releases.of(row.id, project("demo"))
    assert release.fields == {"name": "demo", "version": "2.0", "summary": "one", "license": "MIT"}


def test_two_results_of_one_name_are_kept_and_stay_two(site: Site) -> None:
    name = "demo-1.0.tar.gz.toxresult-20261121070449-0"
    other = f"alice/dev/demo/md5={dumping.MD5}/{name}"
    entries = [dumping.release(), dumping.tox_result(), dumping.tox_result(relpath=other)]
    site.write({"alice/dev": dumping.index(*entries)})
    (site.dump / other).write_bytes(b"another")
    for _ in range(2):
        assert site().code == 0
        files = site.files()
        assert sorted(files) == ["demo-1.0.tar.gz", name, f"{name}-1"]
        assert files[name].sha256 != files[f"{name}-1"].sha256
        assert {files[each].for_file for each in (name, f"{name}-1")} == {"demo-1.0.tar.gz"}


def test_two_documentations_of_one_name_are_kept(site: Site) -> None:
    one, other = "alice/dev/demo/1.0/demo.doc.zip", "alice/dev/demo/1.1/demo.doc.zip"
    entries = [
        dumping.release(type="doczip", relpath=one),
        dumping.release(type="doczip", relpath=other, version="1.1", entrymapping={}),
    ]
    site.write({"alice/dev": dumping.index(*entries)})
    (site.dump / other).write_bytes(b"another")
    assert site().code == 0

    assert {file.filename: file.version for file in site.files().values()} == {
        "demo.doc.zip": "1.0",
        "demo-1.doc.zip": "1.1",
    }
    assert {file.kind for file in site.files().values()} == {FileKind.DOCS}


def twice(site: Site) -> str:
    """A dump in which two projects have a file of one name; the path of the second."""
    other = "alice/dev/demo-1/0/demo-1.0.tar.gz"
    second = dumping.release(
        projectname="demo-1", version="0", relpath=other, entrymapping={}, log=None
    )
    site.write({"alice/dev": dumping.index(dumping.release(), second)})
    return other


def test_two_files_of_one_name_are_not_chosen_from(site: Site) -> None:
    (site.dump / twice(site)).write_bytes(b"another")

    (fault,) = refused(site)
    assert fault.startswith("the dump has two different demo-1.0.tar.gz for alice/dev; ")


def test_the_same_file_of_two_projects_stays_with_the_first(site: Site) -> None:
    twice(site)
    told = site("--json")

    assert told.code == 0
    assert any("it stays with the first" in each for each in told.json["warnings"])
    assert site.files()["demo-1.0.tar.gz"].project == "demo"


# Root


def with_root(site: Site, **changes: Any) -> None:
    site.write(users={"root": dumping.user(username="root", **changes), "alice": dumping.user()})


def test_root_has_the_password_of_the_dump(site: Site) -> None:
    with_root(site, pwhash=PWHASH)
    site()

    with site.serve() as server:
        assert login(server, "root", PASSWORD) == 200
        assert login(server, "root", "") == 401


def test_an_empty_password_of_root_is_good_at_this_machine_only(site: Site) -> None:
    """As with every new server; it is told."""
    with_root(site, pwhash=EMPTY)
    told = site("--json")

    assert any("root has no password" in each for each in told.json["warnings"])
    with site.serve() as server:
        assert login(server, "root", "") == 200
        assert login(server.seen_from("192.0.2.1"), "root", "") == 401


def test_root_can_be_given_another_password(site: Site) -> None:
    with_root(site, pwhash=EMPTY)
    site("--root-passwd", "better")

    with site.serve() as server:
        assert login(server, "root", "better") == 200


def test_root_keeps_the_password_that_it_has_here(site: Site) -> None:
    with_root(site, pwhash=PWHASH)
    site.shell(init.main, "--root-passwd", "of this server")
    site("--root-passwd", "of the import")

    with site.serve() as server:
        assert login(server, "root", "of this server") == 200


def test_the_mirror_of_a_new_server_becomes_that_of_the_dump(site: Site, up: Upstream) -> None:
    mirror = dumping.index(
        type="mirror", mirror_url="https://pypi.example/simple/", mirror_cache_expiry=600
    )
    site.write(
        {"root/pypi": mirror},
        users={"root": dumping.user(username="root", pwhash=PWHASH)},
    )
    site.shell(init.main)
    site()
    options = site.options("root/pypi")

    assert (options["mirror_url"], options["mirror_cache_expiry"]) == (
        "https://pypi.example/simple/",
        600,
    )


def test_no_mirror_is_made_where_none_is_wanted(site: Site) -> None:
    site.write()
    site("--no-root-pypi")

    with site.serve() as server:
        assert server.request("GET", "/root").json["result"]["indexes"] == {}


def test_only_root_s_mirrors_lead_into_private_networks(site: Site) -> None:
    mirror = dumping.index(type="mirror", mirror_url="http://10.0.0.1/simple/")
    users = {"root": dumping.user(username="root", pwhash=PWHASH), "alice": dumping.user()}
    site.write({"root/inner": mirror, "alice/inner": mirror}, users=users)
    told = site("--json")

    (warning,) = (each for each in told.json["warnings"] if "private network" in each)
    assert warning.startswith("the mirror alice/inner is not root's: ")
    assert site.options("root/inner")["own_host_is_trusted"] is True
    assert "own_host_is_trusted" not in site.options("alice/inner")


def test_a_mirror_of_the_configuration_stays_what_it_is(
    site: Site, up: Upstream, tmp_path: Path
) -> None:
    config = tmp_path / "devpi.yml"
    config.write_text(f"mirrors:\n  root/other: {{mirror_url: '{up.simple_url}'}}\n")
    mirror = dumping.index(type="mirror", mirror_url="https://other.example/simple/")
    users = {"root": dumping.user(username="root", pwhash=PWHASH), "alice": dumping.user()}
    stage = dumping.index(bases=["root/other"])
    site.write({"root/other": mirror, "alice/dev": stage}, users=users)
    told = site("--configfile", config, "--json")

    assert told.code == 0
    assert told.json["plan"]["indexes"] == ["alice/dev"]
    assert site.options("alice/dev")["bases"] == ["root/other"]


# Hard links


def test_files_can_be_linked(site: Site) -> None:
    site.put(SDIST)
    assert site("--hard-links").code == 0
    path = site.dump / relpath(SDIST)

    assert path.stat().st_nlink == 2
    with site.serve() as server:
        link = server.links("demo", "/alice/dev/+simple/")[SDIST.filename]
        assert server(link["url"]).body == SDIST.data
    assert list((site.shell.datadir / "incoming").iterdir()) == []


def test_a_file_that_is_not_what_was_dumped_is_not_linked(site: Site) -> None:
    site.write()
    (site.dump / dumping.RELPATH).write_bytes(b"CONTENT")
    told = site("--hard-links", "--json")

    assert told.code == 1
    assert len(told.json["errors"]) == 1
    assert site.files() == {}
    assert (site.dump / dumping.RELPATH).stat().st_nlink == 1


# All the same


def test_a_server_that_was_imported_needs_no_init(site: Site) -> None:
    """The secret of its logins is there, for nobody else to read."""
    site.write()
    site()

    assert stat.S_IMODE((site.shell.datadir / "secret").stat().st_mode) == 0o600
    assert site.shell(init.main).code == 1


def test_old_scripts_are_understood(site: Site) -> None:
    site.write()

    assert site("--no-events").code == 0


def test_pages_show_what_came(site: Site) -> None:
    site.put(SDIST)
    site()

    with site.serve() as server:
        listing = server("/alice/dev/+simple/", {"Accept": JSON}).json
    assert [each["name"] for each in listing["projects"]] == ["demo"]


# How far it is


def big(site: Site, count: int) -> None:
    entries = [
        dumping.release(version=f"1.{each}", relpath=f"alice/dev/demo/{each}/demo-1.{each}.tar.gz")
        for each in range(count)
    ]
    site.write({"alice/dev": dumping.index(*entries)})


def test_a_line_now_and_then_says_how_far_it_is(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr("devpi_server.cli.progress._EVERY", 2)
    big(site, 5)
    told = site()

    assert "2 files, 14 bytes\n4 files, 28 bytes\n" in told.out


def test_somebody_at_a_terminal_sees_a_bar(site: Site) -> None:
    big(site, 3)
    program = "import sys; from devpi_server.cli.import_ import main; sys.exit(main())"
    master, slave = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program, f"--datadir={site.shell.datadir}", "--json", site.dump],
        stdout=subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    seen = os.read(master, 100_000).decode()
    os.close(master)

    assert done.returncode == 0
    assert json.loads(done.stdout)["imported"]["files"] == 3
    assert "3 files" in seen
