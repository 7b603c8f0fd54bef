"""How soon a release is visible, and what following costs upstream.

python -m bench.freshness [--refresh SECS] [--releases N] [--projects N]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.processes import ROOT, Running, server

sys.path.insert(0, str(ROOT / "tests"))  # where the tests' own index lives

from upstream import Upstream

_JSON = "application/vnd.pypi.simple.v1+json"


def main() -> None:
    """Publish at random moments, and watch the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refresh", type=float, default=5)
    parser.add_argument("--releases", type=int, default=8)
    parser.add_argument("--projects", type=int, default=50)
    chosen = parser.parse_args()
    delays = []
    with Upstream() as up, tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.projects):
            up.release(f"p{number:03}", "1.0")
        options = ("--refresh", str(chosen.refresh))
        with server("ours", up.simple_url, Path(folder), *options) as ours:
            for number in range(chosen.projects):
                versions(ours, number)
            up.clear()
            for release in range(chosen.releases):
                time.sleep(random.uniform(0, chosen.refresh))
                delays.append(delay(up, ours, release % chosen.projects, f"2.{release}"))
            pages = up.count("/simple/")
    print(f"visible after {statistics.median(delays):.2f} s (at most {max(delays):.2f} s)")
    print(f"refresh interval {chosen.refresh:g} s")
    print(f"{pages} page requests upstream for {chosen.releases} releases, {chosen.projects} held")


def delay(up: Upstream, ours: Running, number: int, version: str) -> float:
    """Publish a version; seconds until the page shows it."""
    up.release(f"p{number:03}", version)
    started = time.monotonic()
    while version not in versions(ours, number):
        time.sleep(0.02)
    return time.monotonic() - started


def versions(ours: Running, number: int) -> list[str]:
    """The versions that our page shows."""
    request = urllib.request.Request(f"{ours.url}p{number:03}/", headers={"Accept": _JSON})
    with urllib.request.urlopen(request) as answer:
        found: list[str] = json.load(answer)["versions"]
        return found


if __name__ == "__main__":
    main()
