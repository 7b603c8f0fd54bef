"""Projects, versions and files as devpi-client shows and removes them (devpi.md 1.6, 1.9)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock
from people import Person, join, root_of
from server import App, until
from uploading import post
from upstream import HangInBody, Status, Upstream
from upstream.artefacts import sdist, wheel

Make = Callable[..., App]
HOST = "http://127.0.0.1"  # of a request without a Host
DEMO, DEMO_2, SOURCE = wheel("Demo", "1.0"), wheel("Demo", "2.0"), sdist("Demo", "1.0")
SHA256 = hashlib.sha256(DEMO.data).hexdigest()
DEV, PROD = "alice/dev", "alice/prod"


@pytest.fixture
def server(app: Make) -> App:
    return app()


@pytest.fixture
def alice(server: App) -> Person:
    """With an index that is volatile and one that is not."""
    person = join(server, "alice")
    person.ok("PUT", f"/{DEV}", {})
    person.ok("PUT", f"/{PROD}", {"volatile": False, "bases": DEV})
    return person


def why(answer: Any) -> tuple[int, str]:
    return answer.status, answer.json["message"]


def result(person: Person, path: str) -> Any:
    return person.ok("GET", path).json["result"]


# Showing


def test_a_version_is_shown_with_its_metadata_and_links(alice: Person, clock: FakeClock) -> None:
    path = alice.upload(DEV, DEMO)

    answer = alice.ok("GET", f"/{DEV}/demo/1.0").json
    assert answer["type"] == "versiondata"
    verdata = answer["result"]
    assert (verdata["name"], verdata["version"]) == ("demo", "1.0")
    assert (verdata["summary"], verdata["classifiers"]) == ("", [])
    (link,) = verdata["+links"]
    assert link["rel"] == "releasefile"
    assert link["href"].endswith(path)
    assert link["href"].startswith("http://")
    assert link["hash_spec"] == f"sha256={SHA256}"
    assert link["hashes"]["sha256"] == SHA256
    when = [2023, 11, 14, 22, 13, 20]
    assert link["log"] == [{"what": "upload", "who": "alice", "when": when, "dst": DEV}]
    assert "+shadowing" not in verdata


def test_a_project_is_shown_with_all_its_versions(alice: Person) -> None:
    for artefact in (DEMO, DEMO_2, SOURCE):
        alice.upload(DEV, artefact)

    for path in (f"/{DEV}/demo", f"/{DEV}/demo/"):
        answer = alice.ok("GET", path).json
        assert answer["type"] == "projectconfig"
        assert set(answer["result"]) == {"1.0", "2.0"}
    links = answer["result"]["1.0"]["+links"]
    assert [link["href"].rpartition("/")[2] for link in links] == [DEMO.filename, SOURCE.filename]


def test_a_replaced_file_says_so(alice: Person) -> None:
    alice.upload(DEV, wheel("Demo", "1.0", requires=["x"]))
    alice.upload(DEV, DEMO)

    (link,) = result(alice, f"/{DEV}/demo/1.0")["+links"]
    assert [(entry["what"], entry.get("count")) for entry in link["log"]] == [
        ("overwrite", 1),
        ("upload", None),
    ]


def test_documentation_and_test_results_are_links_too(alice: Person) -> None:
    path = alice.upload(DEV, DEMO)
    kept = alice.ok("POST", path, {"toxversion": "4"}).json["result"]
    docs = {"content": ("demo.zip", _zip())}
    fields = {":action": "doc_upload", "name": "demo", "version": "1.0"}
    assert post(alice.server, DEV, fields, docs, alice.credentials).status == 200

    links = {link["rel"]: link for link in result(alice, f"/{DEV}/demo/1.0")["+links"]}
    assert links.keys() == {"releasefile", "toxresult", "doczip"}
    assert links["toxresult"]["for_href"] == links["releasefile"]["href"]
    assert kept.split("#")[0] in links["toxresult"]["href"]
    assert alice.server(links["toxresult"]["href"].removeprefix(HOST)).json == {"toxversion": "4"}


def _zip() -> bytes:
    return wheel("docs", "1").data.replace(b"docs.py", b"x.html3")


def test_a_mirror_knows_less_of_a_version(server: App, up: Upstream, alice: Person) -> None:
    file = up.release("demo", "1.0", requires_python=">=3.8")
    up.yank("demo", "1.0", "broken")

    verdata = result(alice, "/root/pypi/demo/1.0")
    assert verdata == {
        "name": "demo",
        "version": "1.0",
        "requires_python": ">=3.8",
        "yanked": "broken",
        "+links": [
            {
                "rel": "releasefile",
                "href": f"{HOST}{server.address('demo', file.filename)}",
                "hash_spec": f"sha256={file.sha256}",
                "hashes": {"sha256": file.sha256},
            }
        ],
    }
    assert result(alice, "/root/pypi/demo") == {"1.0": verdata}


def test_what_bases_have_is_shown_below(alice: Person) -> None:
    alice.upload(DEV, DEMO_2)
    alice.upload(DEV, SOURCE)
    path = alice.upload(PROD, DEMO)

    project = result(alice, f"/{PROD}/demo")
    assert project.keys() == {"1.0", "2.0"}
    assert project["1.0"]["+links"][0]["href"] == HOST + path
    (shadowed,) = project["1.0"]["+shadowing"]
    assert shadowed["+links"][0]["href"].startswith(f"{HOST}/{DEV}/+f/")
    assert result(alice, f"/{PROD}/demo/1.0") == project["1.0"]

    own = result(alice, f"/{PROD}/demo?ignore_bases=")
    assert own.keys() == {"1.0"}
    assert "+shadowing" not in own["1.0"]


def test_a_private_name_is_not_asked_of_a_mirror_for_its_metadata(
    alice: Person, up: Upstream
) -> None:
    up.release("demo", "3.0")
    alice.ok("PATCH", f"/{DEV}", {"bases": "root/pypi"})
    alice.upload(DEV, DEMO)

    assert result(alice, f"/{DEV}/demo").keys() == {"1.0"}
    assert alice("GET", f"/{DEV}/demo/3.0").status == 404
    assert up.requests == []

    alice.ok("PATCH", f"/{DEV}", ["mirror_whitelist=demo"])
    assert result(alice, f"/{DEV}/demo").keys() == {"1.0", "3.0"}


def test_what_is_not_there_is_not_shown(alice: Person, up: Upstream) -> None:
    alice.upload(DEV, DEMO)
    up.fail("/simple/sick/", Status(500))

    assert why(alice("GET", f"/{DEV}/none")) == (404, "no project 'none'")
    expected = (404, "The version 9 of project demo does not exist.")
    assert why(alice("GET", f"/{DEV}/demo/9")) == expected
    assert alice("GET", f"/{PROD}/demo?ignore_bases=").status == 404
    assert alice("GET", "/root/pypi/none").status == 404
    assert alice("GET", "/root/pypi/sick").status == 502
    assert alice("GET", f"/{DEV}/a%20b").status == 404


@pytest.mark.parametrize(
    ("path", "location"),
    [
        (f"/{DEV}/DE.mo", "de-mo"),
        (f"/{DEV}/DE.mo/", "../de-mo/"),
        (f"/{DEV}/DE.mo?ignore_bases=", "de-mo?ignore_bases="),
        (f"/{DEV}/DE.mo/1.0", "../de-mo/1.0"),
        (f"/{DEV}/DE.mo/1!0%2B%C3%A4/", "../../de-mo/1%210%2B%C3%A4/"),
    ],
)
def test_other_spellings_of_a_name_are_led_to_the_normal_one(
    alice: Person, path: str, location: str
) -> None:
    answer = alice("GET", path)

    assert (answer.status, answer.headers["Location"]) == (302, location)


def test_a_version_may_be_spelled_otherwise(alice: Person) -> None:
    alice.upload(DEV, DEMO)

    assert result(alice, f"/{DEV}/demo/1.0.0")["version"] == "1.0"


# Files


def test_what_is_known_of_a_file_is_shown_to_who_takes_json(
    alice: Person, server: App, up: Upstream
) -> None:
    file = up.release("other", "1.0")
    uploaded = alice.upload(DEV, DEMO)
    mirrored = server.address("other", file.filename)
    alice.ok("PATCH", f"/{PROD}", ["bases+=root/pypi"])

    for path in (uploaded, uploaded.replace(DEV, PROD)):
        answer = alice.ok("GET", path).json
        assert answer["type"] == "releasefilemeta"
        assert answer["result"]["hash_spec"] == f"sha256={SHA256}"
        assert answer["result"]["project"] == "demo"
        assert answer["result"]["version"] == "1.0"
        assert answer["result"]["last_modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    for path in (mirrored, mirrored.replace("root/pypi", PROD)):
        shown = result(alice, path)
        assert shown["hashes"] == {"sha256": file.sha256}
        assert shown["url"] == up.url.removesuffix("/") + file.path
    assert up.count("/packages/") == 0
    assert alice("GET", f"{uploaded}x").status == 404
    assert alice("GET", mirrored.replace(file.sha256[:3], "fff")).status == 404


def test_a_file_that_was_sent_often_is_shown_all_the_same(alice: Person, server: App) -> None:
    path = alice.upload(DEV, DEMO)
    for _ in range(3):
        assert server(path).body == DEMO.data

    assert alice.ok("GET", path).json["type"] == "releasefilemeta"
    assert server(path, {"Accept": "*/*"}).body == DEMO.data


# Deleting


def test_a_project_is_deleted(alice: Person, server: App) -> None:
    path = alice.upload(DEV, DEMO)
    alice.upload(DEV, DEMO_2)

    answer = alice("DELETE", f"/{DEV}/demo")
    assert why(answer) == (200, f"project demo deleted from stage {DEV}")
    assert result(alice, f"/{DEV}")["projects"] == []
    assert server(path).status == 410
    assert why(alice("DELETE", f"/{DEV}/demo")) == (404, "project not found")


def test_a_version_is_deleted_and_the_last_one_takes_the_project_with_it(
    alice: Person, server: App
) -> None:
    first = alice.upload(DEV, DEMO)
    second = alice.upload(DEV, DEMO_2)

    answer = alice("DELETE", f"/{DEV}/Demo/1.0/")
    assert why(answer) == (200, "project 'demo' version '1.0' deleted")
    assert (server(first).status, server(second).status) == (410, 200)
    assert result(alice, f"/{DEV}/demo").keys() == {"2.0"}
    expected = (404, f"version '1.0' of project 'demo' not found on stage {DEV!r}")
    assert why(alice("DELETE", f"/{DEV}/demo/1.0")) == expected

    alice.ok("DELETE", f"/{DEV}/demo/2.0")
    assert result(alice, f"/{DEV}")["projects"] == []
    expected = (404, f"project 'demo' not found on stage {DEV!r}")
    assert why(alice("DELETE", f"/{DEV}/demo/2.0")) == expected


def test_a_file_is_deleted_with_its_results_and_the_last_one_takes_the_version_with_it(
    alice: Person, server: App
) -> None:
    first, second = alice.upload(DEV, DEMO), alice.upload(DEV, SOURCE)
    tested = "/" + alice.ok("POST", first, {}).json["result"].split("#")[0].lstrip("/")

    answer = alice("DELETE", first)
    assert why(answer) == (200, f"package '{first[1:]}' deleted")
    assert [server(path).status for path in (first, second)] == [410, 200]
    assert server(tested).status in (404, 410)
    assert alice("DELETE", first).status == 410
    assert alice("DELETE", f"{second}x").status == 404
    assert alice("DELETE", f"{second}.metadata").status == 404
    (link,) = result(alice, f"/{DEV}/demo/1.0")["+links"]
    assert link["href"].endswith(second)

    alice.ok("DELETE", second)
    assert alice("GET", f"/{DEV}/demo").status == 404


def test_what_is_not_volatile_is_deleted_by_force_only(alice: Person, server: App) -> None:
    path = alice.upload(PROD, DEMO)
    reasons = {
        f"/{PROD}/demo": f"project 'demo' is on non-volatile index {PROD}",
        f"/{PROD}/demo/1.0": "cannot delete version on non-volatile index",
        path: "cannot delete version on non-volatile index",
    }
    for address, reason in reasons.items():
        assert why(alice("DELETE", address)) == (403, reason)
    assert server(path).status == 200

    for address in reversed(reasons):
        alice.upload(PROD, DEMO)
        assert alice("DELETE", f"{address}?force").status == 200
        assert server(path).status == 410


def test_what_a_base_has_is_not_deleted_from_below(alice: Person) -> None:
    path = alice.upload(DEV, DEMO)

    assert alice("DELETE", f"/{PROD}/demo?force").status == 404
    assert alice("DELETE", f"/{PROD}/demo/1.0?force").status == 404
    assert alice("DELETE", f"{path.replace(DEV, PROD)}?force").status == 404


def test_a_deleted_file_can_be_uploaded_again(alice: Person, server: App) -> None:
    path = alice.upload(DEV, DEMO)
    alice.ok("DELETE", path)

    assert alice.upload(DEV, DEMO) == path
    assert server(path).body == DEMO.data


def test_every_process_sees_what_was_deleted(app: Make, alice: Person) -> None:
    path = alice.upload(DEV, DEMO)
    other = app()
    assert other(path).status == other(path).status == 200
    assert other.links("demo", f"/{DEV}/+simple/")

    alice.ok("DELETE", path)

    assert other(path).status == 410
    assert other(f"/{DEV}/+simple/demo/").status == 404


def test_deleting_from_a_mirror_lets_go_of_the_cache_only(
    app: Make, server: App, up: Upstream
) -> None:
    file = up.release("demo", "1.0", size=200_000)
    root, other = root_of(server), app()
    path = server.address("demo", file.filename)
    for address in (path, "/root/pypi/demo/1.0", "/root/pypi/demo"):
        for each in (server, other):
            until(lambda each=each: each(path).origin == "hit")
        fetched = up.count(file.path)
        assert root("DELETE", address).status == 403
        root.ok("DELETE", f"{address}?force")

        assert server.links("demo").keys() == {file.filename}
        assert (other(path).origin, up.count(file.path)) == ("miss", fetched + 1)
        for each in (server, other):  # who has fetched it is done with it, too
            until(lambda each=each: each(path).origin == "hit")
    root.ok("DELETE", f"{path}?force=")
    assert root("DELETE", f"{path}?force").status == 404
    assert root("DELETE", "/root/pypi/none?force").status == 404
    assert root("DELETE", "/root/pypi/demo/9?force").status == 404


def test_the_bytes_of_an_upload_stay_when_a_mirror_lets_go_of_them(
    server: App, up: Upstream, alice: Person
) -> None:
    file = up.release("demo", "1.0")
    same = wheel("demo", "1.0")
    assert same.data == file.data
    uploaded = alice.upload(DEV, same)
    mirrored = server.address("demo", file.filename)
    assert server(mirrored).status == 200

    root_of(server).ok("DELETE", f"{mirrored}?force")

    assert server(uploaded).body == file.data


# Yanking


def yanked(server: App, index: str = DEV) -> dict[str, object]:
    links = server.links("demo", f"/{index}/+simple/")
    return {name: link["yanked"] for name, link in links.items()}


def test_a_release_is_yanked_and_unyanked(alice: Person, server: App) -> None:
    for artefact in (DEMO, SOURCE, DEMO_2):
        alice.upload(DEV, artefact)
    path = f"/{DEV}/demo/1.0/+yank"

    alice.ok("POST", path, {"reason": "it bites"})
    expected: dict[str, object] = {DEMO.filename: "it bites", SOURCE.filename: "it bites"}
    assert yanked(server) == expected | {DEMO_2.filename: False}
    assert result(alice, f"/{DEV}/demo/1.0")["yanked"] == "it bites"
    html = server(f"/{DEV}/+simple/demo/").body
    assert html.count(b'data-yanked="it bites"') == 2

    alice.ok("POST", path)
    assert yanked(server)[DEMO.filename] is True
    assert result(alice, f"/{DEV}/demo/1.0")["yanked"] is True

    alice.ok("DELETE", path)
    assert set(yanked(server).values()) == {False}
    assert "yanked" not in result(alice, f"/{DEV}/demo/1.0")


def test_one_file_is_yanked_and_unyanked(alice: Person, server: App) -> None:
    path = alice.upload(DEV, DEMO)
    alice.upload(DEV, SOURCE)

    alice.ok("POST", f"{path}/+yank", {"reason": "wrong platform"})
    assert yanked(server) == {DEMO.filename: "wrong platform", SOURCE.filename: False}
    assert "yanked" not in result(alice, f"/{DEV}/demo/1.0")
    assert server(path).body == DEMO.data

    alice.ok("DELETE", f"{path}/+yank")
    assert yanked(server)[DEMO.filename] is False


def test_a_yanked_file_is_yanked_for_who_builds_on_the_index(alice: Person, server: App) -> None:
    path = alice.upload(DEV, DEMO)
    assert yanked(server, PROD) == {DEMO.filename: False}

    alice.ok("POST", f"{path}/+yank", {"reason": "x"})

    assert yanked(server, PROD) == {DEMO.filename: "x"}


def test_yanking_needs_no_volatile_index_and_costs_no_bytes(alice: Person, server: App) -> None:
    path = alice.upload(PROD, DEMO)
    alice.ok("POST", f"/{PROD}/demo/1.0/+yank")
    with server.services.meta.reading() as tables:
        assert tables.orphans.since(float("inf")) == []
    alice.ok("DELETE", f"{path}?force")
    with server.services.meta.reading() as tables:
        assert SHA256 in tables.orphans.since(float("inf"))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/{DEV}/demo/9/+yank", {}, 404),
        (f"/{DEV}/none/1.0/+yank", {}, 404),
        (f"/{DEV}/demo/1.0/+yank", {"reason": "two\nlines"}, 400),
        (f"/{DEV}/demo/1.0/+yank", {"reason": "x" * 501}, 400),
        (f"/{DEV}/demo/1.0/+yank", {"reason": 7}, 400),
        (f"/{DEV}/demo/1.0/+yank", [], 400),
        (f"/{DEV}/demo/1.0/+yank", b"{", 400),
        (f"/{DEV}/+f/abc/0123456789abc/demo-1.0-py3-none-any.whl/+yank", {}, 404),
        ("/root/pypi/demo/1.0/+yank", {}, 400),
    ],
)
def test_what_cannot_be_yanked_is_refused(
    server: App, alice: Person, path: str, body: object, status: int
) -> None:
    alice.upload(DEV, DEMO)

    person = root_of(server) if "root/" in path else alice
    assert person("POST", path, body).status == status


def test_a_release_without_a_file_cannot_be_yanked(alice: Person, server: App) -> None:
    fields = {":action": "submit", "name": "demo", "version": "1.0"}
    assert post(server, DEV, fields, {}, alice.credentials).status == 200

    assert alice("POST", f"/{DEV}/demo/1.0/+yank").status == 400
    assert result(alice, f"/{DEV}/demo").keys() == {"1.0"}


# Who may


def test_uploaders_delete_and_yank_others_do_not(alice: Person, server: App) -> None:
    bob, carol = join(server, "bob"), join(server, "carol")
    alice.ok("PATCH", f"/{DEV}", ["acl_upload+=bob"])
    path = alice.upload(DEV, DEMO)
    for method, address in (("POST", f"{path}/+yank"), ("DELETE", path)):
        assert Person(server)(method, address).status == 401
        assert carol(method, address).status == 403
        assert bob(method, address).status == 200


def test_every_deletion_is_in_the_audit_trail(alice: Person, server: App) -> None:
    path = alice.upload(DEV, DEMO)
    alice.ok("POST", f"{path}/+yank", {"reason": "x"})
    alice.ok("POST", f"{path}/+yank", {"reason": "x"})
    alice.ok("DELETE", path)

    with server.services.meta.reading() as tables:
        rows = tables.audit.last(3)
    assert [(row.action, row.target, dict(row.detail)) for row in rows[:2]] == [
        ("remove", f"{DEV}/{DEMO.filename}", {"sha256": SHA256}),
        ("yank", f"{DEV}/{DEMO.filename}", {"reason": "x"}),
    ]
    assert rows[2].action == "upload"


# Refreshing


def test_a_refresh_shows_what_is_new_upstream(server: App, up: Upstream) -> None:
    up.release("demo", "1.0")
    assert len(server.links("demo")) == 1
    up.release("demo", "2.0")
    assert len(server.links("demo")) == 1

    answer = Person(server)("POST", "/root/pypi/+simple/demo/refresh")

    assert (answer.status, answer.headers["Location"]) == (302, "./")
    assert len(server.links("demo")) == 2


def test_a_refresh_is_not_lost_to_an_answer_that_is_on_its_way(server: App, up: Upstream) -> None:
    """What upstream said before does not count after, also for those who wait for it."""
    refresh = "/root/pypi/+simple/demo/refresh"
    up.release("demo", "1.0")
    server.links("demo")
    server.request("POST", refresh)
    old = up.fail("/simple/demo/", HangInBody(5), times=1)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(server.links, "demo")
        until(lambda: up.count("/simple/demo/") == 2)
        up.release("demo", "2.0")
        server.request("POST", refresh)
        old.remove()

        assert len(waiting.result()) == 2
    assert len(server.links("demo")) == 2
    assert up.count("/simple/demo/") == 3


def test_a_refresh_counts_whatever_date_the_page_gets(
    server: App, up: Upstream, tmp_path: Path, clock: FakeClock
) -> None:
    """By a process that is just noting an older answer of upstream's."""
    up.release("demo", "1.0")
    server.links("demo")
    (page,) = tmp_path.glob("data/mirror/*/*/pages/demo")
    up.release("demo", "2.0")
    server.request("POST", "/root/pypi/+simple/demo/refresh")
    os.utime(page, (clock(), clock()))

    assert len(server.links("demo")) == 2


def test_a_refresh_counts_for_the_first_answer_that_is_on_its_way(
    server: App, up: Upstream
) -> None:
    """Of a project whose page is not held yet."""
    up.release("demo", "1.0")
    old = up.fail("/simple/demo/", HangInBody(5), times=1)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(server.links, "demo")
        until(lambda: up.count("/simple/demo/") == 1)
        up.release("demo", "2.0")
        server.request("POST", "/root/pypi/+simple/demo/refresh")
        old.remove()
        waiting.result()
    assert len(server.links("demo")) == 2


def test_a_refresh_of_a_stage_refreshes_its_mirrors(
    server: App, up: Upstream, alice: Person
) -> None:
    alice.ok("PATCH", f"/{DEV}", {"bases": "root/pypi"})
    up.release("other", "1.0")
    index = f"/{PROD}/+simple/"
    assert len(server.links("other", index)) == 1
    up.release("other", "2.0")

    assert alice("POST", f"{index}Other/refresh").headers["Location"] == "../other/"
    assert len(server.links("other", index)) == 2


def test_a_refresh_tells_no_mirror_of_a_private_name(
    server: App, up: Upstream, alice: Person
) -> None:
    alice.ok("PATCH", f"/{DEV}", {"bases": "root/pypi"})
    alice.upload(DEV, DEMO)

    assert alice("POST", f"/{DEV}/+simple/demo/refresh").status == 302
    assert server(f"/{DEV}/+simple/demo/").status == 200
    assert up.requests == []
