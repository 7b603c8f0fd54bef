"""The real pip, in a process of its own: what requirements come down to on an index.

Its command line and its report are all that is relied on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from devpi_server import names
from devpi_server.errors import BadRequest, StoreError
from devpi_server.names import NormalizedName
from devpi_server.services.prefetch.files import shown
from devpi_server.services.prefetch.targets import Target
from devpi_server.store.incoming import translated

_LARGEST_REPORT = 256 * 1024 * 1024  # bytes
_LARGEST_TALE = 64 * 1024  # bytes of what pip says, from its end
_TIMEOUT = 300  # seconds that pip waits for the next bytes of an answer of ours
_ERROR = re.compile(r"^ *ERROR: (.+)$", re.MULTILINE)
_PLACE = re.compile(r"-r \S+requirements\.txt \(line (\d+)\)")
# What pip says beside the reason.
_NO_REASONS = ("ResolutionImpossible", "Could not find a version", "Exception:", "Failed to build")


@dataclass(frozen=True, slots=True)
class Found:
    """A file that pip would install."""

    project: NormalizedName
    version: str
    filename: str
    requires: tuple[str, ...]  # Requires-Dist


@dataclass(frozen=True, slots=True)
class Order:
    """What pip is to do.

    :param wanted: requirements without markers, or one folder.
    :param options: words for its command line.
    :param alone: without dependencies.
    """

    wanted: Sequence[str]
    constraints: Sequence[str] = ()
    options: Sequence[str] = ()
    target: Target = field(default_factory=Target)
    alone: bool = False


class Pip:
    """Runs pip against one index.

    :param index_url: of the index.
    :param environ: of its process; it has nothing that configures pip.
    :param patience: seconds that it gets for one order.
    :param runs_code: whether it may build what has no wheel; that runs code of whoever has
        published it.
    """

    def __init__(
        self, index_url: str, environ: Mapping[str, str], *, patience: float, runs_code: bool
    ) -> None:
        self._index_url = index_url
        self._environ = environ
        self._patience = patience
        self.runs_code = runs_code

    def __call__(self, order: Order) -> list[Found]:
        """The files that it would install.

        :raises BadRequest: it cannot; with its reason.
        :raises StoreError: it cannot be run.
        """
        with translated("run pip"), TemporaryDirectory(prefix="devpi-prefetch-") as folder:
            place = Path(folder)
            code = self._run(self._command(order, place), place)
            if code:
                raise BadRequest(reason_of(_end_of(place / "said"), order.wanted))
            return list(_report(place / "report"))

    def _command(self, order: Order, place: Path) -> list[str]:
        requirements, constraints = place / "requirements.txt", place / "constraints.txt"
        constraints.write_text("".join(f"{each}\n" for each in order.constraints))
        words = ["--constraint", str(constraints)] if order.constraints else []
        if len(order.wanted) == 1 and order.wanted[0].startswith("/"):
            words.append(order.wanted[0])
        else:
            requirements.write_text("".join(f"{each}\n" for each in order.wanted))
            words += ["--requirement", str(requirements)]
        target = order.target
        if not target.is_here:
            words += ["--python-version", ".".join(map(str, target.python))]
            words += ["--target", str(place / "target"), "--implementation", "cp"]
            words += [f"--platform={each}" for each in target.platforms if target.platform]
        if order.alone or not target.is_here:
            words.append("--no-deps")
        if self.runs_code:
            words += order.options
        else:  # the last word counts
            words += [each for each in order.options if not each.startswith("--no-binary")]
            words.append("--only-binary=:all:")
        common = ("--no-cache-dir", "--no-input", "--disable-pip-version-check")
        return [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
            *(*common, "--progress-bar=off", f"--timeout={_TIMEOUT}"),
            *("--report", str(place / "report"), *words),
        ]

    def _run(self, command: Sequence[str], place: Path) -> int:
        """Run it, and return its exit code; nothing of it is left when this ends."""
        environ = {
            **self._environ,
            # Not on the command line, which every user of this machine can see.
            "PIP_INDEX_URL": self._index_url,
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1"),
            "TMPDIR": str(place),
        }
        with (place / "said").open("wb") as said:
            process = subprocess.Popen(  # noqa: S603 - our own words, and requirements in files
                command,
                env=environ,
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            return process.wait(self._patience)
        except subprocess.TimeoutExpired:
            raise BadRequest(f"pip has not found an answer within {self._patience:g} s") from None
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        process.wait()


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LARGEST_TALE))
        return file.read().decode("utf-8", "replace")


def reason_of(said: str, wanted: Sequence[str]) -> str:
    """Why pip has failed, in one line, of all that it has said.

    :param wanted: the lines that it was given.
    """

    def line(found: re.Match[str]) -> str:
        number = int(found[1])
        return wanted[number - 1] if number <= len(wanted) else "a line"

    errors = [_PLACE.sub(line, error) for error in _ERROR.findall(said)]
    reasons = [error for error in errors if not error.startswith(_NO_REASONS)]
    last = said.strip().rpartition("\n")[2]  # of a traceback, or of a Python without pip
    found = (reasons or [last])[0] or "it has failed and does not say why"
    found = re.sub(r" \(from [^)]*\)(?: \(from [^)]*\))*", "", found)
    return f"pip: {shown(found)}"


def _report(path: Path) -> list[Found]:
    if path.stat().st_size > _LARGEST_REPORT:
        raise BadRequest("pip: its report is too large")
    try:
        document: Any = orjson.loads(path.read_bytes())
        return [
            Found(
                names.project(each["metadata"]["name"]),
                str(each["metadata"]["version"]),
                unquote(urlsplit(each["download_info"]["url"]).path).rpartition("/")[2],
                tuple(each["metadata"].get("requires_dist", ())),
            )
            for each in document["install"]
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise StoreError("pip's report is none that is known here") from error
