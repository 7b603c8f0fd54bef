"""``--gendeploy``: a folder with everything that a lasting devpi-server takes, and its upgrade.

::

    DIR/bin lib pyvenv.cfg …    a virtual environment with this devpi-server and supervisor
    DIR/bin/devpi-ctl           controls it
    DIR/wheels                  what the environment was installed from
    DIR/etc                     configuration: supervisord, nginx, crontab, systemd
    DIR/data DIR/log            never touched by an upgrade

Crash-safe, in this order.  All of it is made in ``DIR/.gendeploy/new`` first,
where nobody sees it; ``etc`` starts there as a copy of the old one.  Then each
part of the old one moves to ``.gendeploy/old`` and the new one to its place,
``bin`` as the last.  The renaming of ``old`` to ``gone`` is the moment from which
the upgrade counts: whoever comes and finds ``old`` (the next ``--gendeploy`` or
``devpi-ctl``) puts it back.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from devpi_server.deploy import ctl, environment, etc
from devpi_server.deploy.etc import Say
from devpi_server.deploy.plan import Plan
from devpi_server.errors import DevpiError, Refused, StoreError
from devpi_server.settings import OPTIONS, Word


def resolved(target: Path, platform: str = sys.platform) -> Path:
    """The folder that is meant, if a deployment can be in it.

    :raises Refused: it cannot.
    """
    if platform == "win32":
        raise Refused("--gendeploy is for Unix only: on Windows, run devpi-server as a service")
    root = target.resolve()
    try:
        ctl.check_place(root)
    except ctl.Problem as problem:
        raise Refused(str(problem)) from None
    return root


def remembered(root: Path, given: Collection[Word]) -> list[Word]:
    """The options that an earlier ``--gendeploy`` got and this one does not."""
    noted = ctl.read_marker(root).get("options")
    options = {option.name: option for option in OPTIONS} if isinstance(noted, list) else {}
    for word in given:
        options.pop(word.option.name, None)
    pairs = noted if isinstance(noted, list) else []
    return [Word(options[name], text) for name, text in pairs if name in options]


def deploy(root: Path, plan: Plan, say: Say) -> None:
    """Make a deployment, or upgrade the one that is there.

    :raises Refused: something else is there, or it runs.
    :raises StoreError: it did not work out; everything is as it was.
    """
    created = not os.path.lexists(root)  # also where nobody may look
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not (root / ctl.LOCK).exists():  # a folder that is not ours gets nothing of ours
            _check(root)
        with ctl.locked(root):
            ctl.recover(root)
            upgrade = _check(root)
            say(f"{'upgrading' if upgrade else 'creating'} {root}")
            _replace(root, plan, say)
    except (ctl.Problem, DevpiError, OSError) as error:
        if created:
            shutil.rmtree(root, ignore_errors=True)
        if isinstance(error, ctl.Problem):
            raise Refused(str(error)) from error
        if isinstance(error, OSError):
            raise StoreError(f"cannot deploy to {root}: {error.strerror or error}") from error
        raise
    _advise(root, plan, say)


def _check(root: Path) -> bool:
    """Whether there is a deployment to upgrade."""
    marker = ctl.read_marker(root)
    if not marker:
        others = {path.name for path in root.iterdir()} - {ctl.LOCK, ctl.WORK, "data", "log"}
        if others:
            raise Refused(f"{root} is neither empty nor a deployment of --gendeploy")
        return False
    if marker["root"] != str(root):
        raise Refused(f"{root} was moved here: first run '{root}/bin/devpi-ctl' relocate")
    if ctl.is_running(root):
        raise Refused(f"{root} is running: first stop it, with '{root}/bin/devpi-ctl' shutdown")
    return True


def _replace(root: Path, plan: Plan, say: Say) -> None:
    work = root / ctl.WORK
    shutil.rmtree(work, ignore_errors=True)
    try:
        _make(work / "new", root, plan, say)
        _swap(root)
    except BaseException:  # also Ctrl-C: nothing half-done may stay
        ctl.recover(root)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _make(new: Path, root: Path, plan: Plan, say: Say) -> None:
    """Everything of the new version, beside the old one."""
    if (root / "etc").is_dir():
        shutil.copytree(root / "etc", new / "etc", symlinks=True)
    else:
        (new / "etc").mkdir(parents=True)
    etc.write(new / "etc", root, plan, say)
    environment.build(new, root, ["supervisor", plan.settings.bottleserver])
    control = new / "bin" / "devpi-ctl"
    # -I: no variable of a shell may change which Python modules it gets.
    shebang = ctl.SHEBANG.replace('python" ', 'python" -I ')
    control.write_text(shebang + Path(ctl.__file__).read_text("utf-8"), encoding="utf-8")
    control.chmod(0o755)
    for folder in (root / "data", root / "log"):
        folder.mkdir(exist_ok=True)
    ctl.socket_path(root).parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _swap(root: Path) -> None:
    old, new = root / ctl.WORK / "old", root / ctl.WORK / "new"
    old.mkdir()
    for part in ctl.PARTS:
        if os.path.lexists(root / part):
            (root / part).rename(old / part)
        else:
            (old / f"{part}.absent").touch()
        if os.path.lexists(new / part):
            (new / part).rename(root / part)
    old.rename(old.with_name("gone"))


def _advise(root: Path, plan: Plan, say: Say) -> None:
    say(
        f"""\

created and configured {root}

To control it, an alias for your .bashrc, and the first start:

    alias devpi-ctl="'{root}/bin/devpi-ctl'"
    devpi-ctl start all

pip and others are to install from it, in ~/.config/pip/pip.conf:

    [global]
    index-url = {plan.url}ext/pypi/simple/"""
    )
    if (root / "etc" / "crontab").exists():
        say(
            f"""
It starts with the machine once your crontab says so. A copy of yours with one more line:

    crontab '{root}/etc/crontab'"""
        )
    say(
        f"""
Or as a service of systemd, see {root}/etc/devpi.service
Behind nginx, for a whole company: {root}/etc/nginx-devpi.conf
To upgrade: devpi-ctl shutdown, and this command again with a newer devpi-server.

may quick pypi installations be with you :)"""
    )
