"""One table of options: command line, environment, file and help are made from it.

A flag goes before ``DEVPISERVER_<NAME>``, that before the file, that before
the default.  All of them bring text, and one parser an option makes a value of
it (``option_values``): ``yes`` means the same wherever it stands.  Every value
is checked, also one that another source overrides, and all faults are reported
at once.

Over 300 lines, because the table and its readers change together.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from devpi_server import __version__, mirror_settings, option_values
from devpi_server.errors import ConfigError
from devpi_server.mirror_settings import Line, MirrorSettings
from devpi_server.option_values import meant

PROGRAM = "devpi-server"
_PREFIX = "DEVPISERVER_"
_SECTION = "devpi-server"
_PYPI = "root/pypi"


@dataclass(frozen=True)
class Settings:
    """What this run is to do, checked."""

    datadir: Path
    host: str
    port: int
    unix_socket: Path | None
    unix_socket_perms: int
    refresh: float
    mirrors: tuple[MirrorSettings, ...]  # root/pypi is the first
    request_timeout: float
    threads: int
    max_request_body_size: int
    offline_mode: bool
    outside_url: str | None
    absolute_urls: bool
    trusted_proxy: str | None
    bottleserver: str
    debug: bool
    gendeploy: Path | None = None
    gen_config: bool = False
    passwd: str | None = None
    processes: int = 1
    secretfile: Path | None = None
    login_lifetime: float = 36000.0
    restrict_modify: tuple[str, ...] | None = None  # None: anybody may
    push_networks: tuple[str, ...] | None = None  # None: only root pushes into private ones
    packages: tuple[Path, ...] | None = None  # folders that are an index; None: there is none
    merge_upstream: bool = False  # names in them may also be upstream's
    publish: bool = False
    packages_uploaders: tuple[str, ...] = ("root",)  # who may add files to the first of them


@dataclass(frozen=True)
class Option:
    """One row of the table."""

    name: str  # as on the command line, without the dashes
    parse: Callable[[str], object]  # raises ValueError with the reason
    default: str | Callable[[], str] | None  # a function is asked when no source says it
    metavar: str  # empty for a switch
    group: str
    help: str
    aliases: tuple[str, ...] = ()  # a letter is one on the command line only
    shown: str = ""  # the default in the help, where it does not say it itself
    many: bool = False  # may be given again to add to it; then parse returns a tuple
    deed: bool = False  # on the command line only: it is about what to do instead of serving

    @property
    def names(self) -> tuple[str, ...]:
        """The names in every source."""
        return (self.name, *(alias for alias in self.aliases if len(alias) > 1))

    @property
    def flags(self) -> tuple[str, ...]:
        """The names on the command line."""
        letters = (f"-{alias}" for alias in self.aliases if len(alias) == 1)
        return (*letters, *(f"--{name}" for name in self.names))

    @property
    def description(self) -> str:
        """The help, with the default in brackets."""
        shown = self.shown or self.default
        return f"{self.help} [{shown}]" if isinstance(shown, str) else self.help


def variable(option: str) -> str:
    """The variable of the environment that says the same as the option."""
    return _PREFIX + option.replace("-", "_").upper()


def default_mirror_url(environ: Mapping[str, str] = os.environ) -> str:
    """The index that pip installs from where nobody configures another one.

    ``PIP_INDEX_URL`` and pip's own files do not count: on a machine that is
    set up to use this server, they name this server.

    :raises ValueError: pip is not there, or does not say.
    """
    try:
        # Optional and private: imported only when it is asked.
        from pip._internal.models.index import PyPI  # noqa: PLC0415

        return PyPI.simple_url
    except (ImportError, AttributeError):
        return _ask_pip(environ)


def pip_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for a pip that nothing on this machine configures."""
    ours = ("PIP_", _PREFIX)  # which may have passwords of upstream
    clean = {name: text for name, text in environ.items() if not name.startswith(ours)}
    return clean | {"PIP_CONFIG_FILE": os.devnull}


def _ask_pip(environ: Mapping[str, str]) -> str:
    """The same, as pip's help text states it."""
    clean = pip_environment(environ) | {"COLUMNS": "1000"}
    command = [sys.executable, "-m", "pip", "install", "--help"]
    answer = subprocess.run(  # noqa: S603 - fixed words
        command, env=clean, capture_output=True, text=True, check=False
    )
    found = re.search(r"--index-url .*?\(default\s+(\S+?)\)", answer.stdout, re.DOTALL)
    if found is None:
        raise ValueError("pip does not say which index it installs from, give the URL")
    return found[1]


CONFIGFILE = Option(
    "configfile", option_values.path, None, "FILE", "main",
    f'YAML file with options in its section "{_SECTION}:"', ("c",),
)  # fmt: skip

GENDEPLOY = Option(
    "gendeploy", option_values.path, None, "DIR", "deploy",
    "(unix only) generate a pre-configured self-contained virtualenv directory which puts "
    "devpi-server under supervisor control; also provides nginx, cron and systemd files to "
    "help with permanent deployment", deed=True,
)  # fmt: skip
GEN_CONFIG = Option(
    "gen-config", option_values.switch, "no", "", "deploy",
    "write example files for supervisor, nginx, cron, launchd, systemd, gunicorn, uWSGI, "
    "logrotate and Prometheus to the folder gen-config", deed=True,
)  # fmt: skip
PASSWD = Option(
    "passwd", option_values.word, None, "USER", "deploy",
    "set the password of a user, as devpi-passwd does", deed=True,
)  # fmt: skip

OPTIONS = (
    Option("datadir", option_values.path, "~/.devpi/serverdata", "DIR", "main",
           "directory for everything that the server keeps", ("serverdir",)),
    Option("port", option_values.whole(0, 65535), "3141", "PORT", "main",
           "port to listen on for http requests, 0 for any free one"),
    Option("host", option_values.word, "localhost", "HOST", "main",
           "name or IP address to listen on"),
    Option("refresh", option_values.seconds(1), "60", "SECS", "main",
           "interval for asking upstream's changelog which projects have changed"),
    CONFIGFILE,
    Option("packages", option_values.folder, None, "DIR", "main",
           "folder of packages to serve as the index root/packages and at /simple/; given again, "
           "one more", many=True),
    Option("merge-upstream", option_values.switch, "no", "", "main",
           "show upstream's files beside those in --packages; otherwise, it is not asked for "
           "names that are there"),
    Option("mirror-url", option_values.index_urls, default_mirror_url, "URL", "mirror",
           "simple index that root/pypi mirrors; given again, one to turn to while it fails",
           shown="the index that pip defaults to", many=True),
    Option("mirror-cache-expiry", option_values.seconds(0), "1800", "SECS", "mirror",
           "age from which a project's page is checked with upstream before it is served"),
    Option("request-timeout", option_values.seconds(0, above=True), "5", "SECS", "mirror",
           "patience with upstream; past it, what is held is served"),
    Option("offline-mode", option_values.switch, "no", "", "mirror",
           "never contact upstream: list and serve only what is held"),
    Option("unix-socket", option_values.path, None, "PATH", "web",
           "socket in the file system to listen at, in place of host and port"),
    Option("unix-socket-perms", option_values.permissions, "600", "MODE", "web",
           "permissions of that socket, in octal"),
    Option("threads", option_values.whole(1, 1000), "50", "N", "web",
           "threads that answer requests"),
    Option("max-request-body-size", option_values.whole(1, 2**60), "10737418240", "BYTES", "web",
           "size of the largest request, and so of the largest file that can be uploaded"),
    Option("outside-url", option_values.url, None, "URL", "web",
           "URL under which clients reach the server, where a proxy does not tell"),
    Option("absolute-urls", option_values.switch, "no", "", "web",
           "write whole URLs into pages, where they are relative otherwise"),
    Option("trusted-proxy", option_values.proxy, None, "IP", "web",
           'address of the proxy whose X-Forwarded headers count, "*" for any'),
    Option("publish", option_values.switch, "no", "", "web",
           "keep ready-made answers in datadir, which nginx in front sends by itself; its "
           "configuration is written by --gen-config and --gendeploy"),
    Option("secretfile", option_values.path, None, "FILE", "security",
           "file with the secret that login tokens are signed with, instead of one in datadir"),
    Option("login-lifetime", option_values.seconds(1), "36000", "SECS", "security",
           "time from a login until its token expires"),
    Option("restrict-modify", option_values.modifiers, None, "SPEC", "security",
           "users and :groups, with commas between, that alone may create and change users and "
           "indexes; root has to be one of them"),
    Option("push-networks", option_values.networks, None, "NETWORKS", "security",
           "private networks, as 10.0.0.0/8, with servers that anybody may push releases to; "
           "elsewhere in private networks, only root may", many=True),
    Option("bottleserver", option_values.word, "waitress", "TYPE", "deploy",
           "server to run on: waitress, granian or another that bottle knows"),
    Option("debug", option_values.switch, "no", "", "deploy", "log everything"),
    PASSWD,
    GENDEPLOY,
    GEN_CONFIG,
    Option("processes", option_values.whole(1, 64), "1", "N", "deploy",
           "of --gendeploy and --gen-config: server processes on one data directory, on "
           "consecutive ports from --port on", deed=True),
)  # fmt: skip

# The words of root/pypi that are options too: option → field.
_OF_PYPI = {"mirror_url": "urls", "mirror_cache_expiry": "cache_expiry"}
_SHARED = {
    option.name.replace("-", "_"): option
    for option in OPTIONS
    if option.name.replace("-", "_") in _OF_PYPI
}

GROUPS = {
    "main": "main options",
    "mirror": "how upstream is asked",
    "web": "how requests are answered",
    "security": "who may do what",
    "deploy": "deployment options",
}


@dataclass(frozen=True)
class _Given:
    """A text that some source has for an option."""

    option: Option
    place: str  # for the faults: --port, DEVPISERVER_PORT, …
    text: str

    def value(self) -> object:
        return option_values.read(self.option.parse, self.text)


@dataclass(frozen=True)
class _File:
    """What stands in the file."""

    given: Sequence[_Given] = ()
    pypi: Sequence[Line] = ()  # of root/pypi, what no option says
    mirrors: Mapping[str, Sequence[Line]] = field(default_factory=dict)  # the others


def read(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    servers: Collection[str] = (),
) -> Settings:
    """The settings of this run.

    :param servers: what ``--bottleserver`` may name; empty: not checked here.
    :raises ConfigError: with every fault of every source.
    :raises SystemExit: after ``--help`` and ``--version``.
    """
    faults: list[str] = []  # everything below adds to it and goes on
    flags = list(_from_flags(_words(argv), faults))
    variables = list(_from_environment(environ, faults))
    path = _choose(CONFIGFILE, (flags, variables), faults)
    file = _read_file(path, faults) if isinstance(path, Path) else _File()
    values: dict[str, Any] = {
        option.name.replace("-", "_"): _choose(option, (flags, variables, file.given), faults)
        for option in OPTIONS
        if option is not CONFIGFILE
    }
    if not (values["gendeploy"] or values["gen_config"]) and values["processes"] not in (1, None):
        faults.append("--processes: is of use with --gendeploy and --gen-config only")
    if values["merge_upstream"] and not values["packages"]:
        faults.append("--merge-upstream: is of use with --packages only")
    server = values["bottleserver"]
    if servers and isinstance(server, str) and server not in servers:
        faults.append(f'no bottleserver is called "{server}"{meant(server, servers)}')
    pypi = mirror_settings.read(file.pypi, faults)
    stated = {each.option.name.replace("-", "_") for each in (*flags, *variables, *file.given)}
    pypi["given"] = frozenset((*pypi, *(_OF_PYPI[name] for name in _OF_PYPI.keys() & stated)))
    for option, name in _OF_PYPI.items():
        pypi[name] = values.pop(option)
    others = tuple(mirror_settings.mirrors(file.mirrors, faults))
    if faults:
        raise ConfigError(faults)
    return Settings(mirrors=(MirrorSettings(_PYPI, **pypi), *others), **values)


@dataclass(frozen=True)
class Word:
    """What the command line or the environment says of an option."""

    option: Option
    text: str  # a path is absolute


def given(
    argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[Word, ...]:
    """What stands on the command line and in the environment, for a server of another place.

    Only for what ``read`` has found to be sound.
    """
    found: dict[Option, list[_Given]] = {}
    for source in (_from_environment(environ, []), _from_flags(_words(argv), [])):
        by_option: dict[Option, list[_Given]] = {}
        for each in source:
            by_option.setdefault(each.option, []).append(each)
        found |= by_option  # a flag beats a variable
    return tuple(
        Word(option, _as_text(each))
        for option in OPTIONS
        if option not in (PASSWD, GENDEPLOY, GEN_CONFIG)
        for each in (found.get(option, []) if option.many else found.get(option, [])[-1:])
    )


def _as_text(given: _Given) -> str:
    value = given.value()
    if isinstance(value, tuple) and isinstance(value[0], Path):
        (value,) = value
    return str(value) if isinstance(value, Path) else given.text.strip()


def _words(argv: Sequence[str] | None) -> Sequence[str]:
    return sys.argv[1:] if argv is None else argv


def _choose(option: Option, sources: Sequence[Sequence[_Given]], faults: list[str]) -> object:
    """The value of the first source that has one; the faults of all."""
    chosen: list[object] = []
    for source in sources:
        values: dict[str, object] = {}  # of the names of one option, the last wins a name
        for given in source:
            if given.option is not option:
                continue
            try:
                value = given.value()
            except ValueError as fault:
                faults.append(f"{given.place}: {fault}")
                continue
            before = values.get(given.place)
            if option.many and isinstance(before, tuple) and isinstance(value, tuple):
                value = tuple(dict.fromkeys(before + value))
            values[given.place] = value
        if len(set(values.values())) > 1:
            faults.append(f"{' and '.join(values)} are the same option, with different values")
        chosen.extend(values.values())
    if chosen:
        return chosen[0]
    try:
        default = option.default() if callable(option.default) else option.default
        return None if default is None else option.parse(default)
    except ValueError as fault:
        faults.append(f"--{option.name}: {fault}")
        return None


class Parser(argparse.ArgumentParser):
    """Faults are raised, not printed.

    :raises ConfigError: from ``parse_args`` and its like.
    """

    def error(self, message: str) -> NoReturn:
        raise ConfigError([message.removeprefix("argument ")])


class _Collect(argparse.Action):
    """Keep each flag's text under the name that it was given by."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.given.append((option_string, values if self.nargs is None else "yes"))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Start an index server that acts as a cache for PyPI, for pip, uv, Poetry, "
        "easy_install and other installers.",
        epilog=f"Each option that says how to serve can also be given as a variable "
        f"{_PREFIX}<NAME>, and in a file that --configfile names.",
    )
    groups = {name: parser.add_argument_group(name, text) for name, text in GROUPS.items()}
    groups["main"].add_argument(
        "--version", action="version", version=__version__, help="show the version and exit"
    )
    for option in OPTIONS:
        takes: dict[str, Any] = {"metavar": option.metavar} if option.metavar else {"nargs": 0}
        groups[option.group].add_argument(
            *option.flags,
            action=_Collect,
            default=argparse.SUPPRESS,
            help=option.description,
            **takes,
        )
    return parser


def _from_flags(argv: Sequence[str], faults: list[str]) -> Iterator[_Given]:
    namespace = argparse.Namespace(given=[])
    try:
        _, unknown = _parser().parse_known_args(argv, namespace)
    except ConfigError as error:
        faults.extend(error.faults)
        unknown = []
    known = {flag: option for option in OPTIONS for flag in option.flags}
    for before, word in zip(["", *unknown], unknown, strict=False):
        flag = word.partition("=")[0]
        if flag.startswith("-"):
            faults.append(f"unknown option {flag}{meant(flag, known)}")
        elif not before.startswith("-"):  # else it is the value of the unknown option
            faults.append(f'unexpected argument "{word}"')
    for flag, text in namespace.given:
        yield _Given(known[flag], flag, text)


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> Iterator[_Given]:
    names = {name: option for option in OPTIONS if not option.deed for name in option.names}
    known = {variable(name): names[name] for name in names}
    for name in sorted(environ):
        if name in known:
            yield _Given(known[name], name, environ[name])
        elif name.startswith(_PREFIX):
            faults.append(f"unknown variable {name}{meant(name, known)}")


def _read_file(path: Path, faults: list[str]) -> _File:
    """What stands in both sections of the file."""
    document = _document(path, faults)
    given = list(_from_section(document.get(_SECTION), path, faults))
    lines = mirror_settings.lines(document.get(mirror_settings.SECTION), path, faults)
    pypi = []
    for line in lines.pop(_PYPI, []):
        option = _SHARED.get(line.word.name)
        if option is None:
            pypi.append(line)
        else:
            given.append(_Given(option, line.place, line.text))
    return _File(given, pypi, lines)


def _from_section(section: object, path: Path, faults: list[str]) -> Iterator[_Given]:
    known = {name: option for option in OPTIONS if not option.deed for name in option.names}
    del known[CONFIGFILE.name]
    if section and not isinstance(section, dict):
        faults.append(f'the section "{_SECTION}:" of {path} does not consist of "option: value"')
    # All of its lines may be comments.
    for key, value in section.items() if isinstance(section, dict) else ():
        name = str(key).replace("_", "-")
        if name not in known:
            faults.append(f'unknown option "{key}" in {path}{meant(name, known)}')
            continue
        texts = value if known[name].many and isinstance(value, list) else [value]
        for text in texts:
            if isinstance(text, str):
                yield _Given(known[name], f"{key} in {path}", text)
            else:
                faults.append(f"{key} in {path}: takes one value")


def _document(path: Path, faults: list[str]) -> Mapping[object, object]:
    """The file, with every value as text."""
    try:
        # BaseLoader makes text of all scalars, and is as safe as SafeLoader.
        document = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)  # noqa: S506
    except OSError as error:
        faults.append(f"cannot read {path}: {error.strerror or error}")
        return {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        faults.append(f"{path} is not YAML" + (f", see line {mark.line + 1}" if mark else ""))
        return {}
    if not isinstance(document, dict) or not document.keys() & {_SECTION, mirror_settings.SECTION}:
        faults.append(f'{path} has no section "{_SECTION}:"')
        return {}
    return document
