"""Which serials an upstream's root page gives."""

from __future__ import annotations

import pytest

from devpi_server.errors import Corrupt, Unsupported
from devpi_server.simple.serials import Serials

JSON = "application/vnd.pypi.simple.v1+json"


def serials(document: bytes) -> list[tuple[str, int]]:
    return list(Serials([document], JSON))


def test_each_project_with_its_serial() -> None:
    """Names are normalised; what has no serial or no valid name is left out."""
    document = b"""{"meta": {"api-version": "1.4", "_last-serial": 9}, "projects": [
        {"name": "Foo.Bar", "_last-serial": 3}, {"_last-serial": 1, "name": "b"}, {"name": "c"},
        {"name": "d", "_last-serial": "4"}, {"name": "e", "_last-serial": true},
        {"name": "f", "_last-serial": -1}, {"name": "g", "_last-serial": 1e3},
        {"name": "../h", "_last-serial": 5}, {"name": null, "_last-serial": 6}, 7]}"""
    assert serials(document) == [("foo-bar", 3), ("b", 1)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_it_is_read_as_a_stream(size: int) -> None:
    """However the network cuts it."""
    rows = ",".join(f'{{"name":"p{n}","_last-serial":{n}}}' for n in range(5000))
    document = f'{{"meta":{{"_last-serial":4999}},"projects":[{rows}]}}'.encode()
    chunks = (document[at : at + size] for at in range(0, len(document), size))
    found = Serials(chunks, JSON)
    assert list(found) == [(f"p{n}", n) for n in range(5000)]
    assert found.overall == 4999


def test_the_lists_own_serial_may_be_missing() -> None:
    """Or be of no use."""
    for meta in (b"{}", b'{"_last-serial": null}', b'{"_last-serial": "9"}'):
        found = Serials([b'{"meta": %b, "projects": []}' % meta], JSON)
        assert list(found) == []
        assert found.overall is None


@pytest.mark.parametrize(
    "document",
    [
        b'{"projects": [{"name": "a"}]}',
        b'{"projects": [' + b'{"name": "a"},' * 1000,
        b"<!DOCTYPE html><html><body><a href='a/'>a</a></body></html>",
    ],
)
def test_a_list_without_serials_says_so(document: bytes) -> None:
    """As soon as that is clear."""
    with pytest.raises(Unsupported):
        serials(document)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b'{"projects": [{"name": "a", "_last-serial": 1}',
        b'{"projects": [{"name": "a", "_last-serial": 1}, {"x}]}',
        b'{"projects": [{"name": "' + b"a" * 100_000,
    ],
)
def test_half_a_list_is_none(document: bytes) -> None:
    """Only the end says that it was whole."""
    with pytest.raises(Corrupt):
        serials(document)
