"""pip and uv install through every shape of index that is out there.

Each shape is a page under ``tests/data/odd``, served by a scriptable upstream
under the paths and with the header fields that it has there; one server
process mirrors all of them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pytest
from fakes import FakeClock
from server import JSON, App, ServerProcess, clean_environment, held, mirror_of
from upstream import Mode, Redirect, Status, Substitute, Upstream
from upstream.artefacts import Artefact, wheel
from uv import find_uv_bin

DATA = Path(__file__).parent.parent / "data" / "odd"
PLAIN = wheel("demo", "1.0", requires_python=">=3.8")
LOCAL = (wheel("demo", "1.0+cu130"), wheel("demo", "1.1+cu130"))
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Shape:
    """One index: what it answers where, and what its mirror has to be told."""

    page: str  # in tests/data/odd
    base: str  # the mirror's address, as a path of the upstream
    at: str  # the path of the page
    file: str  # the path of the wheel, as it is requested
    content_type: str = HTML
    charset: str = "utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)  # of the file
    moved: Mapping[str, str] = field(default_factory=dict)  # path → where its 301 or 302 leads
    elsewhere: bool = False  # the file is on another host
    unknown: int = 404  # the answer for everything else
    words: tuple[str, ...] = ()
    wheels: tuple[Artefact, ...] = (PLAIN,)
    hashed: bool = True

    @property
    def name(self) -> str:
        return f"odd/{Path(self.page).stem}"

    @property
    def index(self) -> str:
        return f"/{self.name}/+simple/"


_ARTIFACTORY = "/artifactory/api/pypi/pypi/packages/packages/4e/8b/6d2a3f/demo-1.0-py3-none-any.whl"

SHAPES = [
    Shape("find_links.html", "/flat/wheels.html", "/flat/wheels.html",
          "/flat/cpu/demo-1.0-py3-none-any.whl", words=("mirror_flat",), hashed=False),
    Shape("apache.html", "/apache/", "/apache/demo/", "/apache/demo/demo-1.0-py3-none-any.whl",
          content_type="text/html;charset=UTF-8", hashed=False),
    Shape("nginx.html", "/nginx/", "/nginx/demo/", "/nginx/demo/demo-1.0-py3-none-any.whl",
          content_type="text/html", hashed=False),
    Shape("s3_site.html", "/s3-site/", "/s3-site/demo/",
          "/s3-site/demo/demo-1.0-py3-none-any.whl",
          content_type="binary/octet-stream", headers={"Content-Type": "binary/octet-stream"},
          hashed=False),
    Shape("s3_bucket.xml", "/bucket/", "/bucket/", "/bucket/whl/demo-1.0-py3-none-any.whl",
          content_type="application/xml", headers={"Content-Type": "binary/octet-stream"},
          unknown=403, words=("mirror_flat", "mirror_forbidden_is_absent"), hashed=False),
    Shape("pytorch.html", "/whl/cu130/", "/whl/cu130/demo/",
          "/whl/cu130/demo-1.{n}%2Bcu130-py3-none-any.whl", content_type="text/html",
          headers={"Cache-Control": "no-cache,no-store,must-revalidate"}, unknown=403,
          words=("mirror_forbidden_is_absent", "mirror_no_project_list"), wheels=LOCAL),
    Shape("nvidia.html", "/nvidia/", "/nvidia/demo/", "/nvidia/demo/demo-1.0-py3-none-any.whl",
          headers={"Cache-Control": "no-store"}),
    Shape("nexus.html", "/repository/pypi-all/simple/", "/repository/pypi-proxy/simple/demo/",
          "/repository/pypi-proxy/packages/demo/1.0/demo-1.0-py3-none-any.whl",
          moved={"/repository/pypi-all/simple/demo/": "/repository/pypi-proxy/simple/demo/"}),
    Shape("artifactory.html", "/artifactory/api/pypi/pypi/simple/",
          "/artifactory/api/pypi/pypi/simple/demo/", "/store/4e8b6d2a3f?X-Signature=x%2Fy",
          moved={_ARTIFACTORY: "{other}/store/4e8b6d2a3f?X-Signature=x%2Fy"}, elsewhere=True),
    Shape("gitlab.html", "/api/v4/projects/7/packages/pypi/simple/",
          "/api/v4/projects/7/packages/pypi/simple/demo/",
          "/api/v4/projects/7/packages/pypi/files/{sha256}/demo-1.0-py3-none-any.whl"),
    Shape("devpi.html", "/root/dev/+simple/", "/root/dev/+simple/demo/",
          "/root/dev/+f/4e8/b6d2a3f1c0d9e/demo-1.0-py3-none-any.whl"),
    Shape("base_href.html", "/based/", "/based/demo/",
          "/mirror/packages/demo-1.0-py3-none-any.whl", elsewhere=True),
    Shape("latin1.html", "/latin1/", "/latin1/demo/",
          "/latin1/r%E4der/demo-1.0-py3-none-any.whl",
          content_type="text/html; charset=ISO-8859-1", charset="latin-1", hashed=False),
    Shape("utf16.html", "/utf16/", "/utf16/demo/", "/utf16/files/demo-1.0-py3-none-any.whl",
          content_type="text/html", charset="utf-16", hashed=False),
]  # fmt: skip
Make = Callable[..., App]
BY_NAME = {Path(shape.page).stem: shape for shape in SHAPES}


@dataclass(frozen=True)
class World:
    """The upstream with all shapes, the other host, and the server that mirrors them."""

    up: Upstream
    other: Upstream
    server: ServerProcess

    def index_url(self, shape: Shape) -> str:
        return self.server.url.rstrip("/") + shape.index


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("odd")
    with Upstream() as up, Upstream() as other:
        up.xmlrpc = other.xmlrpc = False
        lines = ["mirrors:\n"]
        for shape in SHAPES:
            serve(shape, up, other)
            lines += [f"  {shape.name}:\n", f"    mirror_url: {up.url.rstrip('/')}{shape.base}\n"]
            lines += [f"    {word}: yes\n" for word in shape.words]
        config = folder / "devpi.yml"
        config.write_text("".join(lines))
        options = mirror_of(up, folder / "data", "--configfile", str(config))
        with ServerProcess(*options, log=folder / "log") as server:
            yield World(up, other, server)


def serve(shape: Shape, up: Upstream, other: Upstream) -> None:
    """Let the upstream answer as the index does."""
    data = shape.wheels[-1].data
    hosts = {"up": up.url.rstrip("/"), "other": other.url.rstrip("/")}
    page = Template((DATA / shape.page).read_text("utf-8")).substitute(
        hosts, sha256=sha256_of(data), size=len(data)
    )
    up.fail(
        exactly(shape.at),
        Status(200, {"Content-Type": shape.content_type}, page.encode(shape.charset)),
    )
    for path, target in shape.moved.items():
        code = 302 if "{other}" in target else 301
        up.fail(exactly(path), Redirect(target.format(**hosts), code))
    for number, artefact in enumerate(shape.wheels):
        headers = {"Content-Type": "application/octet-stream", **shape.headers}
        at = exactly(file_path(shape, number))
        is_last = number == len(shape.wheels) - 1
        host = other if shape.elsewhere or (number > 0 and is_last) else up
        host.fail(at, Status(200, headers, artefact.data))
    if shape.unknown != 404:
        up.fail(shape.base, Status(shape.unknown))


def file_path(shape: Shape, number: int) -> str:
    return shape.file.format(n=number, sha256=sha256_of(shape.wheels[-1].data))


def exactly(path: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(path)}$")


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pip_install(index_url: str, target: Path, *requirements: str) -> None:
    run(
        sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install",
        "--no-cache-dir", "--no-deps", "--index-url", index_url, "--target", str(target),
        *requirements,
    )  # fmt: skip


def uv_install(index_url: str, target: Path, *requirements: str) -> None:
    run(
        find_uv_bin(), "pip", "install", "--no-config", "--no-cache", "--no-deps",
        "--python", sys.executable, "--default-index", index_url, "--target", str(target),
        *requirements,
    )  # fmt: skip


def run(*command: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("name", BY_NAME)
def test_pip_and_uv_install_what_upstream_is_asked_for_once(
    name: str, world: World, tmp_path: Path
) -> None:
    """Whatever an index says of caching, and wherever its links lead."""
    shape = BY_NAME[name]

    for number, artefact in enumerate(shape.wheels):
        version = artefact.filename.split("-")[1]
        for install in (pip_install, uv_install):
            target = tmp_path / f"{install.__name__}-{number}"
            install(world.index_url(shape), target, f"demo=={version}")
            assert (target / "demo.py").read_text() == f'__version__ = "{version}"\n'
        path = exactly(file_path(shape, number))
        assert world.up.count(path) + world.other.count(path) == 1


@pytest.mark.parametrize("name", BY_NAME)
def test_a_project_that_upstream_does_not_have_is_a_404(name: str, world: World) -> None:
    """So an installer goes on to its next index; a 403 counts where the mirror is told so."""
    shape = BY_NAME[name]

    assert world.server(f"{shape.index}no-such-project/").status == 404


@pytest.mark.parametrize("name", BY_NAME)
def test_a_page_states_the_digests_that_upstream_states(name: str, world: World) -> None:
    """Where upstream states none, there is none, or that of the file that came."""
    shape = BY_NAME[name]
    right = {"sha256": sha256_of(shape.wheels[-1].data)}

    hashes = world.server.page("demo", shape.index)["files"][-1]["hashes"]

    assert hashes == right or (not shape.hashed and hashes == {})


def test_the_projects_of_a_flat_page_are_listed(world: World) -> None:
    """Although upstream has files only."""
    for name, projects in {
        "find_links": ["demo", "demo-tools", "other"],
        "s3_bucket": ["demo", "other"],
    }.items():
        answer = world.server(BY_NAME[name].index, {"Accept": JSON})

        assert [project["name"] for project in answer.json["projects"]] == projects


def test_a_bucket_states_size_and_time_of_its_files(world: World) -> None:
    """Cooldown rules of installers need the time."""
    file = world.server.links("demo", BY_NAME["s3_bucket"].index)[PLAIN.filename]

    assert file["size"] == len(PLAIN.data)
    assert file["upload-time"] == "2026-01-05T10:00:00Z"


def test_the_projects_of_a_mirror_without_a_list_are_those_that_are_held(world: World) -> None:
    """Upstream is not asked for a list that it does not have."""
    shape = BY_NAME["pytorch"]
    world.server.page("demo", shape.index)

    answer = world.server(shape.index, {"Accept": JSON})

    assert [project["name"] for project in answer.json["projects"]] == ["demo"]
    assert world.up.count(exactly(shape.base)) == 0


# Files that upstream itself is to deliver


ELSEWHERE = "mirrors:\n  root/pypi:\n    mirror_use_external_urls: yes\n"


def test_a_mirror_of_external_urls_sends_clients_to_upstream(
    up: Upstream, app: Make, tmp_path: Path
) -> None:
    """Nothing is fetched, nothing is kept; with a 302, as clients remember a 301 for ever."""
    config = tmp_path / "devpi.yml"
    config.write_text(ELSEWHERE)
    file = up.release("demo", "1.0")
    server = app("--configfile", str(config))
    address = server.address("demo", file.filename)

    url = up.url.rstrip("/") + file.path
    for method in ("GET", "HEAD"):
        answers = [server(wanted, method=method) for wanted in (address, f"{address}.metadata")]
        assert [answer.status for answer in answers] == [302, 302]
        assert [answer.headers["Location"] for answer in answers] == [url, f"{url}.metadata"]
    assert up.count(file.path, None) == 0
    assert held(server.datadir) == {}


def test_a_mirror_of_external_urls_sends_nobody_away_while_offline(
    up: Upstream, app: Make, tmp_path: Path
) -> None:
    """What is held is served, and the rest is not there."""
    config = tmp_path / "devpi.yml"
    config.write_text(ELSEWHERE)
    files = [up.release("demo", version) for version in ("1.0", "2.0")]
    paths = [app().address("demo", file.filename) for file in files]
    app()(paths[0])

    server = app("--configfile", str(config), "--offline-mode")

    assert [server(path).status for path in paths] == [200, 404]


# Files without a digest: the first download decides


TRUST = "mirrors:\n  root/pypi:\n    mirror_trust_changed_files: yes\n"
OTHER = {"of the same length": Substitute(), "longer": Substitute(PLAIN.data + b"x")}


def lose_files(server: App) -> None:
    """Behind the server's back, and from where nginx finds them."""
    for folder in ("files", "published"):
        shutil.rmtree(server.datadir / folder, ignore_errors=True)


@pytest.mark.parametrize("other", OTHER.values(), ids=list(OTHER))
def test_other_bytes_under_a_name_without_a_digest_are_refused_loudly(
    other: Substitute, up: Upstream, app: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The digest of the first download is remembered, also when the file itself is lost."""
    file = up.release("demo", "1.0", hashed=False)
    server = app()
    before = server.address("demo", file.filename)
    assert server(before).body == file.data
    lose_files(server)
    up.fail(file.path, other)

    for address in (before, server.address("demo", file.filename)):
        answer = server(address)
        assert answer.status == 502
        assert file.filename in answer.reason
    loud = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert loud
    assert all(file.filename in message for message in loud)

    up.heal()
    assert server(before).body == file.data


def test_a_name_without_a_digest_stands_for_its_first_bytes_at_any_address(
    up: Upstream, app: Make, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where upstream's page leads to another file of that name later."""
    up.mode = Mode.POOR
    file = up.release("demo", "1.0", hashed=False)
    server = app()
    server(server.address("demo", file.filename))
    up.release("demo", "1.0", content=b"another build", hashed=False)
    clock.advance(3600)

    assert server(server.address("demo", file.filename)).body == file.data
    lose_files(server)
    assert server(server.address("demo", file.filename)).status == 502
    assert any(record.levelname == "ERROR" for record in caplog.records)


def test_a_first_download_gives_the_page_its_digest(up: Upstream, app: Make) -> None:
    """From then on, installers check what they get."""
    file = up.release("demo", "1.0", hashed=False)
    server = app()
    server(server.address("demo", file.filename))

    assert server.links("demo")[file.filename]["hashes"] == {"sha256": file.sha256}


def test_a_mirror_that_trusts_changed_files_takes_other_bytes(
    up: Upstream, app: Make, tmp_path: Path
) -> None:
    """For an upstream that overwrites its nightly builds: no digest is ever stated for them."""
    config = tmp_path / "devpi.yml"
    config.write_text(TRUST)
    up.mode = Mode.POOR  # in JSON, the size would tell
    file = up.release("demo", "1.0", hashed=False)
    server = app("--configfile", str(config))
    address = server.address("demo", file.filename)
    server(address)
    lose_files(server)
    up.fail(file.path, Substitute(b"another build"))

    assert server(address).body == b"another build"
    assert server.links("demo")[file.filename]["hashes"] == {}
    assert server.address("demo", file.filename) == address


def test_a_mirror_that_trusts_changed_files_still_checks_the_digests_of_the_index(
    up: Upstream, app: Make, tmp_path: Path
) -> None:
    """It is about files that upstream states no digest for."""
    config = tmp_path / "devpi.yml"
    config.write_text(TRUST)
    file = up.release("demo", "1.0")
    up.fail(file.path, Substitute())
    server = app("--configfile", str(config))

    assert server(server.address("demo", file.filename)).status == 502
