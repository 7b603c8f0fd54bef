"""Files: cold, hot, in parts, spoilt upstream; in process and through waitress alike.

A server in process waits on its thread, waitress parks requests and sends from
its I/O thread: the laws are the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server import INDEX, App, BrokenOff, Client, Embedded, held, mirror_of, until
from upstream import (
    Chunked,
    Cut,
    Fault,
    File,
    GzipEncoded,
    HangBeforeAnswer,
    HangInBody,
    Mode,
    NoLength,
    Redirect,
    Request,
    Status,
    Substitute,
    Upstream,
    WrongLength,
)

SMALL, LARGE = 10_000, 1_000_000  # bytes: held back whole, and streamed
Make = Callable[..., Client]


OVER_HTTP = pytest.param("waitress", marks=pytest.mark.straight("the other is behind it then"))


@pytest.fixture(params=["in process", OVER_HTTP])
def make(request: pytest.FixtureRequest, up: Upstream, tmp_path: Path) -> Iterator[Make]:
    """Make a server; another one shares the data directory."""
    with ExitStack() as stack:

        def start(*options: str) -> Client:
            arguments = mirror_of(up, tmp_path / "data", *options)
            made = App(*arguments)
            stack.callback(made.services.close)
            return made if request.param == "in process" else stack.enter_context(Embedded(made))

        yield start


@pytest.fixture
def server(make: Make) -> Client:
    return make()


@pytest.fixture
def datadir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def is_held(server: Client, path: str) -> bool:
    return server(path, method="HEAD").origin == "hit"


def keep(server: Client, path: str) -> bytes:
    """Fetch the file, and wait until it is held."""
    body = server(path).body
    until(lambda: is_held(server, path))
    return body


def body_of(request: Request) -> bool:
    """Whether upstream is asked for a file."""
    return request.path.startswith("/packages/") and request.method == "GET"


# Whole files


@pytest.mark.parametrize("size", [None, 0, 1, 65_535, 65_536, 65_537, LARGE])
def test_a_cold_file_is_the_one_upstream_has(
    up: Upstream, server: Client, size: int | None
) -> None:
    """Every byte, with its length, its digest as ETag, and for ever."""
    if size is None:
        file = up.release("demo", "1.0")
    else:
        file = up.blob("demo", "demo-1.0.tar.gz", size)
    path = server.address("demo", file.filename)

    answer = server(path)

    assert (answer.status, answer.origin, len(answer.body)) == (200, "miss", file.size)
    assert hashlib.sha256(answer.body).hexdigest() == file.sha256
    assert path == f"/root/pypi/+f/{file.sha256[:3]}/{file.sha256[3:16]}/{file.filename}"
    assert answer.headers["Content-Length"] == str(file.size)
    assert answer.headers["ETag"] == f'"{file.sha256}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "immutable" in answer.headers["Cache-Control"]
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.straight("nginx has ETags of its own")
def test_a_hot_file_asks_upstream_nothing(up: Upstream, server: Client, size: int) -> None:
    """Once held, a file comes from here, with the header that it had when it was cold."""
    file = up.release("demo", "1.0", size=size)
    path = server.address("demo", file.filename)
    cold = server(path)
    until(lambda: is_held(server, path))
    up.clear()

    hot = server(path)

    assert (hot.origin, hot.body) == ("hit", file.data)
    assert up.requests == []
    told = ("ETag", "Content-Length", "Content-Type", "Cache-Control", "Accept-Ranges")
    assert [hot.headers[name] for name in told] == [cold.headers[name] for name in told]


def test_a_hot_file_needs_neither_upstream_nor_page(
    up: Upstream, make: Make, datadir: Path
) -> None:
    """A file once cached is served with the network, the page and the process of then gone."""
    file = up.release("demo", "1.0", size=LARGE)
    server = make()
    path = server.address("demo", file.filename)
    keep(server, path)
    up.stop()
    shutil.rmtree(next((datadir / "mirror").glob("root/pypi*/pages")))

    for each in (server, make()):
        answer = each(path)
        assert (answer.status, answer.origin, answer.body) == (200, "hit", file.data)


def test_a_file_that_was_lost_from_the_disk_is_fetched_again(
    up: Upstream, server: Client, datadir: Path
) -> None:
    """Deleting any of the cache costs a fetch, nothing else."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    keep(server, path)
    (datadir / "files" / file.sha256[:2] / file.sha256).unlink()
    shutil.rmtree(datadir / "published", ignore_errors=True)  # where nginx finds it, too

    answer = server(path)

    assert (answer.origin, answer.body) == ("miss", file.data)
    assert up.count(body_of) == 2


@pytest.mark.straight("nginx knows no records")
def test_a_file_that_was_cut_on_the_disk_is_fetched_again(
    up: Upstream, server: Client, datadir: Path
) -> None:
    """A blob of another size than its record's is no blob."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    keep(server, path)
    os.truncate(datadir / "files" / file.sha256[:2] / file.sha256, 1000)

    assert server(path).body == file.data


def test_a_client_that_holds_the_file_gets_304(up: Upstream, server: Client) -> None:
    """Hot or cold, the ETag is known from the page, and no body is needed."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    condition = {"If-None-Match": f'"{file.sha256}"'}

    for _ in range(2):
        answer = server(path, condition)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["ETag"] == f'"{file.sha256}"'
        keep(server, path)
    assert server(path, {"If-None-Match": '"other"'}).body == file.data


def test_what_a_client_holds_is_not_fetched_for_it(
    up: Upstream, server: Client, datadir: Path
) -> None:
    """The link tells the digest, so neither the file nor its size is asked for."""
    file = up.release("demo", "1.0")
    path = server.address("demo", file.filename)
    metadata = hashlib.sha256(server(f"{path}.metadata").body).hexdigest()
    shutil.rmtree(datadir / "files")
    up.clear()

    for wanted, tag in ((path, file.sha256), (f"{path}.metadata", metadata)):
        for method in ("GET", "HEAD"):
            answer = server(wanted, {"If-None-Match": f'"{tag}"'}, method=method)
            assert (answer.status, answer.headers["ETag"]) == (304, f'"{tag}"')
            assert answer.origin == "miss"
    assert up.requests == []


def test_any_accept_encoding_gets_identity(up: Upstream, server: Client) -> None:
    """pip hashes the raw bytes: a file is never sent in a content encoding."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)

    for _ in range(2):
        answer = server(path, {"Accept-Encoding": "gzip, zstd, identity;q=0"})
        assert "Content-Encoding" not in answer.headers
        assert answer.body == file.data


@pytest.mark.parametrize("filename", ["demo-1.0.html", "demo-1.0.svg", "demo-1.0.exe"])
def test_no_file_is_a_page_of_ours(up: Upstream, server: Client, filename: str) -> None:
    """A browser must not run what upstream calls a file."""
    file = up.blob("demo", filename, SMALL)
    path = server.address("demo", file.filename)

    answer = server(path)

    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_names_with_plus_and_bang_work_in_both_spellings(up: Upstream, server: Client) -> None:
    """``demo-1!2.0+local.1``: percent-encoded in the page, and found either way."""
    file = up.release("demo", "1!2.0+local.1", size=SMALL)
    path = server.address("demo", file.filename)
    assert "%21" in path
    assert "%2B" in path

    for each in (path, unquote(path), quote(unquote(path), safe="/+!")):
        assert server(each).body == file.data
        assert server(f"{each}.metadata").body == file.metadata


def test_a_file_by_the_wrong_digest_is_404(up: Upstream, server: Client) -> None:
    """The digest in an address is not an ornament."""
    file = up.release("demo", "1.0")
    server.page("demo")
    for path in (
        f"/root/pypi/+f/000/0000000000000/{file.filename}",
        f"/root/pypi/+f/{file.sha256[:3]}/{file.sha256[3:15]}/{file.filename}",
        f"/root/pypi/+f/{file.sha256[:3]}/{file.sha256[3:17]}/{file.filename}",
        f"/root/pypi/+f/{file.sha256[:3]}/{file.sha256[3:16].upper()}/{file.filename}",
        f"/root/pypi/+e/x/{file.filename}",
    ):
        assert server(path).status == 404
    assert up.count(body_of) == 0


def test_a_file_is_found_without_its_page_being_held(up: Upstream, server: Client) -> None:
    """Lock files name file addresses: with an empty cache the page is asked for first."""
    file = up.release("demo-thing", "1.0", sdist=True)
    sdist = up.file("demo_thing-1.0.tar.gz")

    for each in (file, sdist):
        path = f"/root/pypi/+f/{each.sha256[:3]}/{each.sha256[3:16]}/{each.filename}"
        assert server(path).body == each.data


def test_a_new_file_is_found_although_an_old_page_is_held(up: Upstream, server: Client) -> None:
    """An address that a current page does not know is 404, one that has expired is asked again."""
    up.release("demo", "1.0")
    server.page("demo")
    file = up.release("demo", "2.0")
    path = f"/root/pypi/+f/{file.sha256[:3]}/{file.sha256[3:16]}/{file.filename}"

    assert server(path).status in {200, 404}


# Spoilt bodies

SPOILT: dict[str, tuple[Fault, ...]] = {
    "other bytes": (Substitute(),),
    "a web page": (Substitute(b"<h1>Sign in</h1>", "text/html"),),
    "a long web page": (Substitute(b"<h1>Sign in</h1>" * 100_000, "text/html"),),
    "nothing": (Substitute(b""),),
    "cut at the start": (Cut(0),),
    "cut in the middle": (Cut(5000),),
    "reset in the middle": (Cut(5000, reset=True),),
    "shorter than it says": (WrongLength(10),),
    "longer than it says": (WrongLength(-10),),
    "gzip": (GzipEncoded(),),
    "other bytes in chunks": (Substitute(), Chunked()),
    "cut in chunks": (Cut(5000), Chunked()),
    "cut without a length": (Cut(5000), NoLength()),
    "longer without a length": (Substitute(b"x" * (LARGE + 10)), NoLength()),
    "206": (Status(206, {"Content-Range": "bytes 0-9/10"}, b"0123456789"),),
    "500": (Status(500),),
    "403": (Status(403),),
    "503": (Status(503, {"Retry-After": "1"}),),
    "a redirect to a file": (Redirect("file:///etc/passwd"),),
    "a redirect in circles": (Redirect("{path}"),),
}
LATE: dict[str, tuple[Fault, ...]] = {
    "cut at the end": (Cut(LARGE - 1),),
    "cut before the last block": (Cut(LARGE - 65_537),),
}


def ask(server: Client, path: str, file: File) -> int:
    """Ask for a file that is spoilt: the status, or 0 where the connection broke off."""
    try:
        answer = server(path)
    except BrokenOff:
        return 0
    assert answer.status != 200 or answer.body == file.data
    return answer.status


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_spoilt_small_file_is_a_5xx_and_is_not_kept(
    up: Upstream, server: Client, datadir: Path, spoilt: str
) -> None:
    """A small file is verified before the head goes out, so the client is told the reason."""
    file = up.release("demo", "1.0", size=SMALL)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", *SPOILT[spoilt])

    answer = server(path)

    assert answer.status in {502, 503}
    assert answer.reason not in {"", "Bad Gateway", "Service Unavailable"}
    assert held(datadir) == {}
    rule.remove()
    if "Retry-After" not in answer.headers:
        assert server(path).body == file.data


@pytest.mark.parametrize("spoilt", SPOILT | LATE)
def test_a_spoilt_large_file_breaks_off_and_is_not_kept(
    up: Upstream, server: Client, datadir: Path, spoilt: str
) -> None:
    """No client ever has a wrong or short body for whole, and the next request is fine."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", *(SPOILT | LATE)[spoilt])

    assert ask(server, path, file) in {0, 502, 503}
    until(lambda: held(datadir) == {})

    rule.remove()
    if spoilt != "503":
        until(lambda: ask(server, path, file) == 200)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("spoilt", ["other bytes", "cut at the start"])
def test_who_has_no_byte_yet_gets_a_second_try(
    up: Upstream, server: Client, size: int, spoilt: str
) -> None:
    """One bad answer upstream is not seen by those who can still wait."""
    file = up.release("demo", "1.0", size=size)
    path = server.address("demo", file.filename)
    up.fail("/packages/", *SPOILT[spoilt], times=1)

    # Its last bytes: they are not released before all are verified.
    answer = server(path, {"Range": "bytes=-1000"})

    assert (answer.status, answer.body) == (206, file.data[-1000:])
    assert up.count(body_of) == 2


def test_upstreams_404_of_a_file_is_404(up: Upstream, server: Client) -> None:
    """A file that its page lists and upstream has lost is not there, and says so."""
    file = up.release("demo", "1.0")
    path = server.address("demo", file.filename)
    up.fail("/packages/", Status(404))

    answer = server(path)

    assert (answer.status, file.filename in answer.reason) == (404, True)


def test_silence_of_a_file_server_is_504(up: Upstream, make: Make) -> None:
    """A client is told before its own patience ends."""
    file = up.release("demo", "1.0")
    server = make("--request-timeout", "0.2")
    path = server.address("demo", file.filename)
    up.fail("/packages/", HangBeforeAnswer())

    assert server(path).status == 504


def test_upstream_gone_is_502(up: Upstream, server: Client) -> None:
    """A cold file of an upstream that cannot be reached."""
    file = up.release("demo", "1.0")
    path = server.address("demo", file.filename)
    up.stop()

    assert server(path).status == 502


# Arriving


def test_many_clients_are_one_fetch(up: Upstream, server: Client) -> None:
    """Whoever comes while a file arrives joins, reads at his own speed, and gets all of it."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(500_000))
    with ExitStack() as stack:
        answers = [stack.enter_context(closing(server.open(path))) for _ in range(8)]
        starts = [answer.read(1000 * number) for number, answer in enumerate(answers)]
        rule.remove()

        bodies = [start + answer.read() for start, answer in zip(starts, answers, strict=True)]

    assert {answer.status for answer in answers} == {200}
    assert all(body == file.data for body in bodies)
    assert up.count(body_of) == 1


def test_clients_that_ask_at_the_same_time_are_one_fetch(up: Upstream, server: Client) -> None:
    """The race for the first request has one winner."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangBeforeAnswer())
    with ThreadPoolExecutor(16) as clients:
        asked = [clients.submit(server, path) for _ in range(16)]
        up.wait_for(body_of)
        rule.remove()
        assert all(each.result().body == file.data for each in asked)
    assert up.count(body_of) == 1


def test_bytes_flow_before_the_file_is_complete(up: Upstream, server: Client) -> None:
    """A cold client does not wait for the end of the download."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(LARGE // 2))
    with closing(server.open(path)) as answer:
        start = answer.read(LARGE // 4)
        rule.remove()

        assert start + answer.read() == file.data


def test_the_last_block_waits_for_the_digest(up: Upstream, server: Client) -> None:
    """With all but a byte received, the last 64 KiB are still held back."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    up.fail("/packages/", HangInBody(LARGE - 1), times=1)
    with closing(server.open(path)) as answer:
        start = answer.read(LARGE - 65_536)
        up.stop()

        assert start == file.data[: len(start)]
        with pytest.raises(BrokenOff):
            answer.read()


def test_the_first_client_leaving_stops_nothing(up: Upstream, server: Client) -> None:
    """The download belongs to the server: the others get it all from the one fetch."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(500_000))
    first = server.open(path)
    first.read(1000)
    with closing(server.open(path)) as second:
        first.close()
        rule.remove()

        assert second.read() == file.data
    assert up.count(body_of) == 1


def test_the_only_client_leaving_stops_nothing(up: Upstream, server: Client) -> None:
    """What was begun is finished and held for the next one."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(500_000))
    only = server.open(path)
    only.read(1000)
    only.close()
    rule.remove()
    until(lambda: is_held(server, path))

    assert server(path).body == file.data
    assert up.count(body_of) == 1


def test_two_files_do_not_wait_for_each_other(up: Upstream, server: Client) -> None:
    """A download that stands still holds nobody else up."""
    stuck = up.release("demo", "1.0", size=LARGE)
    other = up.release("demo", "2.0", size=LARGE)
    rule = up.fail(stuck.path, HangInBody(500_000))
    with closing(server.open(server.address("demo", stuck.filename))) as answer:
        assert server(server.address("demo", other.filename)).body == other.data
        rule.remove()
        assert answer.read() == stuck.data


# HEAD


@pytest.mark.parametrize("companion", ["", ".metadata"])
def test_head_of_a_cold_file_fetches_no_body(up: Upstream, server: Client, companion: str) -> None:
    """Length, ETag and Accept-Ranges are known without the bytes."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename) + companion
    data = file.data if not companion else (file.metadata or b"")

    answer = server(path, method="HEAD")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert up.count(body_of) == 0


@pytest.mark.straight("nginx may send only the second of the two")
def test_head_says_what_get_says(up: Upstream, server: Client) -> None:
    """Hot, HEAD has the very header of GET."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    keep(server, path)

    get, head = server(path), server(path, method="HEAD")

    assert head.body == b""
    for name in set(get.headers) - {"date"}:
        assert head.headers[name] == get.headers[name]


def test_head_asks_upstream_for_a_size_that_no_page_tells(up: Upstream, server: Client) -> None:
    """A HEAD here is a HEAD there, where the page is plain HTML."""
    up.mode = Mode.POOR
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)

    answer = server(path, method="HEAD")

    assert answer.headers["Content-Length"] == str(LARGE)
    assert (up.count("/packages/", "HEAD"), up.count("/packages/", "GET")) == (1, 0)


def test_head_of_a_size_that_nobody_knows_claims_none(up: Upstream, server: Client) -> None:
    """An upstream that chunks everything leaves the length open; no length is better than 0."""
    up.mode = Mode.POOR
    file = up.release("demo", "1.0")
    path = server.address("demo", file.filename)
    up.fail("/packages/", Chunked())

    answer = server(path, method="HEAD")

    assert (answer.status, answer.body) == (200, b"")
    assert "Content-Length" not in answer.headers


def test_head_of_a_file_that_is_not_there_is_404(up: Upstream, server: Client) -> None:
    """HEAD lies no more than GET does."""
    up.release("demo", "1.0")
    server.page("demo")

    assert server(f"{INDEX}../+f/000/0000000000000/x.whl", method="HEAD").status == 404
    assert server("/root/pypi/+f/000/0000000000000/demo-2.0.tar.gz", method="HEAD").status == 404


# Ranges

RANGES: list[tuple[str, slice | None]] = [
    ("bytes=0-0", slice(0, 1)),
    ("bytes=0-999", slice(0, 1000)),
    ("bytes=1000-1999", slice(1000, 2000)),
    ("bytes=300000-300999", slice(300_000, 301_000)),
    ("bytes=999000-", slice(999_000, LARGE)),
    ("bytes=0-", slice(0, LARGE)),
    ("bytes=-1", slice(LARGE - 1, LARGE)),
    ("bytes=-10000", slice(LARGE - 10_000, LARGE)),
    ("bytes=-2000000", slice(0, LARGE)),
    ("bytes=999999-5000000", slice(LARGE - 1, LARGE)),
    ("BYTES=0-9", slice(0, 10)),
    ("bytes= 0 - 9 ", slice(0, 10)),
    # Answered with the whole: not one range, or none that can be read.
    ("bytes=0-9,20-29", None),
    ("bytes=0-9,5-14,-5", None),
    ("bytes=9-0", None),
    ("bytes=-", None),
    ("bytes=a-b", None),
    ("bytes=1-2-3", None),
    ("bytes=-1-2", None),
    ("items=0-9", None),
    ("bytes", None),
    ("bytes=\xd9\xa0-\xd9\xa9", None),  # digits of another script
]


@pytest.mark.parametrize("is_hot", [True, False], ids=["hot", "cold"])
@pytest.mark.parametrize(("asked", "part"), RANGES, ids=[asked for asked, _ in RANGES])
@pytest.mark.straight("nginx has ETags of its own, and its own way with odd ranges")
def test_a_range_is_that_part_of_the_file(
    up: Upstream, server: Client, asked: str, part: slice | None, is_hot: bool
) -> None:
    """Absolute, open-ended and suffix ranges; what is not one range gets the whole."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    if is_hot:
        keep(server, path)

    answer = server(path, {"Range": asked})

    if part is None:
        assert (answer.status, answer.body) == (200, file.data)
    else:
        assert (answer.status, answer.body) == (206, file.data[part])
        assert answer.headers["Content-Range"] == f"bytes {part.start}-{part.stop - 1}/{LARGE}"
        assert answer.headers["ETag"] == f'"{file.sha256}"'


@pytest.mark.parametrize("is_hot", [True, False], ids=["hot", "cold"])
@pytest.mark.parametrize("asked", ["bytes=1000000-", "bytes=1000000-1000001", "bytes=-0"])
@pytest.mark.straight("nginx says so with a body")
def test_a_range_beyond_the_end_is_416(
    up: Upstream, server: Client, asked: str, is_hot: bool
) -> None:
    """Unsatisfiable, with the size that is true."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    if is_hot:
        keep(server, path)

    answer = server(path, {"Range": asked})

    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["Content-Range"] == f"bytes */{LARGE}"


@pytest.mark.parametrize("is_hot", [True, False], ids=["hot", "cold"])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"{sha256}"', 206),
        ('W/"{sha256}"', 200),
        ('"other"', 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
    ],
)
def test_if_range_guards_a_resumed_download(
    up: Upstream, server: Client, condition: str, status: int, is_hot: bool
) -> None:
    """pip resumes with If-Range: the rest of the same file, or the whole of another."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    if is_hot:
        keep(server, path)
    condition = condition.format(sha256=file.sha256)

    answer = server(path, {"Range": "bytes=1000-", "If-Range": condition})

    assert (answer.status, answer.body) == (status, file.data[1000 if status == 206 else 0 :])


def test_a_range_of_an_arriving_file_waits_for_its_bytes_only(up: Upstream, server: Client) -> None:
    """A part that is there is answered while the rest of the file is still to come."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(LARGE // 2))

    answer = server(path, {"Range": "bytes=1000-1999"})

    assert (answer.status, answer.body) == (206, file.data[1000:2000])
    assert not is_held(server, path)
    rule.remove()
    until(lambda: is_held(server, path))
    assert up.count(body_of) == 1


def test_a_suffix_of_an_arriving_file_comes_when_it_is_verified(
    up: Upstream, server: Client
) -> None:
    """Poetry's first question, asked of a cold wheel."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(LARGE // 2))
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(server, path, {"Range": "bytes=-10000"})
        up.wait_for(body_of)
        rule.remove()
        assert asked.result().body == file.data[-10_000:]


def test_head_with_a_range_is_a_plain_head(up: Upstream, server: Client) -> None:
    """RFC 9110: Range is for GET."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)

    answer = server(path, {"Range": "bytes=0-9"}, method="HEAD")

    assert (answer.status, answer.headers["Content-Length"]) == (200, str(LARGE))


# Companions


def test_metadata_comes_without_the_wheel(up: Upstream, server: Client) -> None:
    """``<file>.metadata`` is fetched, verified and kept by itself."""
    file = up.release("demo", "1.0", size=LARGE, requires=["other>=1"])
    path = server.address("demo", file.filename) + ".metadata"

    bodies = [server(path).body for _ in range(2)]

    assert bodies == [file.metadata] * 2
    assert [request.path for request in up.requests if body_of(request)] == [
        f"{file.path}.metadata"
    ]


@pytest.mark.parametrize("spoilt", ["other bytes", "a web page", "cut at the start", "gzip"])
def test_spoilt_metadata_is_made_from_the_wheel_or_told(
    up: Upstream, server: Client, spoilt: str
) -> None:
    """Metadata with another digest than the page says is never served."""
    file = up.release("demo", "1.0")
    path = server.address("demo", file.filename) + ".metadata"
    up.fail(f"{file.path}.metadata", *SPOILT[spoilt])

    answer = server(path)

    assert answer.status == 502 or answer.body == file.metadata


def test_advertised_metadata_that_upstream_lost_comes_from_the_wheel(
    up: Upstream, server: Client
) -> None:
    """A 404 there would be fatal for pip and uv: the wheel itself has the same bytes."""
    file = up.release("demo", "1.0", size=LARGE, requires=["other>=1"])
    link = server.links("demo")[file.filename]
    assert link["core-metadata"] == {"sha256": hashlib.sha256(file.metadata or b"").hexdigest()}
    up.fail(f"{file.path}.metadata", Status(404))

    answer = server(f"{link['url']}.metadata")

    assert (answer.status, answer.body) == (200, file.metadata)


def test_a_held_wheel_serves_its_metadata_with_upstream_gone(up: Upstream, server: Client) -> None:
    """What is in the wheel needs no network."""
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    keep(server, path)
    up.stop()

    assert server(f"{path}.metadata").body == file.metadata


def test_metadata_of_a_poor_upstream_is_offered_once_the_wheel_is_held(
    up: Upstream, server: Client
) -> None:
    """Nothing is advertised that cannot be served; with the wheel here, it can."""
    up.mode, up.ranges = Mode.POOR, False
    file = up.release("demo", "1.0", size=LARGE, requires=["other>=1"])
    path = server.address("demo", file.filename)
    assert "core-metadata" not in server.links("demo")[file.filename]
    assert server(f"{path}.metadata").status == 404

    keep(server, path)
    until(lambda: "core-metadata" in server.links("demo")[file.filename])

    link = server.links("demo")[file.filename]
    answer = server(f"{link['url']}.metadata")
    assert answer.body == file.metadata
    assert link["core-metadata"] == {"sha256": hashlib.sha256(answer.body).hexdigest()}
    page = server(f"{INDEX}demo/").body.decode()
    assert f'data-core-metadata="sha256={link["core-metadata"]["sha256"]}"' in page


def test_a_file_that_is_no_wheel_has_no_metadata(up: Upstream, server: Client) -> None:
    """sdists and wheels that are no zip file: 404, also once they are held."""
    sdist = up.release("demo", "1.0", wheel=False)
    broken = up.release("demo", "2.0", content=b"no zip file" * 1000)
    for file in (sdist, broken):
        path = server.address("demo", file.filename)
        assert server(f"{path}.metadata").status == 404
        keep(server, path)
        assert server(f"{path}.metadata").status == 404
        assert "core-metadata" not in server.links("demo")[file.filename]


def test_a_signature_is_fetched_beside_its_file(up: Upstream, server: Client) -> None:
    """``<file>.asc`` where the page says that there is one, 404 without asking where not."""
    signed = up.release("demo", "1.0", signature=True)
    plain = up.release("demo", "2.0")

    answer = server(server.address("demo", signed.filename) + ".asc")

    assert (answer.status, answer.body) == (200, signed.signature)
    assert server(server.address("demo", plain.filename) + ".asc").status == 404
    assert up.count(f"{plain.path}.asc") == 0


@pytest.mark.parametrize("ending", [".exe", ".metadata.metadata", ".asc.metadata", ".provenance"])
def test_other_companions_are_404(up: Upstream, server: Client, ending: str) -> None:
    """What no page speaks of is not looked for upstream."""
    file = up.release("demo", "1.0", signature=True)

    assert server(server.address("demo", file.filename) + ending).status == 404
    assert up.count(body_of) == 0


# Links without a digest


@pytest.mark.parametrize("mode", list(Mode))
def test_a_link_without_a_digest_gets_an_address_of_its_own(
    up: Upstream, server: Client, mode: Mode
) -> None:
    """``+e/<scheme_host_path>/<file>`` first; held, its digest is known and pages say so."""
    up.mode = mode
    file = up.release("demo", "1.0", size=LARGE, hashed=False)
    first = server.address("demo", file.filename)
    assert first.startswith("/root/pypi/+e/http_127.0.0.1")

    assert keep(server, first) == file.data
    until(lambda: server.address("demo", file.filename) != first)
    later = server.address("demo", file.filename)

    assert later == f"/root/pypi/+f/{file.sha256[:3]}/{file.sha256[3:16]}/{file.filename}"
    up.stop()
    for path in (first, later):
        answer = server(path)
        assert (answer.origin, answer.body) == ("hit", file.data)


@pytest.mark.straight("nginx has ETags of its own")
def test_held_its_digest_is_the_etag_at_either_address(up: Upstream, server: Client) -> None:
    file = up.release("demo", "1.0", size=LARGE, hashed=False)
    first = server.address("demo", file.filename)
    keep(server, first)
    until(lambda: server.address("demo", file.filename) != first)

    for path in (first, server.address("demo", file.filename)):
        assert server(path).headers["ETag"] == f'"{file.sha256}"'


def test_an_old_address_still_leads_to_a_file_that_was_lost(
    up: Upstream, server: Client, datadir: Path
) -> None:
    """A lock file with a ``+e/`` address works after the cache was emptied."""
    file = up.release("demo", "1.0", size=LARGE, hashed=False)
    first = server.address("demo", file.filename)
    keep(server, first)
    shutil.rmtree(datadir / "files")

    assert server(first).body == file.data


@pytest.mark.parametrize("spoilt", ["a web page", "gzip", "cut in the middle"])
def test_without_a_digest_only_a_plausible_file_is_kept(
    up: Upstream, server: Client, datadir: Path, spoilt: str
) -> None:
    """Nothing will tell these bytes from others later, so what looks wrong is refused."""
    up.mode = Mode.POOR
    file = up.release("demo", "1.0", size=LARGE, hashed=False)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", *SPOILT[spoilt])

    assert ask(server, path, file) in {0, 502}
    until(lambda: held(datadir) == {})
    rule.remove()
    assert server(path).body == file.data


def test_equal_names_of_two_places_are_two_files(up: Upstream, server: Client) -> None:
    """The address of a link without a digest holds all of its URL, so nothing is mixed up."""
    file = up.release("demo", "1.0", hashed=False, content=b"first" * 1000)
    path = server.address("demo", file.filename)
    keep(server, path)

    for wrong in (path.replace("_packages", "_elsewhere"), path.replace("http_", "https_")):
        assert server(wrong).status == 404


# Unknown lengths

SIZES = (SMALL, LARGE)


def test_an_empty_answer_that_nothing_says_to_be_whole_is_no_file(
    up: Upstream, server: Client
) -> None:
    """It looks as one does that was cut within its header."""
    file = up.blob("demo", "demo-1.0.tar.gz", 0)
    path = server.address("demo", file.filename)
    up.fail("/packages/", NoLength())

    assert server(path).status == 502
    assert not is_held(server, path)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    ("fault", "size"),
    [(Chunked(), 0), *((fault, size) for fault in (Chunked(), NoLength()) for size in SIZES)],
)
def test_a_file_of_unknown_length_arrives_whole(
    up: Upstream, server: Client, mode: Mode, fault: Fault, size: int
) -> None:
    """Upstream need not say how long a file is."""
    up.mode = mode
    file = up.blob("demo", "demo-1.0.tar.gz", size)
    path = server.address("demo", file.filename)
    up.fail("/packages/", fault)

    for _ in range(2):
        assert hashlib.sha256(server(path).body).hexdigest() == file.sha256
        until(lambda: is_held(server, path))
    assert up.count(body_of) == 1


@pytest.mark.parametrize(
    "faults",
    [
        (Chunked(), Cut(5000)),
        (Chunked(), Cut(500_000)),
        (NoLength(), Cut(5000)),
        (NoLength(), Cut(500_000)),
        (Chunked(), Substitute()),
    ],
)
def test_a_spoilt_file_of_unknown_length_is_never_whole(
    up: Upstream, server: Client, datadir: Path, faults: tuple[Fault, ...]
) -> None:
    """Without a length, too, the client sees that the body breaks off."""
    up.mode = Mode.POOR
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    up.fail("/packages/", *faults)

    assert ask(server, path, file) in {0, 502}
    until(lambda: held(datadir) == {})


def test_a_range_of_a_file_of_unknown_length_is_answered(up: Upstream, server: Client) -> None:
    """With the part, or with the whole: never with the wrong bytes."""
    up.mode = Mode.POOR
    file = up.release("demo", "1.0", size=LARGE)
    path = server.address("demo", file.filename)
    up.fail("/packages/", Chunked())

    answer = server(path, {"Range": "bytes=-1000"})

    expected = {206: file.data[-1000:], 200: file.data}
    assert answer.body == expected[answer.status]


# Offline


def test_offline_lists_and_serves_what_is_held(up: Upstream, make: Make) -> None:
    """Only the files that are here are on the page; the others are not there, at once."""
    kept = up.release("demo", "1.0", size=LARGE)
    other = up.release("demo", "2.0", size=LARGE)
    server = make()
    paths = {file.filename: server.address("demo", file.filename) for file in (kept, other)}
    keep(server, paths[kept.filename])
    up.clear()
    offline = make("--offline-mode")

    assert list(offline.links("demo")) == [kept.filename]
    assert offline(paths[kept.filename]).body == kept.data
    assert offline(paths[kept.filename] + ".metadata").body == kept.metadata
    for method in ("GET", "HEAD"):
        assert offline(paths[other.filename], method=method).status == 404
    assert up.requests == []


def test_offline_never_advertises_metadata_that_is_not_held(up: Upstream, make: Make) -> None:
    """What an offline page offers can be had: metadata is in the wheel that is held."""
    file = up.release("demo", "1.0", size=LARGE)
    server = make()
    keep(server, server.address("demo", file.filename))
    up.stop()
    offline = make("--offline-mode")

    link = offline.links("demo")[file.filename]

    answer = offline(f"{link['url']}.metadata")
    assert link["core-metadata"] == {"sha256": hashlib.sha256(answer.body).hexdigest()}


# Attacks

ATTACKS = [
    "..", "%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fsecret", "..%5c..%5cetc",
    "%00", "demo%00.whl", "demo%0d%0aX-Evil:1", "%c0%ae%c0%ae", "%ff", "a" * 5000, "CON", "C:x",
    "%252e%252e", "demo.whl;x", "~", "~2e~2e", "_", "http_127.0.0.1", "http_127.0.0.1_etc",
    "file__etc", "%2f%2f127.0.0.1", "demo ", ".demo", "%F0%9F%90%8D.whl", "\u202e".encode().hex(),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda text: text[:30])
def test_no_address_reaches_beyond_the_index(
    up: Upstream, app: Callable[..., App], datadir: Path, attack: str
) -> None:
    """Whatever stands in an address, it is refused, makes no file and asks no other host."""
    file = up.release("demo", "1.0")
    server = app()
    (datadir / "secret").write_text("sesame")
    before = held(datadir)
    for path in (
        f"/root/pypi/+f/{attack}/0000000000000/{file.filename}",
        f"/root/pypi/+f/000/{attack}/{file.filename}",
        f"/root/pypi/+f/000/0000000000000/{attack}",
        f"/root/pypi/+f/{attack}",
        f"/root/pypi/+e/{attack}/{file.filename}",
        f"/root/pypi/+e/x/{attack}",
        f"/root/pypi/+e/{attack}",
        f"/{attack}/pypi/+e/x/{file.filename}",
    ):
        for method in ("GET", "HEAD"):
            answer = server(path, method=method)
            assert answer.status in {400, 404, 405}
            assert b"sesame" not in answer.body
    assert held(datadir) == before
    assert {request.path for request in up.requests} <= {"/simple/demo/"} | {
        request.path for request in up.requests if request.path.startswith("/simple/")
    }


@pytest.fixture
def one_app(app: Callable[..., App]) -> App:
    """For all examples."""
    return app()


@pytest.mark.straight("some of these nginx itself refuses, with 400")
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(["+f", "+e"]),
    parts=st.lists(
        st.one_of(
            st.sampled_from(ATTACKS),
            st.text(max_size=12).map(lambda text: quote(text, safe="")),
            st.from_regex(
                r"[a-z]{1,5}-[0-9.]{1,4}(\.tar\.gz|\.zip|-py3-none-any\.whl)", fullmatch=True
            ),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_no_file_address_is_a_server_error(one_app: App, kind: str, parts: list[str]) -> None:
    """Any address of a file that is not there is a plain 404."""
    answer = one_app(f"/root/pypi/{kind}/{'/'.join(parts)}")

    assert answer.status in {404, 405}


def test_no_other_host_can_be_fetched(up: Upstream, app: Callable[..., App]) -> None:
    """The address of a file names a link of a page, never a place to fetch from."""
    with Upstream() as other:
        stranger = other.release("demo", "9.0")
        up.release("demo", "1.0")
        host = f"127.0.0.1:{other.port}".replace(":", "~3A")
        folder = stranger.path.rpartition("/")[0].replace("/", "_")

        answer = app()(f"/root/pypi/+e/http_{host}{folder}/{stranger.filename}")

        assert answer.status == 404
        assert other.connections == 0
