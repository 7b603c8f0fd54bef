"""Many at once, on two server processes: nothing is lost, nothing is torn, nobody gets an error.

``DEVPI_CROWD`` says how many seconds it goes on.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from server import JSON, App, Http, ServerProcess
from uploading import basic, upload
from upstream.artefacts import wheel

SECONDS = float(os.environ.get("DEVPI_CROWD", "5"))
CLIENTS = 20
PROJECTS = 10
INDEX, FIXED = "alice/dev", "alice/prod"
Spawn = Callable[..., ServerProcess]


@pytest.fixture
def servers(tmp_path: Path, spawn: Spawn) -> list[ServerProcess]:
    first = App("--datadir", str(tmp_path / "data"), "--offline-mode")
    first.request("PUT", "/alice", {"password": "pw"})
    first.add_index(INDEX)
    first.add_index(FIXED, volatile=False)
    first.services.close()
    return [spawn("--offline-mode") for _ in range(2)]


def files(server: Http, project: str, index: str = INDEX) -> list[dict[str, Any]]:
    answer = server(f"/{index}/+simple/{project}/", {"Accept": JSON})
    assert answer.status in (200, 404), answer
    found: list[dict[str, Any]] = answer.json["files"] if answer.status == 200 else []
    return found


@pytest.mark.timeout(120 + SECONDS * 4)
def test_a_crowd_that_uploads_and_installs(servers: list[ServerProcess]) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    login = servers[0].request("POST", "/+login", {"user": "alice", "password": "pw"})
    mine = basic("alice", login.json["result"]["password"])
    until = time.monotonic() + SECONDS
    uploaded: dict[str, str] = {}  # name → sha256, of what was acknowledged

    def rounds(number: int) -> Iterator[tuple[Http, random.Random]]:
        chance = random.Random(seed + number)
        yield chance.choice(servers), chance
        while time.monotonic() < until:
            yield chance.choice(servers), chance

    def send(number: int) -> int:
        turn = -1
        for turn, (server, chance) in enumerate(rounds(number)):
            file = wheel(f"p{chance.randrange(PROJECTS)}", f"{number}.{turn}")
            answer = upload(server, INDEX, file, mine)
            assert (answer.status, answer.reason) == (200, "OK")
            uploaded[file.filename] = hashlib.sha256(file.data).hexdigest()
        return turn + 1

    def install(number: int) -> int:
        turn = -1
        for turn, (server, chance) in enumerate(rounds(CLIENTS + number)):  # noqa: B007
            acknowledged = dict(uploaded)
            project = f"p{chance.randrange(PROJECTS)}"
            listed = {file["filename"]: file for file in files(server, project)}
            expected = {name for name in acknowledged if name.startswith(f"{project}-")}
            assert expected <= listed.keys()
            for file in chance.sample(sorted(listed.values(), key=repr), min(3, len(listed))):
                path = f"/{INDEX}/{file['url'].removeprefix('../../')}"
                answer = server(path)
                assert answer.status == 200
                assert hashlib.sha256(answer.body).hexdigest() == file["hashes"]["sha256"]
                assert server(f"{path}.metadata").status == 200
        return turn + 1

    with ThreadPoolExecutor(2 * CLIENTS) as crowd:
        sending = [crowd.submit(send, number) for number in range(CLIENTS)]
        installing = [crowd.submit(install, number) for number in range(CLIENTS)]
        sent = sum(each.result() for each in sending)
        installed = sum(each.result() for each in installing)
    print(f"{sent} uploads, {installed} installations")
    for server in servers:
        found = {
            file["filename"]: file["hashes"]["sha256"]
            for number in range(PROJECTS)
            for file in files(server, f"p{number}")
        }
        assert found == uploaded


def test_one_name_is_won_by_one_of_many(servers: list[ServerProcess]) -> None:
    """On a non-volatile index, others are told that it is there; nobody's bytes are mixed."""
    login = servers[0].request("POST", "/+login", {"user": "alice", "password": "pw"})
    mine = basic("alice", login.json["result"]["password"])
    contenders = [wheel("demo", "1.0", requires=[f"x{n}"]) for n in range(CLIENTS)]

    def send(number: int) -> int:
        return upload(servers[number % 2], FIXED, contenders[number], mine).status

    with ThreadPoolExecutor(CLIENTS) as crowd:
        statuses = sorted(crowd.map(send, range(CLIENTS)))

    assert statuses == [200] + [409] * (CLIENTS - 1)
    (file,) = files(servers[0], "demo", FIXED)
    path = f"/{FIXED}/{file['url'].removeprefix('../../')}"
    assert servers[1](path).body in [each.data for each in contenders]
