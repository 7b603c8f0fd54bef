"""``/+metrics``: what Prometheus reads, and what it does not get to read."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from fakes import FakeClock
from people import join
from prometheus_client.parser import text_string_to_metric_families
from server import INDEX, App, Client
from upstream import Status, Upstream
from upstream.artefacts import wheel

from devpi_server.observe import Answered, Asked
from devpi_server.services.counting import BOUNDS, Counts, surface_of

Make = Callable[..., App]


def samples(server: Client) -> dict[tuple[str, ...], float]:
    """Name and values of the labels, without that of the process, in the order of their names."""
    answer = server("/+metrics")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("process").isdecimal()
            values = [value for _, value in sorted(labels.items())]
            found[(sample.name, *values)] = sample.value
    return found


@pytest.mark.straight("what nginx sends, nginx counts")
def test_requests_are_counted_by_what_was_asked_and_where_the_answer_came_from(
    up: Upstream, app: Make
) -> None:
    """A page that is fetched, held, and not modified; in the order of their names."""
    up.release("demo", "1.0")
    server = app()
    tag = {"If-None-Match": server(f"{INDEX}demo/").headers["ETag"]}
    size = len(server(f"{INDEX}demo/").body)
    server(f"{INDEX}demo/", tag)
    server("/simple/absent/", method="HEAD")

    found = samples(server)

    requests = "devpi_requests_total"
    assert found[requests, "GET", "miss", "200", "page"] == 1
    assert found[requests, "GET", "hit", "200", "page"] == 1
    assert found[requests, "GET", "hit", "304", "page"] == 1
    assert found[requests, "HEAD", "-", "404", "page"] == 1
    assert found["devpi_sent_bytes_total", "page"] == 2 * size
    assert found["devpi_request_duration_seconds_count", "page"] == 2  # the others were ready
    assert found["devpi_upstream_requests_total", "absent", "page"] == 1
    assert found["devpi_upstream_requests_total", "fresh", "page"] == 1


def test_failures_of_upstream_are_counted(up: Upstream, app: Make) -> None:
    up.fail("/simple/", Status(500))
    server = app()
    assert server(f"{INDEX}demo/").status == 502

    found = samples(server)

    assert found["devpi_upstream_requests_total", "Failed", "page"] == 1
    assert found["devpi_upstream_addresses_passed_over",] == 1


def test_the_state_is_told(up: Upstream, app: Make, clock: FakeClock) -> None:
    """Serial, mirror, memory, disk, process."""
    up.release("demo", "1.0")
    server = app()
    server.tick()
    clock.advance(5)
    server("/simple/demo/")

    found = samples(server)

    assert found["devpi_mirror_lag_seconds", "root/pypi"] == 5
    assert found["devpi_mirror_serial", "root/pypi"] == up.serial
    assert found["devpi_pages_memory_bytes",] > 0
    assert found["devpi_disk_free_bytes",] > 0
    assert found["devpi_arriving_files",] == 0
    assert found["process_resident_memory_bytes",] > 0
    assert found["process_open_fds",] > 0
    assert found["devpi_serial",] >= 1


def test_no_name_of_a_project_an_index_or_a_user_is_told(up: Upstream, app: Make) -> None:
    """Anybody may ask, but for the mirrors that he may know of."""
    server = app()
    alice = join(server, "alice")
    alice.ok("PUT", "/alice/hidden", {"bases": [], "acl_read": ["alice"]})
    alice.upload("alice/hidden", wheel("secret-thing", "1.0"))
    server("/alice/hidden/+simple/secret-thing/")
    server("/alice/hidden/secret-thing/1.0/+d/secret", method="HEAD")
    server("/secret/", method="TRACE")

    text = server("/+metrics").body

    for word in (b"alice", b"hidden", b"secret", b"TRACE"):
        assert word not in text


def test_each_process_has_counts_of_its_own(up: Upstream, app: Make) -> None:
    """Nothing is shared by two servers, in one process even."""
    first, second = app(), app()
    first("/+api")

    assert samples(first)["devpi_requests_total", "GET", "-", "200", "server"] >= 1
    assert ("devpi_requests_total", "GET", "-", "200", "server") not in samples(second)


@pytest.mark.parametrize(
    ("path", "method", "surface"),
    [
        ("/simple/", "GET", "list"),
        ("/root/pypi/+simple", "GET", "list"),
        ("/root/pypi/+simple/demo/", "GET", "page"),
        ("/ext/pypi/simple/demo/", "GET", "page"),
        ("/root/pypi/+f/abc/def/demo-1.0.tar.gz", "GET", "file"),
        ("/alice/dev/", "POST", "upload"),
        ("/alice/dev", "POST", "upload"),
        ("/+login", "POST", "login"),
        ("/+status", "GET", "server"),
        ("/alice/dev/demo/1.0/+d/index.html", "GET", "doc"),
        ("/alice/dev/demo", "GET", "api"),
        ("/" * 5000, "GET", "api"),
    ],
)
def test_surfaces(path: str, method: str, surface: str) -> None:
    assert surface_of(path, method) == surface


def test_no_count_is_lost_and_none_is_kept_for_long() -> None:
    """Also of thousands that nobody asks about."""
    counts = Counts()
    for number in range(2500):
        counts.answered(Answered(0.0, "x", "GET", f"/simple/p{number}/", "200", "hit", 10, 0.01))
        counts.asked(Asked("page", "fresh", 3.0))

    counts.fold()

    assert counts.requests == {("page", "GET", "200", "hit"): 2500}
    assert counts.bytes == {"page": 25_000}
    took = dict(counts.durations["page"].cumulative())
    assert (took["0.005"], took["0.01"], took["+Inf"]) == (0, 2500, 2500)
    assert len(took) == len(BOUNDS) + 1


def test_what_it_costs_a_request() -> None:
    """Printed, not asserted (``pytest -s``)."""
    counts = Counts()
    event = Answered(0.0, "x", "GET", "/root/pypi/+simple/demo/", "200", "hit", 10)
    begin = time.process_time()
    for _ in range(100_000):
        counts.answered(event)
    print(f"{(time.process_time() - begin) * 10:.2f} µs")
