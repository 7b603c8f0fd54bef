"""``--gen-config``: examples for everything that may run devpi-server, with its options in them."""

from __future__ import annotations

import json
import plistlib
import shlex
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from devpi_server.deploy import render
from devpi_server.deploy.plan import Plan
from devpi_server.errors import StoreError
from devpi_server.settings import variable

_STATE = "/var/lib/devpi-server"  # what systemd makes of StateDirectory=devpi-server
_ONE_ADDRESS = "All processes share the address: nginx-devpi.conf is to name this one only."
_SERVICE = """\
# As root: useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin devpi
# then copy this to /etc/systemd/system/, and: systemctl enable --now devpi
# Passwords: Environment=DEVPISERVER_…= is shown to everybody, so name a file of
# mode 0600 with such lines: EnvironmentFile=/etc/devpi-server.env
"""


def write(plan: Plan, folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Write all files, and say a line for each.

    :return: what was written.
    :raises StoreError: the folder cannot be written to.
    """
    files = _texts(plan)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
            say(f"wrote {folder / name}")
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from error
    for name in dict.fromkeys(word.option.name for word in plan.secrets):
        say(
            f"--{name} has a password and is in none of them: "
            f"let {variable(name)} say it, in the environment of the server"
        )
    return [folder / name for name in files]


def _texts(plan: Plan) -> Mapping[str, str]:
    log = plan.settings.datadir / "logs" / "devpi-server.log"
    launched = plan.settings.datadir / log.name  # launchd makes no folder
    program = render.supervisor_program(
        render.for_supervisor([*_program(), *_serving(plan)]), plan, log="AUTO", autostart=True
    )
    return {
        "supervisor-devpi.conf": program,
        "supervisord.conf": render.template("supervisord-example.conf"),
        "nginx-devpi.conf": render.nginx(plan, plan.settings.datadir),
        "nginx-devpi-caching.conf": render.nginx(plan, plan.settings.datadir, caching=True),
        "crontab": _crontab(plan, log),
        "net.devpi.plist": _plist(plan, launched),
        "devpi.service": _service(plan),
        "gunicorn.conf.py": _gunicorn(plan),
        "uwsgi.ini": _uwsgi(plan),
        "logrotate": render.template("logrotate", logs=f'"{log}" "{launched}"'),
        "prometheus.yml": render.template(
            "prometheus.yml",
            targets="\n".join(f'          - "{each}"' for each in plan.monitored),
        ),
    }


def _program() -> list[str]:
    """The command that runs now."""
    script = Path(sysconfig.get_path("scripts")) / "devpi-server"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "devpi_server"]


def _serving(plan: Plan, datadir: str | None = None) -> list[str]:
    return [f"--datadir={datadir or plan.settings.datadir}", *plan.words]


def _crontab(plan: Plan, log: Path) -> str:
    lines = []
    for port in plan.ports:
        command = [*_program(), *_serving(plan), plan.own(port)]
        into = shlex.quote(str(log)).replace("%", "\\%")
        folder = render.for_cron(["mkdir", "-p", str(log.parent)])
        lines.append(f"@reboot {folder} && exec {render.for_cron(command)} >>{into} 2>&1\n")
    return "".join(lines)


def _plist(plan: Plan, log: Path) -> str:
    """For launchd: into ~/Library/LaunchAgents/."""
    return plistlib.dumps(
        {
            "Label": "net.devpi",
            "ProgramArguments": [*_program(), *_serving(plan), plan.own(plan.ports[0])],
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": 45,
            "StandardOutPath": str(log),
            "StandardErrorPath": str(log),
        },
        sort_keys=False,
    ).decode()


def _gunicorn(plan: Plan) -> str:
    path, mode = plan.settings.unix_socket, plan.settings.unix_socket_perms
    return render.template(
        "gunicorn.conf",
        note=f"# {_ONE_ADDRESS}\n" if len(plan.ports) > 1 else "",
        bind=json.dumps(plan.bound if path is None else f"unix:{path}"),
        socket_mode="" if path is None else f"umask = 0o{0o777 & ~mode:03o}\n",
        processes=plan.settings.processes,
        threads=plan.settings.threads,
        variables="\n".join(
            f"    {json.dumps(f'{name}={text}')}," for name, text in plan.variables.items()
        ),
    )


def _uwsgi(plan: Plan) -> str:
    path, mode = plan.settings.unix_socket, plan.settings.unix_socket_perms
    return render.template(
        "uwsgi.ini",
        note=f"; {_ONE_ADDRESS}\n" if len(plan.ports) > 1 else "",
        bind=render.for_uwsgi(plan.bound if path is None else str(path)),
        socket_mode="" if path is None else f"chmod-socket = {mode:03o}\n",
        processes=plan.settings.processes,
        threads=plan.settings.threads,
        prefix=sys.prefix,
        # Not "env = …": a Python that was there before uWSGI (pyuwsgi) does not see that.
        variables=render.for_uwsgi(json.dumps(plan.variables)),
    )


def _service(plan: Plan) -> str:
    told = plan.says("datadir")
    command = [*_program(), *_serving(plan, None if told else _STATE), plan.own(plan.ports[0])]
    comment = _SERVICE
    if len(plan.ports) > 1:
        comment += f"# One process; for {len(plan.ports)}, run supervisor as the service.\n"
    writable = [] if told else ["StateDirectory=devpi-server"]
    folders = (plan.settings.datadir if told else None, plan.socket_folder)
    if paths := [str(folder) for folder in folders if folder is not None]:
        writable.append(f"ReadWritePaths={render.for_systemd(paths)}")
    return render.template(
        "devpi.service",
        comment=comment,
        user="devpi",
        start=f"Type=simple\nExecStart={render.for_systemd(command)}",
        # Where it is installed, or keeps its data, may be in a home.
        protect_home="read-only",
        writable="\n".join(writable),
    )
