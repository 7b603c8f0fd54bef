"""What the newest clients do with a full index: the PyPI that a test run reaches may be a poor one.

The upstream is on loopback, and its log shows what the clients' questions cost.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone

import pytest
from server import ServerProcess, until
from upstream import Upstream

from .clients import UV, Clients, CommandFailed, Desk, index_of, readme

_WHEEL = re.compile(r"\.whl$")
_METADATA = re.compile(r"\.whl\.metadata$")
_OLD = datetime(2026, 1, 1, tzinfo=timezone.utc)
_NEW = datetime(2026, 3, 1, tzinfo=timezone.utc)
_BETWEEN = "2026-02-01T00:00:00Z"


@dataclass(frozen=True)
class Resolver:
    """A client that is asked what it would install."""

    client: str
    command: str
    desk: Desk
    index: str

    def __call__(self, *requirements: str, before: str | None = None) -> dict[str, str]:
        """Project → version.

        :param before: only files that were uploaded before this time.
        """
        if self.client == "uv":
            self.desk.write("requirements.in", "\n".join(requirements))
            cutoff = ["--exclude-newer", before] if before else []
            words = ["pip", "compile", "--quiet", "--no-annotate", "--no-header", *cutoff]
            said = self.desk(self.command, *words, "-i", self.index, "requirements.in")
            return dict(line.split("==") for line in said.splitlines())
        cutoff = ["--uploaded-prior-to", before] if before else []
        words = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", *cutoff]
        report = json.loads(self.desk(self.command, *words, "-i", self.index, *requirements))
        found = [each["metadata"] for each in report["install"]]
        return {each["name"]: each["version"] for each in found}


@pytest.fixture(params=["pip", "uv"])
def resolve(
    request: pytest.FixtureRequest, clients: Clients, mirror: ServerProcess, desk: Desk
) -> Resolver:
    """The newest pip, and uv."""
    command = UV if request.param == "uv" else str(clients.pip())
    return Resolver(request.param, command, desk, index_of(mirror))


def test_resolving_fetches_no_wheel(resolve: Resolver, up: Upstream) -> None:
    """A resolve costs upstream a page and a metadata file a project, and no wheel."""
    up.release("app", "1.0", requires=["middle>=1"])
    up.release("middle", "1.0", requires=["leaf"])
    up.release("leaf", "1.0")

    assert resolve("app") == {"app": "1.0", "middle": "1.0", "leaf": "1.0"}
    assert up.count(_WHEEL, method=None) == 0
    assert up.count(_METADATA) == 3
    assert up.count(re.compile("^/simple/[a-z]+/$")) == 3


def test_wheels_without_metadata_are_read_in_part(resolve: Resolver, up: Upstream) -> None:
    """Where upstream offers no metadata beside a wheel, the wheel is fetched once for its own."""
    up.release("app", "1.0", requires=["leaf"], metadata=False, size=100_000)
    up.release("leaf", "1.0", metadata=False, size=100_000)

    assert resolve("app") == resolve("app") == {"app": "1.0", "leaf": "1.0"}
    assert up.count(_WHEEL) == 2
    assert up.count(_METADATA) == 0


def test_fast_deps(mirror: ServerProcess, up: Upstream, clients: Clients, desk: Desk) -> None:
    """pip's ``fast-deps`` reads a wheel's metadata by ranges."""
    up.release("app", "1.0", requires=["leaf"], metadata=False, size=100_000)
    up.release("leaf", "1.0")
    desk(
        *(clients.pip(), "install", "-i", index_of(mirror), "--use-feature=fast-deps"),
        *("--dry-run", "app"),
    )

    # The log is written a moment later.
    until(lambda: re.search(r'app-1\.0-py3-none-any\.whl" 206 ', mirror.log.read_text()))


def test_yanked(resolve: Resolver, up: Upstream) -> None:
    """A yanked release is passed over, unless it is pinned."""
    up.release("demo", "1.0")
    up.release("demo", "2.0", yanked="broken")

    assert resolve("demo") == {"demo": "1.0"}
    assert resolve("demo==2.0") == {"demo": "2.0"}


def test_requires_python(resolve: Resolver, up: Upstream) -> None:
    """A release for another Python is passed over."""
    up.release("demo", "1.0", requires_python=">=3")
    up.release("demo", "2.0", requires_python=">=4")

    assert resolve("demo") == {"demo": "1.0"}


def test_upload_time(resolve: Resolver, up: Upstream) -> None:
    """Upload times reach the clients that want nothing newer than a given day."""
    up.release("demo", "1.0", upload_time=_OLD)
    up.release("demo", "2.0", upload_time=_NEW)

    assert resolve("demo") == {"demo": "2.0"}
    assert resolve("demo", before=_BETWEEN) == {"demo": "1.0"}


def test_archived(resolve: Resolver, up: Upstream) -> None:
    """An archived project is installed as ever."""
    up.release("demo", "1.0")
    up.archive("demo")

    assert resolve("demo") == {"demo": "1.0"}


def test_quarantined(resolve: Resolver, up: Upstream) -> None:
    """A quarantined project has nothing to install."""
    up.release("demo", "1.0")
    up.quarantine("demo")

    with pytest.raises(CommandFailed, match=r"(?i)no matching distribution|no versions of demo"):
        resolve("demo")


def test_upstream_goes_away(resolve: Resolver, up: Upstream) -> None:
    """What was resolved once resolves again when upstream is gone; what was not, fails."""
    up.release("app", "1.0", requires=["leaf"])
    up.release("leaf", "1.0")
    first = resolve("app")
    up.stop()

    assert resolve("app") == first
    with pytest.raises(CommandFailed, match="other"):
        resolve("other")


def test_lock_says_what_upstream_says(mirror: ServerProcess, up: Upstream, desk: Desk) -> None:
    """Hash, size and upload time in a lock of uv are upstream's; the address is the server's."""
    wheel = up.release("demo", "1.0", sdist=True, upload_time=_OLD)
    sdist = up.file("demo-1.0.tar.gz")
    desk.write("~/.config/uv/uv.toml", readme("[[index]]", mirror))
    desk.write(
        "pyproject.toml",
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.10"\n'
        'dependencies = ["demo"]\n',
    )
    desk(UV, "lock")

    lock = (desk.folder / "uv.lock").read_text()
    for file in (wheel, sdist):
        line = next(line for line in lock.splitlines() if f"/{file.filename}" in line)
        assert f'url = "{mirror.url}root/pypi/+f/' in line
        assert f'hash = "sha256:{file.sha256}"' in line
        assert f"size = {file.size}," in line
        assert 'upload-time = "2026-01-01T00:00:00Z"' in line
    assert up.count(re.compile(r"\.(whl|tar\.gz)$")) == 0
