"""``devpi-server prefetch``: what becomes of each line, and that nothing is missing afterwards."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commanding import Shell, Told
from people import root_of
from server import App, clean_environment, held, mirror_of
from upstream import Status, Upstream, artefacts

from devpi_server.cli import prefetch
from devpi_server.services.downloads import Downloads
from devpi_server.services.prefetch import sources
from devpi_server.services.prefetch.choice import Wishes
from devpi_server.services.prefetch.jobs import Result, Task
from devpi_server.services.prefetch.pip import Pip
from devpi_server.services.prefetch.prefetching import Prefetching
from devpi_server.services.prefetch.targets import Target
from devpi_server.web.loopback import serving

Run = Callable[..., Told]


@pytest.fixture
def run(shell: Shell, up: Upstream) -> Run:
    """Prefetch from the upstream; the JSON is checked to be that."""
    return lambda *words: shell(prefetch.main, "--mirror-url", up.simple_url, *words)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "requirements.txt") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Callable[[], App]]:
    """The server without an upstream."""
    made: list[App] = []

    def serve() -> App:
        words = ("--offline-mode", "--mirror-url", "http://127.0.0.1:9/simple/")
        made.append(App("--datadir", str(tmp_path / "data"), *words))
        return made[-1]

    yield serve
    for each in made:
        each.services.close()


def results(told: Told) -> dict[str, str]:
    """Line → what became of it."""
    return {each["line"]: each["result"] for each in told.json["results"]}


def reason(told: Told, line: str) -> str:
    found: Any = {each["line"]: each["reason"] for each in told.json["results"]}[line]
    return str(found)


def uv_lock(up: Upstream, *projects: str) -> str:
    releases = ["version = 1\n"]
    for name in projects:
        project = up.project(name)
        assert project is not None
        listed = ", ".join(
            f'{{ url = "http://other.example/{file.filename}", hash = "sha256:{file.sha256}" }}'
            for file in project.now.files
        )
        releases.append(
            f'[[package]]\nname = "{name}"\nversion = "1.0"\n'
            f'source = {{ registry = "http://other.example/simple" }}\nwheels = [{listed}]\n'
        )
    return "".join(releases)


# Locks: no pip is needed


def test_a_lock_is_held_whole_and_the_second_time_it_is_there(
    run: Run, up: Upstream, file: Callable[..., Path], offline: Callable[[], App]
) -> None:
    for number in range(20):
        up.release(f"demo{number}", "1.0")
    lock = file(uv_lock(up, *(f"demo{number}" for number in range(20))), "uv.lock")

    first, second = run(lock, "--json"), run(lock, "--json")

    assert set(results(first).values()) == {"cached"}
    assert set(results(second).values()) == {"already there"}
    assert (first.code, second.code) == (0, 0)
    links = offline().links("demo7", "/simple/")
    (link,) = links.values()
    app = offline()
    assert app(link["url"]).status == 200
    assert app(link["url"] + ".metadata").status == 200
    assert up.count("/packages/") == 20  # the metadata is in the wheels


def test_what_is_missing_is_told_and_the_rest_is_held(
    run: Run, up: Upstream, file: Callable[..., Path], tmp_path: Path
) -> None:
    up.release("demo", "1.0")
    up.release("other", "1.0")
    text = uv_lock(up, "demo", "other")
    lock = file(text.replace('"other"', '"gone"').replace("/other-", "/gone-"), "uv.lock")

    told = run(lock)

    assert told.code == 1
    failed, cached, counts = told.out.splitlines()
    assert failed == "failed         gone 1.0: root/pypi has no project gone"
    assert cached.startswith("cached         demo 1.0  (1 file, ")
    assert counts == "1 cached, 1 failed"


def test_a_file_with_another_hash_is_not_the_one_that_is_locked(
    run: Run, up: Upstream, file: Callable[..., Path], tmp_path: Path
) -> None:
    up.release("demo", "1.0")
    text = re.sub(r"sha256:\w{8}", f"sha256:{'f' * 8}", uv_lock(up, "demo"))
    lock = file(text, "uv.lock")

    told = run(lock, "--json")

    assert told.code == 1
    assert reason(told, "demo 1.0") == "no file of demo 1.0 has one of its hashes"


def test_what_was_broken_off_goes_on(run: Run, up: Upstream, file: Callable[..., Path]) -> None:
    for number in range(6):
        up.release(f"demo{number}", "1.0")
    lock = file(uv_lock(up, *(f"demo{number}" for number in range(6))), "uv.lock")
    up.fail(re.compile(r"/packages/.*demo[345]"), Status(503))

    first = run(lock, "--json")
    up.heal()
    second = run(lock, "--json")

    assert sorted(results(first).values()) == ["cached"] * 3 + ["failed"] * 3
    assert (first.code, second.code) == (1, 0)
    assert [results(second)[f"demo{number} 1.0"] for number in range(6)] == [
        *["already there"] * 3,
        *["cached"] * 3,
    ]


def test_of_a_lock_each_target_gets_the_file_that_it_takes(
    run: Run, up: Upstream, file: Callable[..., Path], tmp_path: Path
) -> None:
    data = artefacts.wheel("demo", "1.0").data
    for platform in ("win_amd64", "win32", "manylinux_2_17_x86_64", "macosx_11_0_arm64"):
        name = f"demo-1.0-cp312-cp312-{platform}.whl"
        up.release("demo", "1.0", filename=name, content=data + platform.encode(), metadata=False)
    lock = file(uv_lock(up, "demo"), "uv.lock")

    def files(*words: str) -> set[str]:
        told = run(lock, "--dry-run", "--json", *words)
        return {name.rpartition("-")[2] for each in told.json["results"] for name in each["files"]}

    assert files("--python-version=3.12", "--platform=windows") == {"win_amd64.whl"}
    assert files("--python-version=3.12", "--platform=windows", "--platform=linux") == {
        "win_amd64.whl",
        "manylinux_2_17_x86_64.whl",
    }
    assert len(files("--all-platforms")) == 4
    assert len(files("--all-platforms", "--python-version=3.12")) == 4
    assert files("--all-platforms", "--python-version=3.11") == set()
    assert files("--python-version=3.11", "--platform=windows") == set()
    assert not held(tmp_path / "data")


def test_a_release_for_none_of_the_targets_is_skipped(
    run: Run, up: Upstream, file: Callable[..., Path]
) -> None:
    up.release("demo", "1.0", filename="demo-1.0-cp312-cp312-win32.whl")

    told = run(file(uv_lock(up, "demo"), "uv.lock"), "--json", "--platform=linux")

    assert told.code == 0
    assert results(told) == {"demo 1.0": "skipped"}


def test_an_upstream_that_fails_is_told_for_each_line(
    run: Run, up: Upstream, file: Callable[..., Path]
) -> None:
    up.release("demo", "1.0")
    up.release("other", "1.0")
    up.fail(re.compile(r"/packages/.*other"), Status(503))

    told = run(file(uv_lock(up, "demo", "other"), "uv.lock"), "--json")

    assert told.code == 1
    assert results(told) == {"demo 1.0": "cached", "other 1.0": "failed"}


def _pip(url: str) -> Pip:
    return Pip(url, {}, patience=0, runs_code=False)


def test_when_the_time_is_up_nothing_is_begun(app: Callable[..., App], up: Upstream) -> None:
    up.release("demo", "1.0")
    indexes = app().services.indexes
    downloads = Downloads(indexes)
    task = Task("root/pypi", indexes.find("root/pypi").source, Wishes((Target(),)), until=0.0)
    found: list[Result] = []
    prefetching = Prefetching(downloads, serving(downloads), lambda url, _: _pip(url))

    prefetching(task, [sources.of_sender("", b"demo\nother\n")], found.append)

    assert {each.reason for each in found} == {"there was no time left for it"}
    assert not up.requests


# Requirements: the real pip


def test_requirements_are_resolved_with_all_that_they_need(
    run: Run, up: Upstream, file: Callable[..., Path], offline: Callable[[], App]
) -> None:
    up.release("demo", "1.0", requires=["needed>=1"])
    up.release("demo", "2.0", requires=["nowhere"])
    up.release("needed", "1.5", requires=["deep"])
    up.release("deep", "0.1")
    for version in ("1.0", "2.0"):
        up.release("limited", version)

    told = run(
        file(f"demo<2\nlimited\n-c {file('limited<2', 'limits.txt')}\nabsent\n"
             "x @ http://elsewhere.example/x.whl\nwin; os_name == 'nt'\n"),
        "--json",
    )  # fmt: skip

    assert results(told) == {
        "demo<2": "cached",
        "limited": "cached",
        "needed 1.5": "cached",
        "deep 0.1": "cached",
        "absent": "failed",
        "x @ http://elsewhere.example/x.whl": "failed",
        "win; os_name == 'nt'": "skipped",
    }
    assert told.code == 1
    assert list(offline().links("limited", "/simple/")) == ["limited-1.0-py3-none-any.whl"]


def test_lines_that_contradict_each_other_are_held_each_for_itself(
    run: Run, up: Upstream, file: Callable[..., Path]
) -> None:
    up.release("one", "1.0", requires=["base<2"])
    up.release("two", "1.0", requires=["base>=2"])
    for version in ("1.0", "2.0"):
        up.release("base", version)

    told = run(file("one\ntwo\n"), "--json")

    assert told.code == 1
    assert results(told)["one"] == results(told)["two"] == "cached"
    assert results(told)["base 1.0"] == results(told)["base 2.0"] == "cached"
    assert "conflict" in reason(told, "the lines together")


def test_another_platform_needs_what_its_markers_say(
    run: Run, up: Upstream, file: Callable[..., Path]
) -> None:
    up.release("demo", "1.0", requires=["win; sys_platform == 'win32'", "nix; os_name == 'posix'"])
    up.release("win", "1.0", requires=["old; python_version < '3.10'", "deep[x]"])
    up.release("deep", "1.0", requires=["last; extra == 'x'"])
    for name in ("nix", "last", "old"):
        up.release(name, "1.0")

    told = run(file("demo\n"), "--json", "--platform=windows", "--python-version=3.12")

    assert set(results(told)) == {"demo", "win 1.0", "deep 1.0", "last 1.0"}
    assert told.code == 0


def test_what_has_to_be_built_brings_what_its_build_needs(
    run: Run, up: Upstream, file: Callable[..., Path], tmp_path: Path
) -> None:
    """As far as it says so itself; the stand-in for setuptools cannot build anything."""
    sdist = up.release("demo", "1.0", wheel=False)
    up.release("setuptools", "1.0")
    text = f"demo==1.0 --hash=sha256:{sdist.sha256}\n"

    told = run(file(text), "--json")

    assert results(told) == {"demo==1.0": "cached", "setuptools 1.0 (to build demo)": "cached"}
    assert told.code == 0
    assert len(told.json["warnings"]) == 1
    assert told.json["warnings"][0].startswith("what building demo==1.0 needs may not be complete")


def test_a_dry_run_fetches_nothing_and_tells_what_is_not_there(
    run: Run, up: Upstream, file: Callable[..., Path], tmp_path: Path
) -> None:
    up.release("demo", "1.0")
    lock = file(uv_lock(up, "demo"), "uv.lock")

    assert results(run(lock, "--dry-run", "--json")) == {"demo 1.0": "not there"}
    assert not held(tmp_path / "data")
    run(lock)
    assert results(run(lock, "--dry-run", "--json")) == {"demo 1.0": "already there"}


_BACKEND = """\
import os

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    os.mkdir(os.path.join(folder, "app-1.0.dist-info"))
    with open(os.path.join(folder, "app-1.0.dist-info", "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: app\\nVersion: 1.0\\nProvides-Extra: test\\n")
        file.write("Requires-Dist: demo\\nRequires-Dist: checker; extra == 'test'\\n")
        file.write("Requires-Dist: win; sys_platform == 'win32'\\n")
    return "app-1.0.dist-info"
"""


def test_a_project_is_asked_what_it_requires(run: Run, up: Upstream, tmp_path: Path) -> None:
    for name in ("demo", "checker", "win"):
        up.release(name, "1.0")
    project = tmp_path / "app"
    project.mkdir()
    (project / "backend.py").write_text(_BACKEND)
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )

    here = results(run(project, "--json"))
    there = results(run(f"{project}[test]", "--json", "--platform=windows"))

    assert here == {"demo": "cached", "win; sys_platform == 'win32'": "skipped"}
    assert set(there) == {"demo", "checker; extra == 'test'", "win; sys_platform == 'win32'"}
    assert set(there.values()) == {"already there", "cached"}


# The command


def test_any_index_will_do_also_one_that_is_closed(
    run: Run, up: Upstream, file: Callable[..., Path], app: Callable[..., App]
) -> None:
    server = app()
    server.add_index("root/dev", bases=["root/pypi"], acl_read=["root"])
    up.release("needed", "1.0")
    root_of(server).upload("root/dev", artefacts.wheel("own", "1.0", requires=["needed"]))

    told = run(file("own\n"), "--json", "--index=root/dev")

    assert results(told) == {"own": "already there", "needed 1.0": "cached"}
    assert run(file("own\n"), "--index=root/none").err == (
        "devpi-server prefetch: error: The stage root/none could not be found.\n"
    )


def test_a_running_server_is_no_obstacle(
    run: Run, up: Upstream, file: Callable[..., Path], app: Callable[..., App]
) -> None:
    server = app()
    up.release("demo", "1.0")

    assert run(file(uv_lock(up, "demo"), "uv.lock")).code == 0
    assert server.links("demo")
    assert server(server.address("demo", "demo-1.0-py3-none-any.whl")).origin == "hit"
    assert up.count("/packages/") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: FILE"),
        (["x", "--platform=amiga"], '"amiga" is no platform'),
        (["x", "--python-version=2"], '"2" is no version of Python'),
        (["x", "--jobs=0"], '"0" is not a number from 1 to 64'),
    ],
)
def test_a_wrong_command_line_is_told(run: Run, words: list[str], said: str) -> None:
    told = run(*words)

    assert told.code == 2
    assert said in told.err


@pytest.mark.parametrize("name", ["gone.txt", ".", "uv.lock"])
def test_a_file_that_is_not_there_ends_it(run: Run, tmp_path: Path, name: str) -> None:
    told = run(tmp_path / name)

    assert (told.code, told.err.count("\n")) == (1, 1)
    assert not held(tmp_path / "data")


def test_offline_it_does_nothing(run: Run, file: Callable[..., Path]) -> None:
    told = run(file("demo"), "--offline-mode")

    assert told.code == 1
    assert "offline-mode is on" in told.err


def test_it_is_a_word_of_the_server_and_reads_stdin(up: Upstream, tmp_path: Path) -> None:
    file = up.release("demo", "1.0")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "devpi_server", "prefetch", "-", "--json"),
            *mirror_of(up, tmp_path / "data"),
        ],
        input=f"demo==1.0 --hash=sha256:{file.sha256}",
        env=clean_environment(),
        capture_output=True,
        text=True,
    )

    assert [each["result"] for each in json.loads(done.stdout)["results"]] == ["cached"]
    assert done.returncode == 0
