"""``devpi-server doctor``: what stands between this machine and each upstream."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from devpi_server.cli import fail, logs
from devpi_server.errors import DevpiError
from devpi_server.mirror_settings import MirrorSettings
from devpi_server.settings import Settings, read
from devpi_server.store.incoming import Incoming
from devpi_server.upstream import doctor, feeds
from devpi_server.upstream.addresses import without_userinfo
from devpi_server.upstream.base import UpstreamClient
from devpi_server.upstream.doctor import Finding
from devpi_server.wiring.mirrors import in_wrappers, way_out

_USAGE = """usage: devpi-server doctor [--json] [OPTION...]

Look at the way to the upstream of each mirror, a line a step: DNS, TCP, proxy,
TLS, HTTP, form of the index, feed of changes. The options, variables and files
are those of devpi-server. The exit code is 1 if a step fails.

  --json  write the findings as JSON
"""
_FAULT = 1


@dataclass(frozen=True)
class _Report:
    """The findings about one address of a mirror; its feed is with the first."""

    mirror: str
    url: str
    steps: tuple[Finding, ...]


def main(argv: Sequence[str]) -> int:
    """Look, tell, and return the exit code."""
    if {"-h", "--help"} & set(argv):
        print(_USAGE, end="")
        return 0
    try:
        settings = read([word for word in argv if word != "--json"])
        logs.configure(debug=settings.debug)
        if settings.offline_mode:
            print("devpi-server: offline-mode is on, no upstream is asked", file=sys.stderr)
            return 0
        reports = _reports(settings)
        sound = _write_json(reports) if "--json" in argv else _write_lines(reports)
    except DevpiError as error:
        return fail(error)
    return 0 if sound else _FAULT


def _write_lines(reports: Iterator[_Report]) -> bool:
    """Tell people; return whether all is well."""
    sound = True
    for report in reports:
        print(f"{report.mirror} from {report.url}")
        for finding in report.steps:
            sound = sound and finding.ok
            verdict = "ok" if finding.ok else "FAIL"
            print(f"  {finding.step:5}  {verdict:4}  {finding.text} ({finding.seconds:.2f} s)")
        sys.stdout.flush()
    return sound


def _write_json(reports: Iterator[_Report]) -> bool:
    """Tell programs; return whether all is well."""
    found = list(reports)
    print(json.dumps([asdict(report) for report in found], indent=2))
    return all(finding.ok for report in found for finding in report.steps)


def _reports(settings: Settings) -> Iterator[_Report]:
    for mirror in settings.mirrors:
        client = way_out(settings, mirror, time.time)
        asking = in_wrappers(client, settings, mirror, time.time)
        for url in mirror.urls:
            steps = doctor.examine(
                client,
                asking,
                url,
                timeout=settings.request_timeout,
                forbidden_is_absent=mirror.forbidden_is_absent,
            )
            found = tuple(steps)
            if url == mirror.urls[0] and found[-1].ok:
                found += (_feed(asking, mirror),)
            yield _Report(mirror.name, without_userinfo(url), found)


def _feed(client: UpstreamClient, mirror: MirrorSettings) -> Finding:
    with TemporaryDirectory() as folder:
        choose = partial(
            feeds.choose,
            client,
            mirror.urls[0],
            mirror.changelog_url,
            path=Path(folder) / "serials",
            incoming=Incoming(Path(folder)),
            clock=time.time,
        )
        return doctor.examine_feed(choose, required=mirror.changelog_url is not None)
