"""A resolve of 171 projects by uv: through the server, cold and hot, against upstream itself.

python -m bench.resolving [--latency SECONDS] [--runs N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.processes import clean_environment, server, upstream


def main() -> None:
    """Measure in turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--projects", type=int, default=171)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--client", choices=("uv", "pip"), default="uv")
    chosen = parser.parse_args()
    resolve = {"uv": uv, "pip": pip}[chosen.client]
    times: dict[str, list[float]] = {"direct": [], "cold": [], "hot": []}
    memory = 0.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options = ["--projects", str(chosen.projects), "--files", "20", "--deps"]
        index = stack.enter_context(upstream(*options, "--latency", str(chosen.latency)))
        for number in range(chosen.runs):
            times["direct"].append(timed(resolve, index.url))
            with server("ours", index.url, folder / str(number)) as ours:
                times["cold"].append(timed(resolve, ours.url))
                times["hot"].append(timed(resolve, ours.url))
                memory = max(memory, ours.memory())
    direct = statistics.median(times["direct"])
    for name, values in times.items():
        middle = statistics.median(values)
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:8} {middle:6.2f} s ({spread})  {middle / direct:5.2f} of direct")
    print(f"RSS after it: {memory:.0f} MB")


def timed(resolve: Callable[[str], None], url: str) -> float:
    """Seconds that one resolve takes."""
    started = time.perf_counter()
    resolve(url)
    return time.perf_counter() - started


def uv(url: str) -> None:
    """Resolve with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "-q", "-"]
        command += ["--index-url", url, "--cache-dir", folder]
        subprocess.run(
            command, input=b"app", check=True, capture_output=True, env=clean_environment()
        )


def pip(url: str) -> None:
    """Resolve with an empty cache."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-cache-dir", "-q"]
    command += ["--ignore-installed", "-i", url, "app"]
    subprocess.run(command, check=True, capture_output=True, env=clean_environment())


if __name__ == "__main__":
    main()
