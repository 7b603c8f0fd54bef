"""The images of ``docker/``: checked by hadolint and docker-compose, built and run without Docker.

Their steps are carried out in fresh Debians, and what they make is run as docker-compose would:
with a network of its own, on read-only roots, as the user that the image names.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from server import until

from devpi_server.deploy import render
from devpi_server.deploy.plan import Plan
from devpi_server.settings import given, read

from . import images
from .images import Builder, Image

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = {
    "devpi_server": DOCKER / "Dockerfile",
    "devpi_lb": DOCKER / "lb" / "Dockerfile",
    "devpi-client": DOCKER / "client" / "Dockerfile",
}
COMPOSE: Any = yaml.safe_load((DOCKER / "docker-compose.yml").read_text())
_PATIENCE = 60.0
_ENDS_WITHIN = 10.0  # seconds that a process has, to end by itself


# The files


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str, need: Callable[[str], str]) -> None:
    hadolint = need(str(Path(sys.executable).with_name("hadolint")))

    done = subprocess.run([hadolint, DOCKERFILES[name]], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


def test_docker_compose_accepts_its_file(need: Callable[[str], str]) -> None:
    """It checks it against the schema of the specification."""
    done = subprocess.run(
        [need("docker-compose"), "-f", DOCKER / "docker-compose.yml", "config"],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()


def test_the_names_are_those_that_people_know() -> None:
    """Containers, volume and network."""
    assert set(COMPOSE["services"]) == {"devpi_server", "devpi_lb"}
    for name, service in COMPOSE["services"].items():
        assert service["container_name"] == service["image"] == name
        build = service["build"]
        if isinstance(build, str):
            build = {"context": build, "dockerfile": "Dockerfile"}
        path = DOCKER / build["context"] / build["dockerfile"]
        assert path.resolve() == DOCKERFILES[name]
    assert COMPOSE["volumes"] == {"devpi_packages": {"external": True}}
    assert COMPOSE["networks"]["default"]["name"] == "devpi_default"


def test_nginx_is_configured_as_gen_config_does_it() -> None:
    words = ["--host=devpi_server", "--port=4040", "--trusted-proxy=*", "--datadir=/data"]

    assert (DOCKER / "lb" / "nginx-devpi.conf").read_text() == render.nginx(
        Plan(read(words, {}), given(words, {})), Path("/data")
    )


# The images


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh Debian; kept for the next run, where ``DEVPI_TEST_CACHE`` says so."""
    (suite,) = {images.suite(path) for path in DOCKERFILES.values()}
    kept = os.environ.get("DEVPI_TEST_CACHE")
    folder = Path(kept or tmp_path_factory.mktemp("debian")) / f"debian-{suite}"
    if not (folder / "etc/dpkg/dpkg.cfg.d/docker").exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that broke off
        images.debian(suite, folder)
    return folder


@pytest.fixture(scope="module")
def build(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Image]:
    """Builds an image; root and debootstrap are needed for that."""
    if os.getuid() != 0:
        pytest.skip("only root can make roots")

    @cache
    def builder() -> Builder:
        base = request.getfixturevalue("base")
        return Builder(tmp_path_factory.mktemp("roots"), base)

    @cache
    def build(name: str) -> Image:
        path = DOCKERFILES[name]
        return builder().build(path, ROOT if name == "devpi_server" else path.parent)

    return build


@pytest.fixture
def _tools(need: Callable[[str], str]) -> None:
    for tool in ("debootstrap", "unshare", "nsenter", "ip"):
        need(tool)


class Network:
    """A network that only the containers are in; they find each other by name, at one address."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        script = "ip link set lo up && echo up && exec sleep 600"
        holder = self._popen(["unshare", "--net", "sh", "-c", script])
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        self._enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        return self._popen([*self._enter, *command])

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter, *command], capture_output=True, text=True, timeout=_PATIENCE
        )

    def get(self, url: str) -> str:
        """The header and the body, or what is wrong."""
        code = (
            "import sys, urllib.request; answer = urllib.request.urlopen(sys.argv[1], timeout=9); "
            "print(answer.headers, answer.read())"
        )
        done = self.run([sys.executable, "-c", code, url])
        return done.stdout + done.stderr

    def upstream(self) -> str:
        """The URL of an index with projects p000 and so on."""
        process = self.start(
            ["env", f"PYTHONPATH={ROOT / 'tests'}:{ROOT}", sys.executable, "-m", "upstream"]
        )
        assert process.stdout is not None
        return process.stdout.readline().removeprefix("serving at ").strip()

    def _popen(self, command: list[str]) -> subprocess.Popen[str]:
        with (self._folder / "log").open("a") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self._stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()  # nginx then ends its workers
    try:
        process.wait(_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def network(_tools: None, tmp_path: Path) -> Iterator[Network]:
    with ExitStack() as stack:
        yield Network(stack, tmp_path)


def named(image: Image) -> Image:
    """It, with the names of the other containers."""
    (image.root / "etc/hosts").write_text(f"127.0.0.1 localhost {' '.join(COMPOSE['services'])}\n")
    return image


def volumes_of(name: str, folder: Path) -> dict[str, Path]:
    """Where a container has the one volume that there is."""
    entries: list[str] = COMPOSE["services"][name]["volumes"]
    return {entry.removeprefix("devpi_packages:"): folder for entry in entries}


@pytest.fixture
def server(
    build: Callable[[str], Image], network: Network, tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    """A container of devpi_server as docker-compose starts it, healthy."""
    image = named(build("devpi_server"))
    service = COMPOSE["services"]["devpi_server"]
    volume = tmp_path / "devpi_packages"
    shutil.copytree(image.root / "data", volume)  # Docker makes it like the image's folder
    os.chown(volume, int(image.user), int(image.user))
    environment = {**service["environment"], "DEVPISERVER_MIRROR_URL": network.upstream()}
    options = {"volumes": volumes_of("devpi_server", volume), "temporary": service["tmpfs"]}
    process = network.start(images.running(image, **options, **environment))
    check = images.running(image, image.health, **options)
    until(lambda: network.run(check).returncode == 0)
    yield process
    process.send_signal(getattr(signal, image.stopsignal))
    assert process.wait(_PATIENCE) == 0


def test_the_server_is_healthy_and_no_root(
    server: subprocess.Popen[str], build: Callable[[str], Image], network: Network, tmp_path: Path
) -> None:
    """It writes into its volume only, and ends well at its signal."""
    image = build("devpi_server")
    status = Path(f"/proc/{server.pid}/status").read_text()

    assert image.user != "0"
    assert f"Uid:\t{image.user}\t" in status
    assert (image.root / "data").stat().st_uid == int(image.user)
    assert image.ports == (4040,)
    assert image.volumes == ("/data",)
    assert "p000" in network.get("http://127.0.0.1:4040/root/pypi/+simple/")
    assert list((tmp_path / "devpi_packages").iterdir())


def test_a_server_that_does_not_answer_is_not_healthy(
    build: Callable[[str], Image], network: Network
) -> None:
    image = build("devpi_server")

    assert network.run(images.running(image, image.health)).returncode == 1


def test_the_client_reaches_the_server_through_nginx(
    server: subprocess.Popen[str], build: Callable[[str], Image], network: Network, tmp_path: Path
) -> None:
    """All three images at work, as the README says."""
    nginx = named(build("devpi_lb"))
    folders = COMPOSE["services"]["devpi_lb"]["tmpfs"]
    volumes = volumes_of("devpi_lb", tmp_path / "devpi_packages")
    network.start(images.running(nginx, volumes=volumes, temporary=folders))
    until(lambda: "p000" in network.get("http://127.0.0.1:80/root/pypi/+simple/"))
    client = named(build("devpi-client"))

    def devpi(*words: str) -> str:
        temporary = (client.workdir, "/tmp")
        done = network.run(images.running(client, ["devpi", *words], temporary=temporary))
        assert done.returncode == 0, done
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)

    assert client.command == ("bash",)
    assert nginx.ports == (80, 443)
    assert "http://devpi_lb" in devpi("use", "http://devpi_lb")
    until(lambda: is_sent_by_nginx(network.get("http://127.0.0.1:80/root/pypi/+simple/p000/")))


def is_sent_by_nginx(answer: str) -> bool:
    """Whether it is one of those that were made ready."""
    assert "p000-" in answer
    return "X-Devpi-Serial" not in answer
