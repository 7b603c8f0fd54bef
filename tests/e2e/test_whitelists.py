"""What a whitelist lets through is what it lets through at the other devpi-server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from server import Http, ServerProcess, mirror_of
from uploading import basic, upload
from upstream import Upstream
from upstream.artefacts import wheel

from .clients import Clients, Desk
from .realdevpi import RealDevpi

PASSWORD = "pw"
PROJECTS = ("nowhere", "above", "below", "everywhere")  # where it is uploaded to
WHITELISTS = ([], list(PROJECTS), ["*"])
CASES = list(itertools.product(("intersection", "union"), WHITELISTS, WHITELISTS))


def fill(server: Http, up: Upstream) -> None:
    """Two indexes a case, one the base of the other; both have a whitelist."""
    alice = basic("alice", PASSWORD)
    assert server.request("PUT", "/alice", {"password": PASSWORD}).status == 201
    mirror = {"type": "mirror", "mirror_url": up.simple_url}
    mine = basic("root", PASSWORD)
    assert server.request("PUT", "/root/public", mirror, mine).status == 200
    for number, (inheritance, above, below) in enumerate(CASES):
        for name, bases, whitelist, uploads in (
            (f"below{number}", "root/public", below, ("below", "everywhere")),
            (f"above{number}", f"alice/below{number}", above, ("above", "everywhere")),
        ):
            options = {
                "bases": bases,
                "mirror_whitelist": whitelist,
                "mirror_whitelist_inheritance": inheritance,
            }
            assert server.request("PUT", f"/alice/{name}", options, alice).status == 200
            for project in uploads:
                version = "1.0" if name.startswith("below") else "2.0"
                sent = upload(server, f"alice/{name}", wheel(project, version), alice)
                assert sent.status == 200, sent


def shown(server: Http) -> Iterator[tuple[object, ...]]:
    """Case, project, and the versions that its page has."""
    for number, case in enumerate(CASES):
        for project in PROJECTS:
            page = server.page(project, f"/alice/above{number}/+simple/")
            found = sorted({file["filename"].split("-")[1] for file in page["files"]})
            yield (*case, project, found)


def test_whitelists_mean_what_they_mean_to_the_other_server(
    clients: Clients, desk: Desk, tmp_path: Path
) -> None:
    real = RealDevpi(tmp_path / "real", clients, desk)
    real.init(PASSWORD)
    with Upstream() as up:
        for project in PROJECTS:
            up.release(project, "9.0")
        options = mirror_of(up, tmp_path / "ours")
        with real, ServerProcess(*options, log=tmp_path / "ours.log") as ours:
            first = {"password": PASSWORD}
            assert ours.request("PATCH", "/root", first, basic("root", "")).status == 200
            for server in (real, ours):
                fill(server, up)
            theirs, ours_shown = list(shown(real)), list(shown(ours))

    assert ours_shown == theirs
    assert len({tuple(versions) for *_, versions in theirs if isinstance(versions, list)}) > 4
