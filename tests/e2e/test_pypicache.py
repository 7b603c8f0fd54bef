"""The documentation of pypicache from top to bottom, word for word but for the port."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server import Http, ServerProcess
from upstream import Upstream, artefacts

from .clients import Desk, Shell

_ADDRESS = "http://localhost:8080"
_FREEZE = f"""\
pip freeze | curl -X POST -F requirements=@- {_ADDRESS}/requirements.txt | python -m json.tool
"""
_POST = f"""\
curl -X POST -F requirements=@requirements.txt {_ADDRESS}/requirements.txt | python -m json.tool
"""
_UPLOAD = f"""\
curl -X POST -F sdist=@dist/mypackage-1.0.tar.gz  {_ADDRESS}/uploadpackage/
"""
_PUT = f"""\
curl -X PUT --data-binary @dist/mypackage-1.0.tar.gz {_ADDRESS}/packages/source/m/mypackage/mypackage-1.0.tar.gz
"""  # noqa: E501 - as it is written there


@pytest.fixture
def cache(up: Upstream, tmp_path: Path, need: Callable[[str], str]) -> Iterator[ServerProcess]:
    """``python -m devpi_server.pypicache /tmp/mypackages``."""
    need("curl")
    folder = tmp_path / "mypackages"
    with ServerProcess(
        *("--address", "localhost", "--upstream", up.url),
        log=tmp_path / "log",
        program=("-m", "devpi_server.pypicache", str(folder)),
    ) as server:
        yield server


def test_the_documentation(up: Upstream, cache: ServerProcess, desk: Desk, tmp_path: Path) -> None:
    package = up.release("somepackage", "1.0", requires=["needed"])
    for name in ("needed", "another"):
        up.release(name, "1.0")
    shell = Shell(desk, desk.venv())
    mine = artefacts.sdist("mypackage", "1.0")
    (desk.folder / "dist").mkdir()
    (desk.folder / "dist" / mine.filename).write_bytes(mine.data)

    def run(line: str) -> str:
        return shell(line.strip().replace(_ADDRESS, cache.url.rstrip("/")))

    # "Installation should proceed normally, and the package should appear inside".
    run(f"pip install -i {_ADDRESS}/simple somepackage")
    inside = [path for path in (tmp_path / "mypackages").rglob("*") if path.is_file()]
    assert package.data in [path.read_bytes() for path in inside]

    # "You can then install the package from a completely local cache".
    up.clear()
    run("pip uninstall -y somepackage needed")
    run(f"pip install --no-cache-dir -i {_ADDRESS}/local somepackage")
    assert not up.requests

    # "If you want to take a requirements.txt file and cache the packages it specifies".
    told = _json(run(_FREEZE))
    assert told["failed"] == told["unparseable"] == []
    assert set(told["cached"]) >= {package.filename}
    desk.write("requirements.txt", "another==1.0\nnothing==1.0\n???\n")
    told = _json(run(_POST))
    assert told["cached"] == ["another-1.0-py3-none-any.whl"]
    assert (told["failed"], told["unparseable"]) == (["nothing==1.0"], ["???"])

    # "You can also upload packages directly".
    assert '{"uploaded":"ok"}' in run(_UPLOAD).replace(" ", "")
    assert "File already exists" in run(_PUT)
    (tmp_path / "mypackages" / "packages" / mine.filename).unlink()
    assert '{"uploaded":"ok"}' in run(_PUT).replace(" ", "")
    _urls(cache, mine)


def _urls(cache: Http, mine: artefacts.Artefact) -> None:
    """The addresses that it enumerates."""
    for path in ("/", "/simple/mypackage", "/local/mypackage", "/local/MyPackage"):
        answer = cache(path)
        if answer.status == 301:
            answer = cache(f"{path.rpartition('/')[0]}/{answer.headers['Location']}")
        assert answer.status == 200, path
    for path in ("source", "2.7"):
        answer = cache(f"/packages/{path}/m/mypackage/{mine.filename}")
        assert answer.body == mine.data
    egg = "/packages/2.7/m/mypackage/mypackage-1.0-py2.7.egg"
    assert cache(egg).status == 404
    assert cache(egg, method="PUT", body=b"egg").status == 200
    assert cache(egg).body == b"egg"
    assert cache(egg, method="PUT", body=b"other").status == 409


def _json(said: str) -> dict[str, list[str]]:
    """The JSON at the end, behind what curl tells of its progress."""
    found = re.search(r"^\{.*\Z", said, re.DOTALL | re.MULTILINE)
    assert found is not None, said
    document: dict[str, list[str]] = json.loads(found[0])
    return document
