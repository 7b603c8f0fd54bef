"""devpi-ctl: control a deployment that ``devpi-server --gendeploy`` has made.

A thin wrapper around supervisorctl: it finds the deployment that it lies in,
starts its supervisord when there is none, and leaves the rest, with the exit
code, to supervisorctl.  ``relocate`` is its own command.

A program of its own, of the standard library only: its text becomes
``bin/devpi-ctl``, which has to work while ``lib/`` is being replaced.  (Its first
lines there are a string, after which Python allows no import of ``__future__``.)
Over 300 lines, because one file is what can be copied.
"""

import configparser
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

CONFIG = Path("etc", "supervisord.conf")
MARKER = Path("etc", "gendeploy.json")  # what was generated, and where
WORK = ".gendeploy"  # where an upgrade is built, and what it replaces is kept meanwhile
# In the order in which an upgrade replaces them: devpi-ctl, which can undo it, is the last.
PARTS = ("wheels", "include", "share", "man", "lib64", "lib", "pyvenv.cfg", "etc", "bin")
NAME = "devpi-server"
SHEBANG = """#!/bin/sh
'''exec' "$(dirname "$(readlink -f "$0")")/python" "$0" "$@"
' '''
"""  # finds the Python beside the script, wherever both are

LOCK = ".lock"
_PROGRAM = f"program:{NAME}"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only compared with
_PATIENCE = 90.0  # seconds; supervisord gives a server 45 to stop
_PATIENCE_WITH_OTHERS = 15.0
_STEP = 0.05
_IN_TURN = (("restart", "all"), ("restart", NAME))
_TAIL_OF_ALL = re.compile(rf"tail(?: -(?P<how>f|\d+))? {NAME}")
_TAIL_BYTES = "1600"  # as supervisorctl
_GROUP_WORDS = ("start", "stop", "restart", "status", "signal", "clear")
# supervisor, systemd, cron and sh each read some of these in their own way.
_NOT_IN_PATHS = re.compile(r"[\"'\\%$;`{}]|\s#|[^\S ]")
# Supervisord binds a name that is up to 8 longer first; Linux takes 107, macOS 103 bytes.
_LONGEST_SOCKET = 94
_SCRIPT_OF_A_VENV = re.compile(
    rb"""\A#!(?:/.*/bin/python[\w.]*|/bin/sh\n'''exec' .*/bin/python.* "\$0" "\$@"\n' ''')\n"""
)


class Problem(Exception):
    """One line for the user."""


def main(root: Path, argv: Sequence[str]) -> int:
    """Do what the words say, and return the exit code; mostly it becomes supervisorctl."""
    try:
        with locked(root):
            recover(root)
            if list(argv) == ["relocate"]:
                relocate(root)
                return 0
            _check(root)
            if list(argv) == ["shutdown"]:
                return _shutdown(root)
            if not is_running(root):
                _start(root)
        if tuple(argv) in _IN_TURN and _count(root) > 1:
            return _restart_in_turn(root)
        if (found := _TAIL_OF_ALL.fullmatch(" ".join(argv))) and _count(root) > 1:
            return _tail(root, found["how"])
    except Problem as problem:
        print(f"devpi-ctl: {problem}", file=sys.stderr)
        return 1
    return os.execv(*_supervisorctl(root, argv))  # noqa: S606 - no shell is wanted


# The folder


def check_place(root: Path) -> None:
    """See whether a deployment can be there.

    :raises Problem: it cannot.
    """
    if _NOT_IN_PATHS.search(str(root)) or not str(root).isprintable():
        raise Problem(f"a deployment cannot be in {root}: use a path without special characters")


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep upgrades and commands apart."""
    try:
        file = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Problem(f"cannot write to {root}: {error.strerror}") from None
    try:
        if not _within(_PATIENCE_WITH_OTHERS, lambda: _is_taken(file)):
            raise Problem(f"{root} is being upgraded or controlled at this moment")
        yield
    finally:
        os.close(file)


def _is_taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def recover(root: Path) -> None:
    """Undo an upgrade that broke off: while ``old`` is there, it is what counts.

    Each step can be seen on disk, so this may break off as well.
    """
    old, undone = root / WORK / "old", root / WORK / "undone"
    if not old.is_dir():
        return
    shutil.rmtree(undone, ignore_errors=True)
    undone.mkdir()
    for part in reversed(PARTS):
        replaced = os.path.lexists(old / part)
        if (replaced or (old / f"{part}.absent").exists()) and os.path.lexists(root / part):
            (root / part).rename(undone / part)
        if replaced:
            (old / part).rename(root / part)
    shutil.rmtree(root / WORK)
    print(f"devpi-ctl: undid an upgrade of {root} that had broken off", file=sys.stderr)


def read_marker(root: Path) -> dict[str, object]:
    """What the last ``--gendeploy`` wrote down; empty: it is no deployment."""
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def _check(root: Path) -> None:
    marker = read_marker(root)
    if not marker or not (root / CONFIG).is_file():
        raise Problem(f"{root} is not a deployment, {CONFIG} or {MARKER} is missing")
    if marker["root"] != str(root):
        raise Problem(
            f"this deployment was made as {marker['root']} and is now {root}: "
            f"first run '{root}/bin/devpi-ctl' relocate"
        )


# The supervisor


def socket_path(root: Path, home: Path | None = None) -> Path:
    """Where the supervisor of a deployment is to listen.

    In the deployment, or else, because a path has few bytes for that, at home.
    """
    path = root / "supervisor.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    path = (home or Path.home()) / ".devpi" / "run" / f"{name}.sock"
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise Problem(f"the path {root} is too long for a socket")
    return path


def is_running(root: Path) -> bool:
    """Whether a supervisor answers for this deployment."""
    try:
        text = _config(root)["unix_http_server"]["file"].strip()
    except (KeyError, configparser.Error, OSError):
        return False
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        try:
            sock.connect(os.path.normpath(text.replace("%(here)s", str(root / "etc"))))
        except TimeoutError:
            return True  # it is there, and busy
        except OSError:
            return False
    return True


def _config(root: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser(
        interpolation=None, inline_comment_prefixes=(";", "#"), strict=False
    )
    with (root / CONFIG).open(encoding="utf-8") as file:
        config.read_file(file)
    return config


def _start(root: Path) -> None:
    socket_path(root).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [str(root / "bin" / "python"), "-I", "-m", "supervisor.supervisord"]
    # What configures other servers, or the shell's Python, is not meant for this one.
    kept = {k: v for k, v in os.environ.items() if not re.match("DEVPISERVER_|PYTHON|VIRTUAL_", k)}
    answer = subprocess.run(  # noqa: S603 - our own words
        [*command, "-c", str(root / CONFIG)],
        cwd=root, env=kept, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if answer.returncode:
        said = (answer.stderr + answer.stdout).strip()
        raise Problem(f"supervisord does not start: {said.splitlines()[0] if said else ''}")
    if not _within(_PATIENCE, lambda: is_running(root)):
        raise Problem(f"supervisord does not answer, see {root / 'log' / 'supervisord.log'}")
    print(f"started supervisord with {root / CONFIG}", file=sys.stderr)


def _shutdown(root: Path) -> int:
    """Stop everything, and return when it has stopped."""
    if not is_running(root):
        print(f"not running: {root}")
        return 0
    path, words = _supervisorctl(root, ["shutdown"])
    code = subprocess.call([path, *words[1:]])  # noqa: S603 - our own words
    if code == 0 and not _within(_PATIENCE, lambda: not is_running(root)):
        raise Problem(f"it does not stop, see {root / 'log' / 'supervisord.log'}")
    return code


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP)
    return True


def _restart_in_turn(root: Path) -> int:
    """Restart each process when the one before answers again, so that one always does."""
    config = _config(root)[_PROGRAM]
    for number in _numbers(root):
        name = f"{NAME}:{number}"
        path, words = _supervisorctl(root, ["restart", name])
        code = subprocess.call([path, *words[1:]])  # noqa: S603 - our own words
        if code:
            return code
        values = {"here": str(root / "etc"), "process_num": number}
        words = shlex.split(config["command"] % values)
        if not _within(_PATIENCE, lambda words=words: _listens(words)):  # type: ignore[misc]
            raise Problem(f"{name} does not answer, so the others were not touched: see {root}/log")
    return 0


def _tail(root: Path, how: str | None) -> int:
    """Show the logs of all processes, which supervisorctl does not; it becomes ``tail``."""
    log = _config(root)[_PROGRAM]["stdout_logfile"]
    values = {"here": str(root / "etc")}
    paths = [os.path.normpath(log % (values | {"process_num": each})) for each in _numbers(root)]
    words = ["-F", "-c", _TAIL_BYTES] if how == "f" else ["-c", how or _TAIL_BYTES]
    try:
        return os.execvp("tail", ["tail", *words, *paths])  # noqa: S606, S607 - whichever there is
    except OSError as error:
        raise Problem(f"tail cannot be run: {error.strerror}") from None


def _numbers(root: Path) -> range:
    """The numbers of the server processes."""
    first = _config(root).getint(_PROGRAM, "numprocs_start", fallback=0)
    return range(first, first + _count(root))


def _listens(words: Sequence[str]) -> bool:
    """Whether a server with these options can be reached."""
    options = dict(word.partition("=")[::2] for word in words)
    path = options.get("--unix-socket")
    host = options.get("--host", "localhost")
    address = (_ANYWHERE.get(host, host), int(options.get("--port", "0")))
    try:
        if path is None:
            with socket.create_connection(address, timeout=10) as sock:
                # A port that nobody listens at may be given to us, to connect to ourselves.
                return bool(sock.getsockname() != sock.getpeername())
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
    except OSError:
        return False
    return True


def _count(root: Path) -> int:
    """How many server processes there are."""
    config = _config(root)
    return config.getint(_PROGRAM, "numprocs", fallback=1) if config.has_section(_PROGRAM) else 1


def _supervisorctl(root: Path, argv: Sequence[str]) -> tuple[str, list[str]]:
    words = list(argv)
    if words and words[0] in _GROUP_WORDS and _count(root) > 1:  # the name means all
        words = [f"{NAME}:*" if word == NAME else word for word in words]
    python = str(root / "bin" / "python")
    command = [python, "-I", "-m", "supervisor.supervisorctl", "-c", str(root / CONFIG)]
    return python, command + words


# Another place


def relocate(root: Path) -> None:
    """Make a deployment that was copied or moved work where it is now.

    Wherever its path is in ``etc``, it is in quotation marks, so any other may take its place.
    """
    check_place(root)
    marker = read_marker(root)
    if not marker:
        raise Problem(f"{root} is not a deployment, {MARKER} is missing")
    old = str(marker["root"])
    if (old == str(root) or (root / "supervisor.sock").exists()) and is_running(root):
        raise Problem("it is running: first stop it, with devpi-ctl shutdown")
    unfasten(root, root)
    changes = [(str(marker["socket"]), socket_text(root)), (old, str(root))]
    kept = marker["generated"] if isinstance(marker["generated"], dict) else {}
    for path in (*(root / "etc").iterdir(), root / "pyvenv.cfg", *(root / "bin").glob("[aA]ctiv*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or not path.is_file() or path == root / MARKER:
            continue
        edited = digest(path.read_bytes()) != kept.get(name)
        replace(path, changes)
        if name in kept and not edited:
            kept[name] = digest(path.read_bytes())
    (root / "supervisor.sock").unlink(missing_ok=True)
    options = marker.get("options")
    moved = [
        [name, _replaced(text, changes)]
        for name, text in (options if isinstance(options, list) else [])
    ]
    marker |= {"root": str(root), "socket": socket_text(root), "generated": kept, "options": moved}
    write(root / MARKER, json.dumps(marker, indent=2).encode() + b"\n")
    print(f"{old} → {root}\nIf its line is in your crontab: crontab '{root}/etc/crontab'")


def unfasten(folder: Path, root: Path) -> None:
    """Let the scripts of a virtual environment, made in a folder, find their Python in ``root``.

    They look beside themselves, but where the text cannot stand below a string.
    """
    fixed = b"#!%s/bin/python\n" % os.fsencode(root)
    for path in (folder / "bin").iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        text = path.read_bytes()
        found = _SCRIPT_OF_A_VENV.match(text)
        if found:
            plain = b"\nfrom __future__" in text and b" " not in fixed and len(fixed) < 128
            write(path, (fixed if plain else SHEBANG.encode()) + text[found.end() :])


def socket_text(root: Path) -> str:
    """The same for the configuration of supervisor, free of the folder's place if possible."""
    path = socket_path(root)
    return "%(here)s/../supervisor.sock" if root in path.parents else str(path)


def write(path: Path, content: bytes) -> None:
    """Replace a file at once, with its mode."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    new = path.with_name(path.name + ".tmp")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    new.replace(path)


def digest(content: bytes) -> str:
    """By which an edited file is known."""
    return hashlib.sha256(content).hexdigest()


def replace(path: Path, changes: Sequence[tuple[str, str]]) -> None:
    """Exchange paths, and none that only begins like them."""
    before = os.fsdecode(path.read_bytes())
    text = _replaced(before, changes)
    if text != before:
        write(path, os.fsencode(text))


def _replaced(text: str, changes: Sequence[tuple[str, str]]) -> str:
    for old, new in changes:
        pattern = re.escape(old) + r"(?![\w.-])"
        text = re.sub(pattern, lambda _, new=new: new, text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent, sys.argv[1:]))
