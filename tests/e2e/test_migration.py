"""From the other devpi-server and back to it: nothing is lost on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_version
from server import ServerProcess, clean_environment
from upstream import Upstream

from devpi_server.services.dump.read import Dump, open_dump
from devpi_server.services.dump.write import write_dump
from devpi_server.store.meta import FileKind

from .clients import Clients, Desk
from .realdata import DOCS, PASSWORDS, everything, fill
from .realdevpi import Person, RealDevpi


@dataclass(frozen=True)
class Old:
    """A devpi-server with a long life behind it."""

    shown: dict[str, Any]
    dump: Path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("migration"))


@pytest.fixture(scope="module")
def old(clients: Clients, desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    folder = tmp_path_factory.mktemp("old")
    real = RealDevpi(folder / "real", clients, desk)
    real.init(PASSWORDS["root"])
    with Upstream() as up:
        with real:
            fill(real, up, clients, desk)
            shown = everything(real)
        real.export(folder / "dump", "--include-mirrored-files")
        yield Old(shown, folder / "dump")


def test_a_dump_of_the_other_server_is_read_whole(old: Old) -> None:
    """Users, settings, metadata, files, their history: the dump says what the server showed."""
    dump = open_dump(old.dump)
    shown = old.shown
    survey = dump.survey()

    assert survey.faults == ()
    assert set(dump.warnings) == {
        "index bob/widow: its base bob/gone is not there, and was left out",
        next(each for each in dump.warnings if "builds on it in turn" in each),
    }
    assert {user.name for user in dump.users} == set(shown["users"]) == set(PASSWORDS)
    for user in dump.users:
        times = {"created": user.created, "modified": user.modified}
        texts = {key: f"{when:%Y-%m-%dT%H:%M:%SZ}" for key, when in times.items() if when}
        said = {"username": user.name, "indexes": None, **texts, **user.details}
        assert said == shown["users"][user.name]
    for index in dump.indexes:
        said = shown["indexes"][index.full_name]
        config = {"type": index.type, "projects": said["projects"], **index.options}
        if index.type != "mirror":
            config["bases"] = said["bases"]
        assert config == said
        assert set(said.get("bases", ())) - set(index.bases) <= {"bob/gone", "bob/egg", "bob/hen"}
    versions = {
        f"{index.full_name}/{project}": releases
        for index in dump.indexes
        if index.type != "mirror"
        for project, releases in _versions(dump, index.full_name).items()
    }
    assert versions == {
        name: {version: _in_short(release) for version, release in releases.items()}
        for name, releases in shown["versions"].items()
    }


def _versions(dump: Dump, index: str) -> dict[str, Any]:
    """What the dump has, in the words of the protocol."""
    found: dict[str, dict[str, Any]] = {}
    for release in dump.releases(index):
        found.setdefault(release.project, {})[release.version] = dict(release.metadata)
    for file in dump.files(index):
        for _ in dump.blocks(file):
            pass  # it checks the digests
        events = [
            {
                "what": event.what,
                "who": event.who,
                "when": list(event.when.timetuple()[:6]),
                "dst": event.dst,
                "src": event.src,
                "count": event.count,
            }
            for event in file.log
        ]
        link = {"rel": file.kind.value, "sha256": file.digests["sha256"], "log": events}
        link["for"] = file.tested and file.tested.filename
        name = None if file.kind is FileKind.DOCS else file.filename
        found[file.project][file.version].setdefault("+links", {})[name] = link
    return found


def _in_short(release: dict[str, Any]) -> dict[str, Any]:
    """What the server showed, in the same form."""
    keys = ("what", "who", "when", "dst", "src", "count")
    links = {
        None if link["rel"] == "doczip" else link["href"].rpartition("/")[2]: {
            "rel": link["rel"],
            "sha256": link["hashes"]["sha256"],
            "log": [{key: event.get(key) for key in keys} for event in link["log"]],
            "for": link["for_href"].rpartition("/")[2] if "for_href" in link else None,
        }
        for link in release.get("+links", ())
    }
    rest = {key: value for key, value in release.items() if not key.startswith("+")}
    return {**rest, **({"+links": links} if links else {})}


def test_a_dump_of_ours_is_read_by_the_other_server(
    old: Old, clients: Clients, desk: Desk, tmp_path: Path
) -> None:
    """What went through our hands gives a server that shows the same, to the same people."""
    dump = open_dump(old.dump)
    contents = (
        (each, dump.releases(each.full_name), dump.files(each.full_name)) for each in dump.indexes
    )
    write_dump(tmp_path / "dump", dump.users, contents, written_by="6.21.0", hard_links=True)
    new = RealDevpi(tmp_path / "new", clients, desk)
    new.load(tmp_path / "dump")
    with new:
        shown = everything(new)
        for name, password in PASSWORDS.items():
            Person(name, password, new, clients, desk)

    assert _but_for_bases(shown) == _but_for_bases(old.shown)


def test_a_server_that_was_imported_here_shows_the_same(old: Old, tmp_path: Path) -> None:
    """Page by page and file by file, to the same people with the same passwords."""
    new = tmp_path / "new"
    said = _told("import_", "--datadir", new, "--no-root-pypi", "--dry-run", old.dump)
    assert not new.exists()
    done = _told("import_", "--datadir", new, "--no-root-pypi", old.dump)
    assert done["plan"] == said["plan"]
    assert {key: done["imported"][key] for key in ("users", "indexes", "files")} == {
        "users": len(old.shown["users"]),
        "indexes": len(old.shown["indexes"]),
        "files": said["plan"]["files"],
    }
    with ServerProcess("--datadir", str(new), log=tmp_path / "log") as server:
        shown = everything(server)
        for name, password in PASSWORDS.items():
            login = {"user": name, "password": password}
            assert server.request("POST", "/+login", login).status == 200
        words = server("/bob/team/words/3.0/+doc/index.html").body

    assert words == DOCS["index.html"]
    assert _in_common(shown) == _in_common(old.shown)


def test_our_dump_of_it_is_imported_by_either_server(
    old: Old, clients: Clients, desk: Desk, tmp_path: Path
) -> None:
    """Here nothing changes any more; there it is what it was."""
    options = ("--include-mirrored-files", "--hard-links")
    _told("import_", "--datadir", tmp_path / "one", "--no-root-pypi", old.dump)
    _told("export", "--datadir", tmp_path / "one", *options, tmp_path / "dump")
    _told("import_", "--datadir", tmp_path / "two", "--hard-links", tmp_path / "dump")
    _told("export", "--datadir", tmp_path / "two", *options, tmp_path / "again")
    there = RealDevpi(tmp_path / "there", clients, desk)
    there.load(tmp_path / "dump")
    with there:
        shown = everything(there)
        for name, password in PASSWORDS.items():
            Person(name, password, there, clients, desk)

    assert _dataindex(tmp_path / "again") == _dataindex(tmp_path / "dump")
    assert _in_common(shown) == _in_common(old.shown)
    assert _uploaded(shown) == _uploaded(old.shown)


def _told(module: str, *words: str | Path) -> Any:
    """What a command of ours says that it has done."""
    program = f"import sys; from devpi_server.cli.{module} import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "--json", *words],
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _dataindex(dump: Path) -> Any:
    """What is in the dump, but for the times of mirrored files, which are those of their bytes."""
    document = json.loads((dump / "dataindex.json").read_text())
    for file in document["indexes"]["root/pypi"]["files"]:
        del file["entrymapping"]["last_modified"]
    return document


def _in_common(shown: dict[str, Any]) -> dict[str, Any]:
    """What both servers show, each in its own words."""
    indexes = _but_for_bases(shown)["indexes"]
    indexes["root/pypi"] = {**indexes["root/pypi"], "projects": None}  # what upstream lists
    indexes["root/pypi"].pop("own_host_is_trusted", None)
    return {
        "users": shown["users"],
        "indexes": indexes,
        "versions": {name: _merged(versions) for name, versions in shown["versions"].items()},
        "pages": {
            name: {
                filename: (link["url"], link["hashes"], link.get("requires-python") or None)
                for filename, link in page.items()
            }
            for name, page in shown["pages"].items()
        },
        "files": {_place(path): digest for path, (_, digest) in shown["files"].items()},
    }


def _merged(versions: dict[str, Any]) -> dict[str, Any]:
    """Two spellings of a version are one here, with the files of both."""
    merged: dict[str, Any] = {}
    for version, release in sorted(versions.items()):
        links = {_place(link["href"]): {**link, "href": None} for link in release.get("+links", ())}
        rest = {  # of what was pushed from a mirror, they show no empty fields
            key: value
            for key, value in release.items()
            if key not in ("+links", "version") and value not in ("", [])
        }
        found = merged.setdefault(canonicalize_version(version), {**rest, "+links": {}})
        found["+links"].update(links)
    return merged


def _place(path: str) -> str:
    """The address of a file, but for the digest in it: results of tox have it from another file."""
    return re.sub(r"\+f/[0-9a-f]+/[0-9a-f]+/(.*\.toxresult-.*)", r"\1", path)


def _uploaded(shown: dict[str, Any]) -> dict[str, str]:
    return {_place(path): when for path, (when, _) in shown["files"].items()}


def _but_for_bases(shown: dict[str, Any]) -> dict[str, Any]:
    """Without what was mended: bases that are not there, or go in circles."""
    indexes = {name: {**config} for name, config in shown["indexes"].items()}
    for name in ("bob/widow", "bob/egg", "bob/hen"):
        del indexes[name]["bases"]
    return {**shown, "indexes": indexes}
