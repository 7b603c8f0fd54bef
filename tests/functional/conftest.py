"""An upstream, and servers that mirror it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from commanding import Shell
from fakes import FakeClock
from server import App, ServerProcess, mirror_of
from through import ThroughNginx
from upstream import Upstream


@pytest.fixture(scope="session", autouse=True)
def _way(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    need: Callable[[str], str],
) -> Iterator[None]:
    """The way to servers: straight, or ``--through nginx``, of which the tests know nothing."""
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("--through") is not None:
            front = ThroughNginx(need("nginx"), tmp_path_factory.mktemp("nginx"))
            for kind in (App, ServerProcess):
                patch.setattr(kind, "front", front)
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Through nginx, leave out what cannot be said of a server behind another one."""
    if config.getoption("--through") is not None:
        away = [item for item in items if item.get_closest_marker("straight")]
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in away]


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Call commands on one data directory."""
    return Shell(tmp_path / "data", capsys)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app(up: Upstream, tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., App]]:
    """Make an application in process; a second one shares the data directory."""
    made: list[App] = []

    def make(*options: str) -> App:
        made.append(App(*mirror_of(up, tmp_path / "data", *options), clock=clock))
        return made[-1]

    yield make
    for each in made:
        each.services.close()


@pytest.fixture
def spawn(up: Upstream, tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server process; a second one shares the data directory."""
    with ExitStack() as stack:

        def start(*options: str) -> ServerProcess:
            log = tmp_path / "server.log"
            server = ServerProcess(*mirror_of(up, tmp_path / "data", *options), log=log)
            return stack.enter_context(server)

        yield start
