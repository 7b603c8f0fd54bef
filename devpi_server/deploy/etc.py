"""The files in ``etc/`` of a deployment; what a person has edited is never overwritten."""

from __future__ import annotations

import difflib
import json
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from devpi_server import __version__
from devpi_server.deploy import ctl, render
from devpi_server.deploy.plan import Plan
from devpi_server.errors import Refused

Say = Callable[[str], None]

SECRETS = "devpi-server.yml"
_SECTION = "devpi-server"
_CRONTAB = "crontab"
_SERVICE = """\
# Starts this deployment with the system, in place of the line in etc/crontab:
# as root, copy it to /etc/systemd/system/, then: systemctl enable --now devpi
"""


def write(folder: Path, root: Path, plan: Plan, say: Say) -> None:
    """Bring ``folder``, a copy of what is in ``root/etc`` now, up to date.

    :raises Refused: the options cannot be written down.
    """
    before = ctl.read_marker(folder.parent)
    generated = before.get("generated")
    known: dict[str, str] = dict(generated) if isinstance(generated, dict) else {}
    _write_secrets(folder / SECRETS, plan)
    for name, text in _texts(folder, root, plan).items():
        _put(folder / name, text.encode(), known.get(f"etc/{name}"), say)
        known[f"etc/{name}"] = ctl.digest(text.encode())
    _write_crontab(folder / _CRONTAB, root, say)
    marker = {
        "version": __version__,
        "root": str(root),
        "socket": ctl.socket_text(root),
        "options": [[word.option.name, word.text] for word in plan.public],
        "generated": known,
    }
    (folder / ctl.MARKER.name).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def datadir(root: Path, plan: Plan) -> Path:
    """Where the data is: in the deployment, if nobody says otherwise."""
    return plan.settings.datadir if plan.says("datadir") else root / "data"


def _texts(folder: Path, root: Path, plan: Plan) -> Mapping[str, str]:
    words = render.for_supervisor(plan.words)
    if (folder / SECRETS).exists():
        words = f'"--configfile=%(here)s/{SECRETS}" {words}'
    data = '"--datadir=%(here)s/../data"'
    if plan.says("datadir"):
        data = render.for_supervisor([f"--datadir={plan.settings.datadir}"])
    program = render.supervisor_program(
        f'"%(here)s/../bin/python" -I -m devpi_server {data} {words}'.rstrip(),
        plan,
        log="%(here)s/../log/devpi-server.log",
        autostart=False,
    )
    return {
        "supervisord.conf": render.template(
            "supervisord.conf", socket=ctl.socket_text(root), program=program.rstrip()
        ),
        "nginx-devpi.conf": render.nginx(plan, datadir(root, plan)),
        "devpi.service": _service(root, plan),
    }


def _service(root: Path, plan: Plan) -> str:
    control = str(root / "bin" / "devpi-ctl")
    folders = (root, datadir(root, plan), ctl.socket_path(root).parent, plan.socket_folder)
    writable = dict.fromkeys(folder for folder in folders if folder is not None)
    start = [
        "Type=forking",
        f"PIDFile={root / 'supervisord.pid'}",
        f"ExecStart={render.for_systemd([control, 'start', 'all'])}",
        f"ExecStop={render.for_systemd([control, 'shutdown'])}",
    ]
    return render.template(
        "devpi.service",
        comment=_SERVICE,
        user=pwd.getpwuid(os.getuid()).pw_name,
        start="\n".join(start),
        protect_home="read-only",
        writable=f"ReadWritePaths={render.for_systemd([str(path) for path in writable])}",
    )


def _write_secrets(path: Path, plan: Plan) -> None:
    """Put the options with passwords into their file, and leave what else is in it."""
    values: dict[str, list[str]] = {}
    for word in plan.secrets:
        values.setdefault(word.option.name, []).append(word.text)
    if plan.has_configfile and (values or path.exists()):
        raise Refused(
            "an option with a password is kept in a configuration file, and there is one already: "
            "write the option into the file that --configfile names"
        )
    before = _read_secrets(path)
    told = before.get(_SECTION) or {}
    options = {name: value for name, value in told.items() if not plan.says(name)} | {
        name: each[0] if len(each) == 1 else each for name, each in values.items()
    }
    if options != told:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            yaml.safe_dump(before | {_SECTION: options}, file, sort_keys=False)


def _read_secrets(path: Path) -> dict[str, Any]:
    refused = Refused(f"etc/{path.name} cannot be read as a configuration file")
    try:
        found = (yaml.safe_load(path.read_bytes()) if path.exists() else None) or {}
    except yaml.YAMLError:
        raise refused from None  # which may show a password
    if not isinstance(found, dict) or not isinstance(found.get(_SECTION) or {}, dict):
        raise refused
    return found


def _put(path: Path, text: bytes, generated: str | None, say: Say) -> None:
    """Write a file, or, where a person has edited it, the new one beside it.

    :param generated: digest of what was written the last time.
    """
    current = path.read_bytes() if path.exists() else None
    new = path.with_name(path.name + ".new")
    if current is None or current == text or ctl.digest(current) == generated:
        new.unlink(missing_ok=True)
        path.write_bytes(text)
    elif ctl.digest(text) == generated:
        say(f"kept etc/{path.name}, which you have edited")
    else:
        new.write_bytes(text)
        say(f"kept etc/{path.name}, which you have edited; the new one is etc/{new.name}:")
        a, b = (each.decode(errors="replace").splitlines() for each in (current, text))
        for line in difflib.unified_diff(a, b, path.name, new.name, lineterm=""):
            say(f"  {line}")


def _write_crontab(path: Path, root: Path, say: Say) -> None:
    """The user's own crontab, and the line that starts the deployment with the machine."""
    program = shutil.which("crontab")
    if program is None:
        say(f"there is no crontab here, so etc/{path.name} is left out")
        return
    answer = subprocess.run(  # noqa: S603 - fixed words
        [program, "-l"], capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    said = answer.stderr.decode(errors="replace").strip()
    if answer.returncode and "no crontab for" not in said:
        say(f"crontab does not tell what you have, so etc/{path.name} is left out: {said}")
        return
    own = answer.stdout if answer.returncode == 0 else b""
    control = os.fsencode(root / "bin" / "devpi-ctl")
    line = b"@reboot '%s' start all" % control
    pattern = rb"^[^#\n]*\s'?" + re.escape(control) + rb"'?\s"
    if not re.search(pattern, own, re.MULTILINE):
        own = own + (b"" if not own or own.endswith(b"\n") else b"\n") + line + b"\n"
    path.write_bytes(own)
