"""A file that is read in parts from afar."""

from __future__ import annotations

import time

import pytest
from fakes import FakeClient, Resource

from devpi_server.errors import TimedOut
from devpi_server.upstream.remote import RemoteFile

URL = "https://files.test/demo-1.0-py3-none-any.whl"
SIZE = 1_000_000
LONG = 1000.0


@pytest.fixture
def client() -> FakeClient:
    client = FakeClient()
    client.resources[URL] = Resource(bytes(SIZE))
    return client


def test_a_part_is_asked_for_once(client: FakeClient) -> None:
    """The end of an archive is read in many small steps."""
    file = RemoteFile(client, URL, SIZE, time.monotonic() + LONG)
    for _ in range(3):
        assert file.seek(-1000, 2) == SIZE - 1000
        assert file.read() == bytes(1000)
    assert len(client.asked) == 1


def test_no_part_is_asked_for_beyond_the_deadline(client: FakeClient) -> None:
    """An archive in many places at a slow upstream holds nobody for ever."""
    file = RemoteFile(client, URL, SIZE, time.monotonic() - 1)
    with pytest.raises(TimedOut):
        file.read(10)
    assert client.asked == []
