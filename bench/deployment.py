"""The large deployment next to a plain nginx that sends static files of the same bytes.

    python -m bench.deployment [--seconds N] [--processes N]

Needs wrk and nginx.  In one run: nginx with files, processes of ours behind the configuration
that ``--gen-config`` writes, and one process alone; a small page, a page of 1 MB, 304s, a file of
10 KB and one of 50 MB, at 16 and 64 connections.  Requests have the headers of pip.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from bench.processes import Running, free_port, running, server, upstream, wrk
from devpi_server.deploy import render
from devpi_server.deploy.plan import Plan
from devpi_server.settings import given, read

_JSON = "application/vnd.pypi.simple.v1+json"
_PIP = {
    "Accept": f"{_JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
    "Accept-Encoding": "gzip, deflate",
}
_FILE = {"Accept-Encoding": "identity"}
_CONNECTIONS = (16, 64)
_INDEX = "/root/pypi/+simple/p000/"
# Row → files of the page, bytes of a file.
_SIZES = {"small": (20, 10_000), "large": (1500, 0), "huge": (1, 50_000_000)}
_READY_WITHIN = 30.0  # seconds
_STATIC = """\
server {{
    listen 127.0.0.1:{port};
    root {folder};
    sendfile on;
    gzip_static on;
    types {{ application/vnd.pypi.simple.v1+json json; }}
    default_type application/octet-stream;
    location / {{ }}
}}
"""


@dataclass(frozen=True)
class Case:
    """One row: the address at each server, and the headers."""

    row: str
    path: str
    headers: dict[str, str]


def main() -> None:
    """Measure, and print a table of figures and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    table: dict[tuple[str, int], dict[str, float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for size, (files, length) in _SIZES.items():
            words = ["--projects", "1", "--files", str(files)]
            words += ["--size", str(length)] if length else []
            with ExitStack() as these:
                index = these.enter_context(upstream(*words))
                measure(size, index.url, folder / size, chosen, these, table)
    titles = ("c", "static", "deployed", "ratio", "single", "ratio")
    print("\n{:12} {:>3} {:>9} {:>9} {:>6} {:>9} {:>6}".format("", *titles))
    for (row, connections), rps in table.items():
        static, deployed, single = (rps[name] for name in ("static", "deployed", "single"))
        print(
            f"{row:12} {connections:3} {static:9.0f} {deployed:9.0f} {deployed / static:6.2f} "
            f"{single:9.0f} {single / static:6.2f}"
        )


def measure(
    size: str,
    index: str,
    folder: Path,
    chosen: argparse.Namespace,
    stack: ExitStack,
    table: dict[tuple[str, int], dict[str, float]],
) -> None:
    """All figures for one project."""
    folder.mkdir()
    single = stack.enter_context(server("single", index, folder / "single"))
    deployed = stack.enter_context(deployment(index, folder, chosen.processes))
    cases = list(cases_of(size, single.url.partition("/root/")[0], deployed.url))
    static = stack.enter_context(static_files(folder / "static", deployed.url, cases))
    bases = {
        "static": static.url.rstrip("/"),
        "deployed": deployed.url.rstrip("/"),
        "single": single.url.partition("/root/")[0],
    }
    for case in cases:
        for connections in _CONNECTIONS:
            for name, base in bases.items():
                url = f"{base}{static_path(case)}" if name == "static" else f"{base}{case.path}"
                headers = dict(case.headers)
                if case.row == "304":
                    headers["If-None-Match"] = ask(url, headers)[1]["ETag"]
                figures = wrk(url, headers, connections, chosen.seconds)
                table.setdefault((case.row, connections), {})[name] = figures["rps"]
                print(f"{case.row:12} {connections:3} {name:9} {figures}", flush=True)


def cases_of(size: str, single: str, deployed: str) -> Iterator[Case]:
    """What is asked for; it is held, and published, afterwards."""
    page = json.loads(ask(f"{single}{_INDEX}", {"Accept": _JSON})[0])
    file = next(each for each in page["files"] if each["filename"].endswith(".whl"))
    path = urllib.parse.urlsplit(urllib.parse.urljoin(f"{single}{_INDEX}", file["url"])).path
    cases = {
        "small": [
            Case("small page", _INDEX, _PIP),
            Case("304", _INDEX, _PIP),
            Case("10 KB file", path, _FILE),
        ],
        "large": [Case("1 MB page", _INDEX, _PIP)],
        "huge": [Case("50 MB file", path, _FILE)],
    }[size]
    for case in cases:
        ask(f"{single}{case.path}", case.headers)
        deadline = time.monotonic() + _READY_WITHIN
        # What nginx sends by itself does not say which serial it is of.
        while "X-Devpi-Serial" in ask(f"{deployed.rstrip('/')}{case.path}", case.headers)[1]:
            if time.monotonic() > deadline:
                raise SystemExit(f"{case.path} is not published")
            time.sleep(0.2)
        yield case


def static_path(case: Case) -> str:
    """Where the plain nginx has the same."""
    return "/page.json" if case.path == _INDEX else "/file"


@contextmanager
def static_files(folder: Path, deployed: str, cases: list[Case]) -> Iterator[Running]:
    """A plain nginx with files of the same bytes."""
    folder.mkdir()
    for case in cases:
        body = ask(f"{deployed.rstrip('/')}{case.path}", case.headers)[0]
        place = folder / static_path(case)[1:]
        if case.path == _INDEX:
            place.with_suffix(".json.gz").write_bytes(body)
            body = ask(f"{deployed.rstrip('/')}{case.path}", {"Accept": _JSON})[0]
        place.write_bytes(body)
    port = free_port()
    site = _STATIC.format(port=port, folder=folder)
    with nginx("static", folder.parent / "plain", site, port) as started:
        yield started


@contextmanager
def deployment(index: str, folder: Path, processes: int) -> Iterator[Running]:
    """Processes of ours on one data directory, behind nginx."""
    data, port = folder / "data", free_port()
    words = [f"--datadir={data}", f"--mirror-url={index}", "--publish", "--trusted-proxy=127.0.0.1"]
    with ExitStack() as stack:
        ports = []
        for _ in range(processes):
            options = ("--publish", "--trusted-proxy=127.0.0.1")
            process = stack.enter_context(server("deployed", index, data, *options))
            ports.append(urllib.parse.urlsplit(process.url).port)
        words += ["--host=127.0.0.1", f"--port={ports[0]}", "--gen-config"]
        site = render.nginx(Plan(read(words, {}), given(words, {})), data)
        first, *more = (f"    server 127.0.0.1:{each} max_fails=0;\n" for each in ports)
        site = site.replace(f"    server 127.0.0.1:{ports[0]};\n", first + "".join(more))
        site = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
        site = site.replace("    listen [::]:80;\n", "")
        yield stack.enter_context(nginx("deployed", folder / "nginx", site, port))


@contextmanager
def nginx(name: str, folder: Path, site: str, port: int) -> Iterator[Running]:
    """nginx with a worker a core."""
    folder.mkdir()
    (folder / "site.conf").write_text(site)
    user = "user root; " if os.getuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"{user}worker_processes auto; pcre_jit on; daemon off;\n"
        f"pid {folder}/pid; error_log {folder}/log;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with running(name, command, f"http://127.0.0.1:{port}/") as process:
        yield process


def ask(url: str, headers: dict[str, str]) -> tuple[bytes, Message]:
    """The body as it is sent, and the header."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read(), answer.headers


if __name__ == "__main__":
    main()
