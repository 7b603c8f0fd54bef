"""One server in front of the real PyPI for all tests, and one more that has no way out."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from server import ServerProcess, mirror_of
from uploading import basic
from upstream import Upstream
from webserver import Nginx

from devpi_server.deploy import environment

from .clients import NOWHERE, Clients, Desk, NewDesk
from .company import PASSWORD, Company

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datadir")


@pytest.fixture(scope="session")
def live(datadir: Path) -> Iterator[ServerProcess]:
    """A server as it comes, in front of the index that pip installs from."""
    with ServerProcess(
        "--host", "localhost", "--datadir", str(datadir), log=datadir / "live.log"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def offline(datadir: Path, live: ServerProcess) -> Iterator[ServerProcess]:
    """A server on the same data whose upstream cannot be reached, and is not to be."""
    with ServerProcess(
        *("--host", "localhost", "--datadir", str(datadir)),
        *("--offline-mode", "--mirror-url", f"{NOWHERE}simple/"),
        log=datadir / "offline.log",
    ) as server:
        yield server


@pytest.fixture
def both(live: ServerProcess, offline: ServerProcess) -> tuple[ServerProcess, ServerProcess]:
    """First the server with PyPI behind it, then the one with nothing behind it."""
    return live, offline


@pytest.fixture
def up() -> Iterator[Upstream]:
    """An upstream that has all that a full index has; its log says what it was asked."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def mirror(up: Upstream, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with an empty cache in front of ``up``."""
    with ServerProcess(
        *("--host", "localhost", *mirror_of(up, tmp_path / "mirror")), log=tmp_path / "mirror.log"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A server with private indexes, before an upstream that has ``demo``; root has a password."""
    folder = tmp_path_factory.mktemp("company")
    with (
        Upstream() as up,
        ServerProcess(
            *("--host", "localhost", *mirror_of(up, folder / "data")), log=folder / "log"
        ) as server,
    ):
        set_password = {"password": PASSWORD}
        assert server.request("PATCH", "/root", set_password, basic("root", "")).status == 200
        up.release("demo", "1.0")
        yield Company(server, up)


@pytest.fixture
def new_desk(tmp_path: Path) -> NewDesk:
    """Makes desks that know nothing of each other."""
    numbers = itertools.count(1)
    return lambda: Desk(tmp_path / f"desk{next(numbers)}")


@pytest.fixture
def desk(new_desk: NewDesk) -> Desk:
    return new_desk()


@pytest.fixture(scope="session")
def clients(live: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """Installs clients, into ``$DEVPI_TEST_CACHE`` if that is set: the next run has them then."""
    folder = Path(os.environ.get("DEVPI_TEST_CACHE") or _of_all(tmp_path_factory) / "clients")
    folder.mkdir(exist_ok=True)
    return Clients(folder, Desk(tmp_path_factory.mktemp("desk")), live)


def _of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of all processes that share the tests of this run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture
def python(need: Callable[[str], str]) -> Callable[[str], str]:
    """``python("3.8")``: the path of that Python, from pyenv or else from the search path."""

    def path_of(version: str) -> str:
        pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
        found = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        return need(str(found[-1]) if found else f"python{version}")

    return path_of


@pytest.fixture
def nginx(need: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Serves a generated configuration with the real nginx, at the port that is returned."""
    program = need("nginx")
    with ExitStack() as stack:
        folders = (tmp_path / f"nginx{number}" for number in itertools.count(1))

        def serve(
            site: str, certificate: tuple[Path, Path] | None = None, user: str = "root"
        ) -> int:
            made = Nginx(program, next(folders), site, certificate, user)
            return stack.enter_context(made).port

        yield serve


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """devpi-server in a fresh environment, installed from wheels."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    environment.build(folder, folder, ["supervisor"])
    return folder / "bin" / "devpi-server"
