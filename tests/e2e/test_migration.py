"""From the other devpi-server and back to it: nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from upstream import Upstream

from devpi_server.services.dump.read import Dump, open_dump
from devpi_server.services.dump.write import write_dump
from devpi_server.store.meta import FileKind

from .clients import Clients, Desk
from .realdata import PASSWORDS, everything, fill
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


def _but_for_bases(shown: dict[str, Any]) -> dict[str, Any]:
    """Without what was mended: bases that are not there, or go in circles."""
    indexes = {name: {**config} for name, config in shown["indexes"].items()}
    for name in ("bob/widow", "bob/egg", "bob/hen"):
        del indexes[name]["bases"]
    return {**shown, "indexes": indexes}
