"""The layers of ``devpi_server/__init__.py``, and who alone may use what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "devpi_server"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lowest first; what shares a line does not import each other.
LAYERS = [
    {"__version__"},
    {"errors"},
    {"names"},
    {"records", "option_values"},
    {"mirror_settings", "pypiserver_options"},
    {"observe", "settings", "concurrency", "simple"},
    {"pypiserver_settings"},
    {"store"},
    {"upstream"},
    {"sources"},
    {"services"},
    {"workers", "web", "deploy"},
    {"wiring"},
    {"pypiserver_wiring"},
    {"cli"},
    {"main", "wsgi", "pypicache", "pypiserver"},
    {"__main__", "__init__"},
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

REQUESTS = tuple(f"upstream/{name}.py" for name in ("bodies", "client", "connections"))
ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "argon2": "services/passwords.py",
    "bcrypt": "services/htpasswd.py",
    "bottle": "web/",
    "itsdangerous": "services/logins.py",
    "prometheus_client": "services/metrics.py",
    "passlib": "services/htpasswd.py",
    "requests": REQUESTS,
    "urllib3": REQUESTS,
    "sqlalchemy": "store/",
    "sqlite3": "store/",
    "watchdog": "workers/watch.py",
}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv"}
WALL_CLOCK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that are imported; ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(tree: ast.AST) -> Iterator[str]:
    """Of the imports, the layers of this package."""
    for name in imports(tree):
        if name.startswith("devpi_server."):
            yield name.split(".")[1]


def dotted(node: ast.AST) -> str:
    """The last two words of ``a.b.c``."""
    if not isinstance(node, ast.Attribute):
        return ""
    owner = node.value
    before = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
    return f"{before}.{node.attr}"


@pytest.fixture(params=MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.fixture
def tree(path: Path) -> ast.AST:
    return ast.parse(path.read_bytes(), path)


def test_a_module_imports_from_lower_layers_only(place: str, tree: ast.AST) -> None:
    layer = place.split("/", maxsplit=1)[0].removesuffix(".py")

    for other in own(tree):
        assert other == layer or LEVELS[other] < LEVELS[layer], f"{layer} imports {other}"


def test_a_function_imports_nothing_of_ours(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert list(own(node)) == [], f"in {node.name}, line {node.lineno}"


def test_each_border_has_one_keeper(place: str, tree: ast.AST) -> None:
    for name in imports(tree):
        keeper = ONLY_IN.get(name.split(".")[0], "")
        assert place.startswith(keeper), f"{name} is for {keeper}"


def test_the_environment_is_read_in_settings_only(place: str, tree: ast.AST) -> None:
    used = {dotted(node) for node in ast.walk(tree)} | set(imports(tree))

    # devpi-ctl is a program of its own.
    assert place in {"settings.py", "deploy/ctl.py"} or not used & ENVIRONMENT


def test_the_clock_is_injected(place: str, tree: ast.AST) -> None:
    called = {dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

    assert place.startswith("wiring/") or not called & WALL_CLOCK
    assert not {name for name in imports(tree) if name in WALL_CLOCK}
