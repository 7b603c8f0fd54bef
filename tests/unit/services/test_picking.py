"""What is picked from a mirror for a push: files with all that belongs to them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import orjson
import pytest
from fakes import FakeClient, FakeClock, FakeSource, MemoryBlobs, Resource
from upstream.artefacts import sdist, wheel

from devpi_server.errors import BadRequest, Failed, NotFound, TimedOut
from devpi_server.names import file_path, project
from devpi_server.records import Link, Page
from devpi_server.services.downloads import Downloads
from devpi_server.services.index_options import options_of
from devpi_server.services.indexes import Index, Mirrored
from devpi_server.services.owners.mirror import MirrorFiles
from devpi_server.services.picking import Fetching, Picked
from devpi_server.services.push_order import Order
from devpi_server.sources.mirror import Mirror
from devpi_server.store.heldfiles import Facts, HeldFiles
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.store.meta import FileKind, IndexRow
from devpi_server.store.vanished import Vanished
from devpi_server.upstream.files import FileFetcher
from devpi_server.upstream.shelf import Shelf
from devpi_server.upstream.wheels import WheelMetadata

DEMO = project("demo")
WHEEL, SDIST = wheel("demo", "1.0", requires_python=">=3.8"), sdist("Demo", "1.0")
SHA256 = hashlib.sha256(WHEEL.data).hexdigest()
URL = f"https://files.test/{WHEEL.filename}"
PROVENANCE = "https://index.test/integrity/demo/1.0/provenance"
LINK = Link(WHEEL.filename, URL, {"sha256": SHA256, "md5": "0" * 32}, gpg_sig=True)
ATTESTED = {"attestation_bundles": [{"attestations": [{"version": 1}]}]}


class World:
    """A mirror with the pages and files of a test."""

    def __init__(self, folder: Path) -> None:
        self.client = FakeClient()
        self.client.resources[URL] = Resource(WHEEL.data)
        self.blobs = MemoryBlobs()
        self.source = FakeSource()
        incoming = Incoming(folder / "incoming")
        self.locks = Locks(folder / "locks")
        shelf = Shelf(self.blobs, HeldFiles(folder / "held", incoming), Facts(folder / "facts"))
        files = FileFetcher(
            scope="root/pypi",
            client=self.client,
            shelf=shelf,
            wheels=WheelMetadata(self.client, shelf),
            locks=self.locks,
            timeout=30.0,
            offline=False,
        )
        mirror = Mirror(None, files, None, Vanished(folder / "vanished", incoming))  # type: ignore[arg-type]
        row = IndexRow("root", "pypi", "mirror", {}, id=1)
        mirrored = Mirrored(self.source, mirror)
        files = MirrorFiles(self.source, mirror)
        options = options_of(row)
        self.index = Index("root/pypi", row, options, self.source, mirrored, files, (), {})
        self.downloads = Downloads(self)  # type: ignore[arg-type]
        self.fetching = Fetching(self.downloads, self.blobs, FakeClock())

    def find(self, _: str) -> Index:
        """As ``Indexes`` does."""
        return self.index

    def picked(self, *links: Link, version: str = "1.0", kinds: object = FileKind) -> Picked:
        if links:
            self.source.put(Page(DEMO, links))
        order = Order("Demo", DEMO, version, frozenset(kinds))  # type: ignore[call-overload]
        return self.fetching.picked(self.index, order)

    def body(self, sha256: str | None) -> bytes | None:
        blob = self.blobs.find(sha256) if sha256 is not None else None
        return blob.path.read_bytes() if blob is not None else None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.locks.close()


def test_a_file_comes_with_all_that_its_page_promises(world: World) -> None:
    world.client.resources |= {
        f"{URL}.asc": Resource(b"PGP"),
        PROVENANCE: Resource(orjson.dumps(ATTESTED)),
    }
    when = datetime(2020, 1, 2, tzinfo=timezone.utc)
    link = Link(
        WHEEL.filename,
        URL,
        LINK.digests,
        uploaded=when,
        requires_python=">=3",
        yanked="bad",
        gpg_sig=True,
        provenance=PROVENANCE,
    )

    (file,) = world.picked(link).files

    assert (file.kind, file.filename, file.version) == (FileKind.RELEASE, WHEEL.filename, "1.0")
    assert (file.sha256, file.size, file.digests) == (SHA256, len(WHEEL.data), {"md5": "0" * 32})
    assert (file.uploaded, file.requires_python, file.yanked) == (when.timestamp(), ">=3", "bad")
    found = [world.body(each) for each in (file.metadata, file.signature, file.provenance)]
    assert found == [WHEEL.metadata, b"PGP", orjson.dumps(ATTESTED)]


@pytest.mark.parametrize("document", [b"{}", b"no json", b"[]", b'{"attestation_bundles": 1}'])
def test_a_provenance_that_is_none_stays_there(world: World, document: bytes) -> None:
    world.client.resources[PROVENANCE] = Resource(document)

    (file,) = world.picked(Link(LINK.filename, URL, LINK.digests, provenance=PROVENANCE)).files
    assert file.provenance is None


def test_what_is_promised_and_not_there_is_left_out(world: World) -> None:
    (file,) = world.picked(LINK).files

    assert file.signature is None


def test_a_companion_without_end_is_left_out(world: World) -> None:
    world.client.resources[f"{URL}.asc"] = Resource(b"x" * 1024 * 1025)

    (file,) = world.picked(LINK).files
    assert file.signature is None


def test_what_cannot_be_told_of_a_companion_is_not_left_out(world: World) -> None:
    world.client.resources[f"{URL}.asc"] = Failed("files.test answers with 500")

    with pytest.raises(Failed):
        world.picked(LINK)


def test_a_file_is_waited_for_until_a_deadline_and_goes_on_arriving(world: World) -> None:
    release = threading.Event()
    world.client.resources[URL] = Resource(
        WHEEL.data, before_its_end=lambda: release.wait(30), tells_length=False
    )
    world.source.put(Page(DEMO, (LINK,)))
    path = file_path(LINK.filename, LINK.url, LINK.digests)

    with pytest.raises(TimedOut, match="is still being fetched"):
        world.downloads.fetch("root/pypi", path, 0.01)
    release.set()
    assert world.downloads.fetch("root/pypi", path, 30).sha256 == SHA256
    assert [method for method, url, _ in world.client.asked if url == URL] == ["stream"]


def test_the_metadata_is_that_of_the_wheel(world: World) -> None:
    url = f"https://files.test/{SDIST.filename}"
    world.client.resources[url] = Resource(SDIST.data)

    picked = world.picked(Link(SDIST.filename, url), LINK)

    assert [file.filename for file in picked.files] == [WHEEL.filename, SDIST.filename]
    assert picked.version == "1.0"
    assert (picked.fields["name"], picked.fields["requires_python"]) == ("demo", ">=3.8")


@pytest.mark.parametrize(
    ("filename", "version", "is_of"),
    [
        ("demo-1.0.tar.gz", "1", True),
        ("demo-1.0.tar.gz", "1.0.0", True),
        ("demo-1.0rc1.tar.gz", "1.0-rc1", True),
        ("demo-1.0.win32-py2.7.exe", "1.0", True),
        ("demo-1.0-py2.7.egg", "1.0", True),
        ("demo-1.0.1.tar.gz", "1.0", False),
        ("demo-1.0.tar.gz", "1.0.post1", False),
        ("demo.html", "1.0", False),
    ],
)
def test_the_files_of_a_version_are_known_by_their_names(
    world: World, filename: str, version: str, is_of: bool
) -> None:
    """However it is spelled. What they hold need not be sound: upstream serves it, too."""
    url = f"https://files.test/{filename}"
    world.client.resources[url] = Resource(b"bytes")
    link = Link(filename, url)

    if is_of:
        assert [each.filename for each in world.picked(link, version=version).files] == [filename]
    else:
        with pytest.raises(BadRequest, match=f"no files for Demo {version} on stage root/pypi"):
            world.picked(link, version=version)


def test_a_mirror_without_the_project_has_no_files_of_it(world: World) -> None:
    with pytest.raises(BadRequest, match=r"there are no files for Demo 1\.0 on stage root/pypi"):
        world.picked()


def test_a_mirror_has_no_documentation(world: World) -> None:
    with pytest.raises(NotFound, match=r"no release/files found for Demo 1\.0"):
        world.picked(LINK, kinds=[FileKind.DOCS])
    assert world.client.asked == []
