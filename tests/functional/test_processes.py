"""Real processes over real sockets: several on one folder, signals, crowds, memory.

Nothing here asserts a time; what is measured is printed (``pytest -s``).
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from server import (
    INDEX,
    JSON,
    BrokenOff,
    Client,
    Http,
    ServerProcess,
    clean_environment,
    held,
    mirror_of,
    until,
)
from upstream import (
    AddHeaders,
    Cut,
    HangBeforeAnswer,
    HangInBody,
    Mode,
    NoLength,
    Request,
    Slow,
    Status,
    Upstream,
)

MB = 1_000_000
Spawn = Callable[..., ServerProcess]


def body_of(request: Request) -> bool:
    """Whether upstream is asked for a file."""
    return request.path.startswith("/packages/") and request.method == "GET"


def is_held(server: Client, path: str) -> bool:
    return server(path, method="HEAD").origin == "hit"


# Life


def test_it_says_where_it_serves(up: Upstream, tmp_path: Path) -> None:
    """Test tools wait for the first line, people copy the second one into pip's options."""
    command = [sys.executable, "-m", "devpi_server", "--port", "0", "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, *mirror_of(up, tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    ) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        process.terminate()
        rest, _ = process.communicate()

    url = first.removeprefix("serving at url: ").strip()
    assert url.startswith("http://127.0.0.1:")
    assert second == f"index url: {url}ext/pypi/simple/\n"
    assert (rest, process.returncode) == ("", 0)


def test_it_starts_with_upstream_gone(up: Upstream, spawn: Spawn) -> None:
    """No network is needed to start."""
    up.stop()
    server = spawn()

    assert server("/simple/").status == 200
    assert server.stop() == 0


def test_a_busy_port_is_one_sentence_and_exit_code_2(
    up: Upstream, spawn: Spawn, tmp_path: Path
) -> None:
    """Nothing half-started: the second server says what is wrong and ends."""
    server = spawn()
    command = [sys.executable, "-m", "devpi_server", "--host", "127.0.0.1"]

    ended = subprocess.run(
        [*command, "--port", str(server.port), *mirror_of(up, tmp_path / "other")],
        capture_output=True,
        env=clean_environment(),
        text=True,
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (f"devpi-server: error: port {server.port} on 127.0.0.1 is in use\n")
    assert server("/simple/").status == 200


def test_a_strange_header_of_upstream_makes_no_noise(up: Upstream, spawn: Spawn) -> None:
    """The page counts, and there is no traceback in the log."""
    up.release("demo", "1.0")
    up.fail("/simple/demo/", AddHeaders({"no name\r\nX-Odd": "1\r\n\0"}))
    server = spawn()
    server("/simple/demo/")
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("is_cold", [True, False], ids=["cold", "hot"])
def test_sigterm_finishes_what_is_in_flight(up: Upstream, spawn: Spawn, is_cold: bool) -> None:
    """A request that has begun gets its last byte, new ones get no connection; exit code 0."""
    file = up.release("demo", "1.0", size=20 * MB)
    server = spawn()
    path = server.address("demo", file.filename)
    rule = None
    if is_cold:
        rule = up.fail("/packages/", HangInBody(MB))
    else:
        server(path)
        until(lambda: is_held(server, path))
    with closing(server.open(path)) as answer:
        start = answer.read(1000)
        server.terminate()
        until(lambda: "told to stop" in server.log.read_text())
        until(lambda: is_refused(server.port))
        if rule is not None:
            rule.remove()

        assert start + answer.read() == file.data
    assert server.wait() == 0


def test_sigterm_lets_a_parked_request_have_its_answer(up: Upstream, spawn: Spawn) -> None:
    """A request that waits for upstream is in flight, although it holds no thread."""
    up.release("demo", "1.0")
    server = spawn()
    rule = up.fail("/simple/demo/", HangBeforeAnswer())
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(server, "/simple/demo/")
        up.wait_for("/simple/demo/")
        server.terminate()
        until(lambda: is_refused(server.port))
        rule.remove()

        assert asked.result().status == 200
    assert server.wait() == 0


_SLOW_DISK = """
import os, time
fsync, flag = os.fsync, os.environ["DISK_GOES_ON"]
def slow(fd):
    while os.fstat(fd).st_size > 100_000 and not os.path.exists(flag):
        time.sleep(0.01)
    fsync(fd)
os.fsync = slow
from devpi_server.main import main
raise SystemExit(main())
"""


def test_sigterm_lets_a_file_be_kept_that_has_been_received(
    up: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has it; that the disk has it too takes as long as the disk takes."""
    file = up.release("demo", "1.0", size=MB)
    flag, data = tmp_path / "flag", tmp_path / "data"
    monkeypatch.setenv("DISK_GOES_ON", str(flag))
    options = mirror_of(up, data, "--refresh", "1000000")
    with ServerProcess(*options, log=tmp_path / "log", program=("-c", _SLOW_DISK)) as server:
        assert server(server.address("demo", file.filename)).body == file.data
        server.terminate()
        until(lambda: "keeping what has been received" in server.log.read_text())
        flag.touch()

        assert server.wait() == 0
    assert held(data)[file.sha256] == MB


def test_idle_connections_do_not_hold_up_the_end(up: Upstream, spawn: Spawn) -> None:
    """Keep-alive is no request in flight."""
    server = spawn()
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection((server.host, server.port)))
        idle = stack.enter_context(socket.create_connection((server.host, server.port)))
        idle.sendall(b"GET /simple/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"

        assert server.stop() == 0


def is_refused(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionError:
        return True
    return False


# Connections


def exchange(server: Http, data: bytes) -> bytes:
    """Send bytes, close the sending side, and read all that comes."""
    found = b""
    with (
        socket.create_connection((server.host, server.port), timeout=30) as sock,
        suppress(OSError),  # a server may close without reading all
    ):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65536):
            found += piece
    return found


@pytest.mark.parametrize("is_spoilt", [True, False])
def test_http_1_0_never_takes_a_part_for_the_whole(
    up: Upstream, spawn: Spawn, is_spoilt: bool
) -> None:
    """Its end of a connection is an end of file, so a length has to be known before."""
    up.mode = Mode.POOR
    file = up.release("demo", "1.0", size=MB)
    server = spawn()
    path = server.address("demo", file.filename)
    up.fail("/packages/", NoLength(), *([Cut(MB // 2)] if is_spoilt else []))

    answer = exchange(server, f"GET {path} HTTP/1.0\r\n\r\n".encode())

    head, _, body = answer.partition(b"\r\n\r\n")
    if is_spoilt:
        assert head.split()[1] == b"502"
    else:
        assert f"Content-Length: {MB}".encode() in head.split(b"\r\n")
        assert body == file.data


def test_one_connection_carries_many_answers(up: Upstream, spawn: Spawn) -> None:
    """Pages, 304s, redirects, errors and files leave the connection usable."""
    file = up.release("demo", "1.0", size=MB)
    server = spawn()
    path = server.address("demo", file.filename)
    tag = server("/simple/demo/").headers["ETag"]
    asked = [
        (b"/simple/demo/", b"", 200),
        (b"/simple/demo/", f"If-None-Match: {tag}\r\n".encode(), 304),
        (b"/simple/Demo", b"", 301),
        (b"/simple/none/", b"", 404),
        (path.encode(), b"", 200),
        (path.encode(), b"Range: bytes=0-9\r\n", 206),
        (path.encode(), b"Range: bytes=9000000-\r\n", 416),
        (b"/ext/pypi/", b"", 302),
        (b"/simple/demo/", b"", 200),
    ]
    with socket.create_connection((server.host, server.port), timeout=30) as sock:
        reader = sock.makefile("rb")
        with closing(reader):
            for target, header, status in asked:
                sock.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target, header))
                line = reader.readline()
                assert int(line.split()[1]) == status
                fields = dict(
                    row.decode().strip().lower().split(": ", 1)
                    for row in iter(reader.readline, b"\r\n")
                )
                assert "connection" not in fields
                length = 0 if status == 304 else int(fields["content-length"])
                assert len(reader.read(length)) == length


@pytest.mark.parametrize(
    "target",
    [
        b"/simple/\x00/", b"/simple/\xff\xfe/", b"/simple/demo/\x0bx", b"simple/demo/", b"*",
        b"http://evil.example/simple/demo/", b"//evil.example/simple/demo/", b"/../../etc/passwd",
        b"/simple/%", b"/simple/%zz/", b"/" + b"a" * 300_000,
    ],
    ids=lambda target: ascii(target[:30]),
)  # fmt: skip
def test_raw_junk_in_the_request_line_is_refused_quietly(
    up: Upstream, spawn: Spawn, target: bytes
) -> None:
    """Anything a socket can carry gets an answer below 500 or a closed connection."""
    up.release("demo", "1.0")
    server = spawn()

    answer = exchange(server, b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)

    assert not answer or int(answer.split()[1]) < 500
    assert b"root:" not in answer
    assert server("/simple/demo/").status == 200
    assert "Traceback" not in server.log.read_text()


def test_pipelined_requests_are_answered_in_order(up: Upstream, spawn: Spawn) -> None:
    """Also when the first one has to wait for upstream."""
    up.release("demo", "1.0")
    up.release("other", "1.0")
    server = spawn()
    request = b"GET /simple/%b/ HTTP/1.1\r\nHost: x\r\n%b\r\n"

    answer = exchange(
        server,
        request % (b"demo", b"") + request % (b"none", b"") + request % (b"other", b""),
    )

    statuses = [int(part.split()[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 404, 200]
    assert answer.index(b"links for demo") < answer.index(b"links for other")


def test_clients_that_leave_early_cost_nothing(up: Upstream, spawn: Spawn) -> None:
    """Half requests, half answers: the server goes on, and has no more descriptors than before."""
    file = up.release("demo", "1.0", size=5 * MB)
    server = spawn()
    path = server.address("demo", file.filename)
    server(path)
    until(lambda: is_held(server, path))
    before = len(os.listdir(f"/proc/{server.pid}/fd"))
    for _ in range(30):
        answer = server.open(path)
        answer.read(1000)
        answer.close()
        with socket.create_connection((server.host, server.port)) as sock:
            sock.sendall(b"GET /simple/de")

    assert server(path).body == file.data
    until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= before + 2)


def test_slow_readers_hold_no_thread(up: Upstream, spawn: Spawn) -> None:
    """More stalled clients than threads, hot and cold, and a page is still answered."""
    hot = up.release("demo", "1.0", size=20 * MB)
    cold = up.release("demo", "2.0", size=20 * MB)
    server = spawn("--threads", "4")
    paths = [server.address("demo", file.filename) for file in (hot, cold)]
    server(paths[0])
    until(lambda: is_held(server, paths[0]))
    with ExitStack() as stack:
        stalled = [
            stack.enter_context(closing(server.open(path))) for path in paths for _ in range(10)
        ]

        assert server("/simple/demo/").status == 200
        for number, answer in enumerate(stalled):
            expected = (hot if number < 10 else cold).data
            assert answer.read() == expected


def test_requests_that_wait_for_upstream_hold_no_thread(up: Upstream, spawn: Spawn) -> None:
    """More clients than threads wait for pages and files, and a hot page is answered."""
    for number in range(40):
        up.release(f"demo{number}", "1.0")
    server = spawn("--threads", "4")
    path = server.address("demo0", "demo0-1.0-py3-none-any.whl")
    rules = [up.fail("/simple/", HangBeforeAnswer()), up.fail("/packages/", HangBeforeAnswer())]
    with ThreadPoolExecutor(50) as clients:
        asked = [clients.submit(server, f"/simple/demo{number}/") for number in range(1, 30)]
        asked += [clients.submit(server, path) for _ in range(20)]
        up.wait_for(body_of)
        up.wait_for("/simple/", 20)

        assert server("/simple/demo0/").origin == "hit"
        for rule in rules:
            rule.remove()
        assert {each.result().status for each in asked} == {200}
    assert up.count(body_of) == 1


def test_heads_that_wait_for_upstream_hold_no_thread(up: Upstream, spawn: Spawn) -> None:
    """A size that no page tells is asked upstream, and a hot page is answered meanwhile."""
    up.mode = Mode.POOR
    files = [up.release("demo", f"1.{number}") for number in range(20)]
    server = spawn("--threads", "4")
    links = server.links("demo")
    server("/simple/demo/")
    rule = up.fail("/packages/", HangBeforeAnswer())
    with ThreadPoolExecutor(20) as clients:
        asked = [
            clients.submit(server, links[file.filename]["url"], method="HEAD") for file in files
        ]
        up.wait_for("/packages/", 10, method="HEAD")

        assert server("/simple/demo/").origin == "hit"
        rule.remove()
        sizes = [int(each.result().headers["Content-Length"]) for each in asked]
    assert sizes == [file.size for file in files]


def test_slow_readers_of_the_full_list_hold_no_thread(up: Upstream, spawn: Spawn) -> None:
    """In any encoding: the list is as large as a file."""
    for number in range(100_000):
        up.add_project(f"some-project-with-a-long-name-{number:06}")
    up.release("demo", "1.0")
    server = spawn("--threads", "4")
    whole = {encoding: server(INDEX, {"Accept-Encoding": encoding}) for encoding in ("", "gzip")}
    assert len(whole[""].body) > 4 * MB
    with ExitStack() as stack:
        stalled = [
            (encoding, stack.enter_context(closing(server.open(INDEX, header))))
            for encoding in whole
            for header in [{"Accept-Encoding": encoding}]
            for _ in range(8)
        ]

        assert server("/simple/demo/").status == 200
        for encoding, answer in stalled:
            assert answer.read() == whole[encoding].body


# Two processes on one folder


def test_two_processes_fetch_a_file_once(up: Upstream, spawn: Spawn) -> None:
    """Clients of both read while one of them downloads."""
    file = up.release("demo", "1.0", size=3 * MB)
    servers = [spawn(), spawn()]
    path = servers[0].address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(MB))
    with ExitStack() as stack:
        answers = [
            stack.enter_context(closing(server.open(path))) for _ in range(10) for server in servers
        ]
        starts = [answer.read(500_000) for answer in answers]
        rule.remove()

        for start, answer in zip(starts, answers, strict=True):
            assert start + answer.read() == file.data
    assert up.count(body_of) == 1


def test_two_processes_race_for_many_small_files(up: Upstream, spawn: Spawn) -> None:
    """Whoever comes late finds what the other one has just kept."""
    files = [up.release("demo", f"1.{number}") for number in range(40)]
    servers = [spawn(), spawn()]
    links = servers[0].links("demo")
    with ThreadPoolExecutor(8) as clients:
        asked = [
            (file, clients.submit(server, links[file.filename]["url"]))
            for file in files
            for server in servers
            for _ in range(2)
        ]
        for file, each in asked:
            assert (each.result().status, each.result().body) == (200, file.data)
    assert up.count(body_of) == len(files)


def test_two_processes_share_pages(up: Upstream, spawn: Spawn) -> None:
    """A page that one has fetched is a hit for the other."""
    up.release("demo", "1.0")
    first, second = spawn(), spawn()

    assert first("/simple/demo/").origin == "miss"
    assert second("/simple/demo/").origin == "hit"
    assert up.count("/simple/demo/") == 1


@pytest.mark.straight("nginx sends no head before the first bytes of the body")
def test_the_others_clients_get_the_file_when_its_downloader_dies(
    up: Upstream, spawn: Spawn
) -> None:
    """Who has no byte yet waits on; who has some is cut off, and has it when he asks again."""
    file = up.release("demo", "1.0", size=3 * MB)
    first, second = spawn(), spawn()
    path = first.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(MB))
    with ExitStack() as stack:
        doomed = stack.enter_context(closing(first.open(path)))
        doomed.read(1000)
        reading = stack.enter_context(closing(second.open(path)))
        start = reading.read(500_000)
        # Of the last block nothing is released before all is verified.
        waiting = stack.enter_context(closing(second.open(path, {"Range": "bytes=-1000"})))
        rule.remove()
        gone = up.fail(lambda request: body_of(request) and up.count(body_of) == 1, HangInBody(MB))
        first.kill()

        assert waiting.read() == file.data[-1000:]
        try:
            assert start + reading.read() == file.data
        except BrokenOff:
            assert second(path).body == file.data
        gone.remove()
    assert up.count(body_of) == 2


# Crowds


@contextmanager
def polling(url: str) -> Iterator[Callable[[], list[float]]]:
    """Ask for a page again and again, from a process of its own, until asked for the seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", _POLLER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def seconds() -> list[float]:
            found: list[float] = json.loads(process.communicate("")[0])
            return found

        try:
            yield seconds
        finally:
            process.kill()


_POLLER = """
import http.client, json, select, sys, time, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
times = []
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.002)[0]:
    begin = time.perf_counter()
    connection.request("GET", url.path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200 and body, answer.status
    times.append(time.perf_counter() - begin)
connection.close()
print(json.dumps(times))
"""


def told(what: str, seconds: list[float]) -> None:
    if len(seconds) < 2:
        print(f"{what}: {seconds}")
        return
    cuts = statistics.quantiles(seconds, n=100)
    print(
        f"{what}: {len(seconds)} times, p50 {cuts[49] * 1000:.1f} ms, "
        f"p99 {cuts[98] * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms"
    )


def download(server: Http, path: str, expected: bytes | str, size: int) -> float:
    """Read a file in pieces, compare it as it comes, and return the seconds to its first byte.

    :param expected: the bytes, or their sha256.
    """
    begin = time.perf_counter()
    first = 0.0
    received = 0
    digest = hashlib.sha256()
    buffer = bytearray(1 << 18)
    with socket.create_connection((server.host, server.port), timeout=120) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = _head(sock).partition(b"\r\n\r\n")
        assert head.split()[1] == b"200", head
        piece = memoryview(rest)
        while True:
            if piece and not received:
                first = time.perf_counter() - begin
            if isinstance(expected, bytes):
                assert piece == memoryview(expected)[received : received + len(piece)]
            else:
                digest.update(piece)
            received += len(piece)
            count = sock.recv_into(buffer)
            if not count:
                break
            piece = memoryview(buffer)[:count]
    assert received == size
    assert isinstance(expected, bytes) or digest.hexdigest() == expected
    return first


def _head(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise BrokenOff
        data += piece
    return data


def test_300_clients_of_one_cold_file(up: Upstream, spawn: Spawn) -> None:
    """All get it from one slow fetch, memory stays flat, and hot pages are served meanwhile."""
    file = up.release("demo", "1.0", size=5 * MB)
    up.release("hot", "1.0")
    server = spawn()
    path = server.address("demo", file.filename)
    server("/simple/hot/")
    up.fail("/packages/", Slow(500_000))
    with polling(f"{server.url}simple/hot/") as polled:
        with ThreadPoolExecutor(300) as clients:
            asked = [
                clients.submit(download, server, path, file.data, file.size) for _ in range(300)
            ]
            firsts = [each.result() for each in asked]
        pages = polled()

    told("first bytes of a cold file", firsts)
    told("hot pages meanwhile", pages)
    print(f"memory at most: {server.rss(peak=True) / MB:.0f} MB")
    assert len(pages) > 100
    assert up.count(body_of) == 1
    assert server.rss(peak=True) < 250 * MB
    assert "Traceback" not in server.log.read_text()


def test_a_cold_resolve_by_many_is_one_request_a_resource(up: Upstream, spawn: Spawn) -> None:
    """171 projects by 50 clients at once, page, metadata and wheel each: all well, all once."""
    files = [up.release(f"demo{number}", "1.0", size=50_000) for number in range(171)]
    server = spawn()

    def resolve(number: int) -> list[int]:
        answers = [server(f"{INDEX}demo{number}/", {"Accept": JSON})]
        path = f"/root/pypi/{answers[0].json['files'][0]['url'].removeprefix('../../')}"
        answers += [server(f"{path}.metadata"), server(path)]
        assert answers[1].body == files[number].metadata
        assert answers[2].body == files[number].data
        return [answer.status for answer in answers]

    begin = time.perf_counter()
    with ThreadPoolExecutor(50) as clients:
        statuses = [
            status for found in clients.map(resolve, [*range(171), *range(171)]) for status in found
        ]
    print(f"cold resolve twice over: {time.perf_counter() - begin:.2f} s")
    print(f"memory at most: {server.rss(peak=True) / MB:.0f} MB")

    assert set(statuses) == {200}
    asked = Counter(request.path for request in up.requests if request.method == "GET")
    resources = {
        path
        for file, number in zip(files, range(171), strict=True)
        for path in (f"/simple/demo{number}/", f"{file.path}.metadata", file.path)
    }
    assert {path: asked[path] for path in resources} == dict.fromkeys(resources, 1)


def test_memory_does_not_grow_with_the_pages_of_a_hostile_upstream(
    up: Upstream, spawn: Spawn
) -> None:
    """U02: as many huge pages as threads, at the same time."""
    up.logging = False
    body = b"[" + b" " * (16 * MB)
    up.fail("/simple/", Status(200, {"Content-Type": JSON}, body))
    server = spawn()
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda number: server(f"/simple/p{number}/"), range(40)))
    assert {answer.status for answer in answers} <= {502, 503, 504}
    print(f"memory at most: {server.rss(peak=True) / MB:.0f} MB")
    assert server.rss(peak=True) < 300 * MB


def test_memory_does_not_grow_with_the_file(up: Upstream, spawn: Spawn) -> None:
    """Several times the limit by ten readers at once, cold, and then by a hot one."""
    file = up.blob("demo", "demo-1.0.tar.gz", 400 * MB)
    server = spawn("--request-timeout", "30")
    path = server.address("demo", file.filename)
    begin = time.perf_counter()

    with ThreadPoolExecutor(10) as clients:
        asked = [clients.submit(download, server, path, file.sha256, file.size) for _ in range(10)]
        for each in asked:
            each.result()
    print(f"ten cold readers of 400 MB: {time.perf_counter() - begin:.1f} s")
    until(lambda: is_held(server, path))
    download(server, path, file.sha256, file.size)

    print(f"memory at most: {server.rss(peak=True) / MB:.0f} MB")
    assert up.count(body_of) == 1
    assert server.rss(peak=True) < 150 * MB


# granian


@pytest.fixture
def granian(spawn: Spawn) -> Spawn:
    pytest.importorskip("granian")

    def start(*options: str) -> ServerProcess:
        server = spawn("--bottleserver", "granian", *options)
        until(lambda: not is_refused(server.port, server.host))
        return server

    return start


@pytest.mark.straight("nginx has ETags of its own")
def test_granian_serves_the_same(up: Upstream, granian: Spawn) -> None:
    """Pages, cold and hot files, ranges and errors through another server."""
    file = up.release("demo", "1.0", size=MB)
    server = granian()
    path = server.address("demo", file.filename)

    assert server(path).body == file.data
    until(lambda: is_held(server, path))
    assert server(path).body == file.data
    assert server(path, {"Range": "bytes=-10"}).body == file.data[-10:]
    assert server(path, method="HEAD").headers["Content-Length"] == str(MB)
    assert server("/simple/none/").status == 404
    tag = server("/simple/demo/").headers["ETag"]
    assert server("/simple/demo/", {"If-None-Match": tag}).status == 304
    assert server.stop() == 0


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_granian_listens_where_it_is_told_to(up: Upstream, granian: Spawn, host: str) -> None:
    """An IPv6 address is one, too; a name with both kinds is served at the older one."""
    up.release("demo", "1.0")
    server = granian("--host", host)

    assert Http(f"http://{'[::1]' if host == '::1' else '127.0.0.1'}:{server.port}/").links("demo")


def test_granian_breaks_off_what_is_spoilt(up: Upstream, granian: Spawn) -> None:
    """There, too, a wrong body is never whole."""
    file = up.release("demo", "1.0", size=3 * MB)
    server = granian()
    path = server.address("demo", file.filename)
    up.fail("/packages/", HangInBody(MB), times=1)
    with closing(server.open(path)) as answer:
        answer.read(1000)
        up.stop()
        with pytest.raises(BrokenOff):
            answer.read()


def test_granian_refuses_what_it_has_no_place_for(up: Upstream, granian: Spawn) -> None:
    """Past its places a cold request gets 503 and when to come again, a hot page never."""
    file = up.release("demo", "1.0", size=5 * MB)
    up.release("hot", "1.0")
    server = granian("--threads", "8")
    path = server.address("demo", file.filename)
    server("/simple/hot/")
    rule = up.fail("/packages/", HangInBody(MB))
    with ExitStack() as stack:
        answers = [stack.enter_context(closing(server.open(path))) for _ in range(12)]
        refused = [answer for answer in answers if answer.status == 503]
        taken = [answer for answer in answers if answer.status == 200]

        assert len(refused) + len(taken) == 12
        assert len(taken) == 6
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        assert server("/simple/hot/").status == 200
        rule.remove()
        assert all(answer.read() == file.data for answer in taken)
    until(lambda: is_held(server, path))
    assert server(path).body == file.data


def test_granian_with_a_crowd_on_one_cold_file(up: Upstream, granian: Spawn) -> None:
    """Who has a place gets the file, who has none comes again; one fetch, flat memory."""
    file = up.release("demo", "1.0", size=2 * MB)
    up.release("hot", "1.0")
    server = granian()
    path = server.address("demo", file.filename)
    server("/simple/hot/")
    up.fail("/packages/", Slow(1_000_000))
    tick = threading.Event()

    def patient() -> int:
        tries = 1
        while (answer := server(path)).status == 503:
            tick.wait(0.1)
            tries += 1
        assert answer.body == file.data
        return tries

    with polling(f"{server.url}simple/hot/") as polled:
        with ThreadPoolExecutor(80) as clients:
            tries = [each.result() for each in [clients.submit(patient) for _ in range(80)]]
        pages = polled()

    print(f"tries: {Counter(tries)}; memory at most: {server.rss(peak=True) / MB:.0f} MB")
    told("hot pages meanwhile, granian", pages)
    assert len(pages) > 10
    assert up.count(body_of) == 1
    assert server.rss(peak=True) < 250 * MB
