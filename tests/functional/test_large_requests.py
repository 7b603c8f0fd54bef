"""Requests with large bodies, from a client that reads when it has sent all, as twine does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import requests
from server import App, ServerProcess, until

MB = 1024 * 1024
ALICE = ("alice", "secret")
Spawn = Callable[..., ServerProcess]


def chunks() -> Iterator[bytes]:
    for _ in range(30):
        yield bytes(MB)


@pytest.fixture
def spawn_with_index(app: Callable[..., App], spawn: Spawn) -> Spawn:
    """Start a server that has the index alice/dev, and who has it."""

    def start(*options: str, **of_index: object) -> ServerProcess:
        other = app()
        other.request("PUT", "/alice", {"password": "secret"})
        other.add_index("alice/dev", **of_index)
        return spawn(*options)

    return start


@pytest.mark.parametrize("body", [bytes(30 * MB), chunks], ids=["length", "chunks"])
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "text/plain; charset=utf-8"),
        ("application/json", "application/json"),
        ("application/problem+json, */*", "application/problem+json"),
    ],
)
def test_a_request_beyond_the_limit_is_told_so(
    spawn_with_index: Spawn, body: bytes | Callable[[], Iterator[bytes]], accept: str, kind: str
) -> None:
    """In the reason phrase and in a body of the kind that the client reads; and in the log."""
    server = spawn_with_index("--max-request-body-size", f"{20 * MB}")
    answer = requests.post(
        f"{server.url}alice/dev/",
        data=body if isinstance(body, bytes) else body(),
        headers={"Accept": accept, "Content-Type": "multipart/form-data; boundary=b"},
        auth=ALICE,
        timeout=60,
    )

    assert answer.status_code == 413
    assert answer.reason == (
        "the request has more than 20971520 bytes, the --max-request-body-size of this server"
    )
    assert answer.headers["Content-Type"] == kind
    assert answer.reason in answer.text
    until(lambda: '"POST /alice/dev/" 413' in server.log.read_text())


def test_a_large_request_of_nobody_fills_neither_disk_nor_memory(spawn_with_index: Spawn) -> None:
    """It is told to log in, whatever it has sent."""
    server = spawn_with_index()
    before = server.rss(peak=True)
    files = {"content": ("a.zip", bytes(200 * MB))}
    answer = requests.post(f"{server.url}alice/dev/", files=files, timeout=60)

    assert answer.status_code == 401
    assert server.rss(peak=True) - before < 20 * MB


def test_where_anybody_may_upload_nobody_known_may_send_large_files(
    spawn_with_index: Spawn,
) -> None:
    server = spawn_with_index(acl_upload=[":ANONYMOUS:"])
    form = {":action": "doc_upload", "name": "demo", "version": "1"}
    files = {"content": ("a.zip", os.urandom(3 * MB))}
    answer = requests.post(f"{server.url}alice/dev/", form, files=files, timeout=60)

    # It has read all of it, and found out that it is no archive.
    assert answer.status_code == 400
    assert "zip" in answer.reason.lower()
