"""What holds on every answer, and who gets what at an address with several answers
(devpi.md 1.0, 1.10, 1.13)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urljoin

import pytest
from people import Person, join, root_of
from server import JSON, App, Response
from upstream import Status, Upstream
from upstream.artefacts import wheel

from devpi_server import __version__

Make = Callable[..., App]
DEMO = wheel("demo", "1.0")
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
PIP = f"{JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
INSTALLERS = (
    'pip/26.0 {"ci":null}',
    "uv/0.9.1 {}",
    "setuptools/80.0 Python-urllib/3.11",
    "Python-urllib/3.11 setuptools/80.0",
    "distribute/0.6",
    "pex/2.1",
)
DEVPI = {"User-Agent": "devpi-client/7.3.0 (py3.11; linux)", "Accept": "application/json"}


@pytest.fixture
def server(app: Make) -> App:
    return app()


@pytest.fixture
def alice(server: App) -> Person:
    person = join(server, "alice")
    person.ok("PUT", "/alice/dev", {"bases": "root/pypi"})
    person.upload("alice/dev", DEMO)
    return person


# Headers


def serial(answer: Response) -> int:
    return int(answer.headers["X-Devpi-Serial"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/+api", 200),
        ("/alice/dev", 200),
        ("/alice/dev/+simple/demo/", 200),
        ("/alice/dev/+simple/demo", 301),
        ("/root/pypi/+simple/sick/", 502),
        ("/alice/none", 404),
        ("/+nothing/at/all", 404),
    ],
)
def test_every_answer_says_who_gives_it(
    server: App, alice: Person, up: Upstream, path: str, status: int
) -> None:
    up.fail("/simple/sick/", Status(500))

    for _ in range(2):  # the second one may be hot
        answer = server(path, {"Accept": "application/json"})
        assert answer.status == status
        headers = answer.headers
        assert headers["X-Devpi-Api-Version"] == "2"
        assert headers["X-Devpi-Server-Version"] == __version__
        assert len(headers["X-Devpi-Uuid"]) == 32
        for alias in ("Primary", "Master"):
            assert headers[f"X-Devpi-{alias}-Uuid"] == headers["X-Devpi-Uuid"]
        assert serial(answer) > 0


def test_the_serial_is_that_of_the_requests_own_change(app: Make, server: App) -> None:
    before = serial(server("/+api"))

    made = Person(server).ok("PUT", "/alice", {"password": ""})
    assert serial(made) == before + 1
    for process in (server, app()):
        assert serial(process("/+api")) == before + 1


def test_two_servers_have_two_identities(
    server: App, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("another")
    other = App("--datadir", str(folder), "--mirror-url", "http://127.0.0.1:1/")
    try:
        uuids = {each("/+api").headers["X-Devpi-Uuid"] for each in (server, other)}
    finally:
        other.services.close()

    assert len(uuids) == 2


@pytest.mark.parametrize("path", ["/alice/dev", "/alice/dev/demo", "/alice/dev/demo/1.0", "/"])
def test_json_has_the_one_content_type_that_devpi_client_takes(
    server: App, alice: Person, path: str
) -> None:
    answer = server(path, DEVPI)

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert set(answer.json) == {"type", "result"}
    assert answer.body.endswith(b"\n}\n")


# One address, several answers


@pytest.mark.parametrize("agent", INSTALLERS)
@pytest.mark.parametrize("accept", [None, "*/*", PIP])
def test_installers_find_pages_at_the_address_of_an_index(
    server: App, alice: Person, agent: str, accept: str | None
) -> None:
    """With ``index-url = http://host/alice/dev/``, and links that lead to the files."""
    headers = {"User-Agent": agent, **({"Accept": accept} if accept else {})}
    listing = server("/alice/dev/", headers)
    assert listing.status == 200
    assert b"demo" in listing.body

    for path in ("/alice/dev/demo/", "/alice/dev/demo", "/alice/dev/+simple/demo"):
        for _ in range(2):
            page = server(path, headers)
            assert page.status == 200
            assert "User-Agent" in page.headers["Vary"] or accept == PIP
            assert DEMO.filename.encode() in page.body
    link = server("/alice/dev/demo/", {**headers, "Accept": JSON}).json["files"][0]["url"]
    assert server(urljoin("/alice/dev/demo/", link)).body == DEMO.data
    link = server("/alice/dev/demo", {**headers, "Accept": JSON}).json["files"][0]["url"]
    assert server(urljoin("/alice/dev/demo", link)).body == DEMO.data


@pytest.mark.parametrize("agent", INSTALLERS)
def test_installers_are_led_over_the_missing_slash_of_an_index(
    server: App, alice: Person, agent: str
) -> None:
    """Without it, the names of the list would be those of indexes."""
    answer = server("/alice/dev", {"User-Agent": agent})

    assert (answer.status, answer.headers["Location"]) == (302, "dev/")


@pytest.mark.parametrize("agent", ["Mozilla/5.0", "curl/8.5", "poetry/2.0", "notpip/1.0", ""])
def test_who_takes_a_form_of_the_simple_api_gets_it_whatever_its_name(
    server: App, alice: Person, agent: str
) -> None:
    headers = {"User-Agent": agent, "Accept": JSON}

    assert "projects" in server("/alice/dev/", headers).json
    for path in ("/alice/dev/demo/", "/alice/dev/demo"):
        assert server(path, headers).json["name"] == "demo"


@pytest.mark.parametrize("accept", [None, "*/*", HTML])
@pytest.mark.parametrize("agent", ["Mozilla/5.0", "curl/8.5", "Python-urllib/3.11", "apip/1.0"])
@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/alice/dev", "dev/+simple/"),
        ("/alice/dev/", "+simple/"),
        ("/alice/dev/demo", "+simple/demo/"),
        ("/alice/dev/demo/", "../+simple/demo/"),
    ],
)
def test_others_are_led_to_the_simple_page(
    server: App, alice: Person, path: str, location: str, agent: str, accept: str | None
) -> None:
    headers = {"User-Agent": agent, **({"Accept": accept} if accept else {})}
    for warm_up in ({"User-Agent": INSTALLERS[0], **headers}, headers):
        server(path, {**warm_up, "User-Agent": INSTALLERS[0]})

    answer = server(path, headers)

    assert (answer.status, answer.headers["Location"]) == (302, location)
    assert "User-Agent" in answer.headers["Vary"]
    assert server(urljoin(path, location), headers).status == 200


@pytest.mark.parametrize("agent", [*INSTALLERS, "Mozilla/5.0"])
def test_who_takes_devpis_json_gets_it_whatever_its_name(
    server: App, alice: Person, agent: str
) -> None:
    headers = {"User-Agent": agent, "Accept": "application/json"}

    assert server("/alice/dev/", headers).json["type"] == "indexconfig"
    assert server("/alice/dev/demo/", headers).json["type"] == "projectconfig"


def test_a_page_for_installers_is_not_shown_to_who_may_not_read_it(
    server: App, alice: Person
) -> None:
    headers = {"User-Agent": INSTALLERS[0], "Accept": PIP}
    for _ in range(2):
        assert server("/alice/dev/demo/", headers).status == 200
    alice.ok("PATCH", "/alice/dev", {"acl_read": "alice"})

    assert server("/alice/dev/demo/", headers).status == 401
    assert server("/alice/dev/", headers).status == 401
    assert server("/alice/dev/demo/", {**headers, **alice.credentials}).status == 200


# Whole URLs


def urls(server: App, headers: dict[str, str], path: str = "/alice/dev/+simple/demo/") -> list[str]:
    answer = server(path, {"Accept": JSON, **headers})
    return [file["url"] for file in answer.json["files"]]


@pytest.mark.parametrize("is_option", [True, False])
def test_pages_have_whole_urls_where_that_is_wanted(
    app: Make, up: Upstream, is_option: bool
) -> None:
    server = app(*(["--absolute-urls"] if is_option else []))
    alice = join(server, "alice")
    alice.ok("PUT", "/alice/dev", {"bases": "root/pypi", "mirror_whitelist": "*"})
    path = alice.upload("alice/dev", DEMO)
    other = up.release("demo", "2.0")
    headers = {"Host": "pypi.test:80"}
    if not is_option:
        assert urls(server, headers)[0].startswith("../../+f/")
        headers["X-Devpi-Absolute-Urls"] = "1"

    for page in ("/alice/dev/+simple/demo/", "/alice/dev/demo/", "/alice/dev/demo"):
        own, upstreams = urls(server, headers, page)
        assert own == f"http://pypi.test:80{path}"
        assert upstreams.startswith("http://pypi.test:80/root/pypi/+f/")
        assert upstreams.endswith(other.filename)
    assert urls(server, {**headers, "Host": "other.test"})[0] == f"http://other.test{path}"
    assert b'href="http://pypi.test:80/' in server("/root/pypi/+simple/demo/", headers).body


@pytest.mark.straight("nginx answers below the sub-path only")
def test_whole_urls_are_those_under_which_the_server_is_known(app: Make) -> None:
    server = app("--outside-url", "https://pypi.test/sub", "--absolute-urls")
    alice = join(server, "alice")
    alice.ok("PUT", "/alice/dev", {})
    path = alice.upload("alice/dev", DEMO)

    assert urls(server, {}) == [f"https://pypi.test/sub{path}"]
    shown = alice.ok("GET", "/alice/dev/demo/1.0").json["result"]
    assert shown["+links"][0]["href"] == f"https://pypi.test/sub{path}"


@pytest.mark.straight("nginx itself says where it is")
def test_a_trusted_proxy_says_under_which_address_it_was_asked(app: Make) -> None:
    outside = {"X-Outside-URL": "https://front.test/pkg"}
    server = app("--trusted-proxy", "127.0.0.1")
    alice = join(server, "alice")
    alice.ok("PUT", "/alice/dev", {})
    path = alice.upload("alice/dev", DEMO)

    shown = alice("GET", "/alice/dev/demo/1.0", None, outside).json["result"]
    assert shown["+links"][0]["href"] == f"https://front.test/pkg{path}"
    stranger = Person(server.seen_from("192.0.2.1"), alice.name, alice.password)
    shown = stranger("GET", "/alice/dev/demo/1.0", None, outside).json["result"]
    assert "front.test" not in shown["+links"][0]["href"]


# Status


def test_the_status_has_devpis_shape_and_no_paths(server: App, alice: Person) -> None:
    answer = server("/+status", DEVPI)
    assert answer.json["type"] == "status"
    status = answer.json["result"]

    assert status["versioninfo"] == {"devpi-server": __version__}
    assert status["role"] == "MASTER"
    assert status["serial"] == status["event-serial"] == serial(answer)
    assert status["uuid"] == answer.headers["X-Devpi-Uuid"]
    assert status["last-commit-timestamp"] == 1_700_000_000.0
    assert (status["metrics"], status["polling_replicas"]) == ([], {})
    assert str(server.datadir).encode() not in answer.body
    assert not {"serverdir", "server-code"} & status.keys()


def test_the_status_names_no_mirror_that_one_may_not_read(server: App, alice: Person) -> None:
    root = root_of(server)
    root.ok("PATCH", "/root/pypi", {"acl_read": "alice"})

    assert server("/+status").json["result"]["mirrors"] == {}
    for person in (alice, root):
        assert person.ok("GET", "/+status").json["result"]["mirrors"].keys() == {"root/pypi"}
