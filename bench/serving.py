"""Hot answers: pages, 304s and files a second, next to other proxies.

    python -m bench.serving [--peers BIN] [--seconds N] [--connections N]

Needs wrk; BIN is the folder of programs of an environment with proxpi, gunicorn
and pypiron.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from bench.processes import Running, proxpi, pypiron, server, upstream, wrk

_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = {"Accept": _JSON, "Accept-Encoding": "gzip"}
_SMALL, _LARGE = 20, 1500  # files of a page; the large one has 1 MB


def main() -> None:
    """Measure, and print a table of figures and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    chosen = parser.parse_args()
    table: dict[str, dict[str, dict[str, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        small = stack.enter_context(upstream("--projects", "2", "--files", str(_SMALL)))
        large = stack.enter_context(upstream("--projects", "2", "--files", str(_LARGE)))
        for kind, index in (("small", small), ("large", large)):
            for name in ("waitress", "granian"):
                data = folder / f"{name}-{kind}"
                options = ("--bottleserver", name)
                with server(name, index.url, data, *options) as ours:
                    measure(ours, kind, chosen, table)
            if chosen.peers:
                with proxpi(chosen.peers / "python", index.url) as theirs:
                    measure(theirs, kind, chosen, table)
                data = folder / f"pypiron-{kind}"
                with pypiron(chosen.peers / "pypiron", index.url, data) as theirs:
                    measure(theirs, kind, chosen, table)
    report(table)


def measure(
    process: Running,
    kind: str,
    chosen: argparse.Namespace,
    table: dict[str, dict[str, dict[str, float]]],
) -> None:
    """All figures of one server for one size of page."""
    url = f"{process.url}p000/"

    def run(row: str, address: str, headers: dict[str, str]) -> None:
        figures = wrk(address, headers, chosen.connections, chosen.seconds)
        table.setdefault(row, {})[process.name] = figures | {"memory": process.memory()}
        print(f"{row:12} {process.name:10} {figures}", flush=True)

    request = urllib.request.Request(url, headers={"Accept": _JSON})
    with urllib.request.urlopen(request) as answer:
        page = json.load(answer)
    with urllib.request.urlopen(urllib.request.Request(url, headers=_ACCEPT)) as answer:
        etag = answer.headers.get("ETag")
    run(f"{kind} page", url, _ACCEPT)
    if kind == "small":
        if etag:
            run("304", url, _ACCEPT | {"If-None-Match": etag})
        file = next(file for file in page["files"] if file["filename"].endswith(".whl"))
        address = urllib.parse.urljoin(url, file["url"])
        urllib.request.urlopen(address).read()
        run("file", address, {})


def report(table: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print the figures, and the ratio to proxpi where it was measured."""
    print(f"\n{'':12} {'server':10} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'RSS MB':>7}  ratio")
    for row, servers in table.items():
        base = servers.get("proxpi", {}).get("rps")
        for name, figures in servers.items():
            ratio = f"{figures['rps'] / base:6.1f}" if base else ""
            print(
                f"{row:12} {name:10} {figures['rps']:9.0f} {figures['p50']:8.2f} "
                f"{figures['p99']:8.2f} {figures['memory']:7.0f} {ratio}"
            )


if __name__ == "__main__":
    main()
