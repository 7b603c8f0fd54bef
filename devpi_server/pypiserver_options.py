"""The words of ``pypi-server``, of both generations, and what they mean.

Since version 2 there are the commands ``run`` and ``update``; before, there was
one list of options, and ``-U`` in it meant to update.  Both are understood, and
so is a mixture.  The parsers are also those of ``devpi_server.pypiserver.app``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devpi_server import option_values

PROGRAM = "pypi-server"
RUN, UPDATE = "run", "update"
ACTIONS = frozenset({"download", "list", "update"})
REDIRECT, PROXY, NONE = "redirect", "proxy", "none"
FALLBACKS = (REDIRECT, PROXY, NONE)
EVERYBODY = Path()  # in place of a password file: everybody may do everything

_NO = False
_EMPTY = ("", ".")  # what stands for "nothing" in -a and -P
_ALIASES = {"upload": "update"}
_OFF = ("0", "no", "off", "false", "n", "f")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*\Z")
_ENDPOINT = re.compile(r"/[a-z0-9/_-]+\Z", re.IGNORECASE)
_LARGEST_PAGE = 1024 * 1024  # bytes of a welcome page
_WORKS_WITHOUT_LENGTH = ("shake_128", "shake_256")  # digests of any length


@dataclass(frozen=True)
class Word:
    """One row of the table."""

    flags: tuple[str, ...]
    parse: Callable[[str], object]  # raises ValueError with the reason
    default: object
    metavar: str  # empty for a switch
    help: str
    field: str
    commands: tuple[str, ...] = (RUN, UPDATE)
    shown: str = ""  # the default in the help
    hidden: tuple[str, ...] = ()  # flags that nobody needs to be told of
    counts: bool = False

    @property
    def description(self) -> str:
        """The help, with the default in brackets."""
        return f"{self.help} [{self.shown}]" if self.shown else self.help


def actions(text: str) -> frozenset[str]:
    """The actions of a list with commas or spaces."""
    found = {_ALIASES.get(each, each) for each in re.split(r"[\s,]+", text.lower()) if each}
    if found <= {*_EMPTY}:
        return frozenset()
    if found & {*_EMPTY}:
        raise ValueError("nothing ('.') and something cannot be authenticated at once")
    if not found <= ACTIONS:
        raise ValueError(f'"{text}" is not a list of download, list and update, or "."')
    return frozenset(found)


def passwords(text: str) -> Path:
    """The password file, or that there is none, and none needed."""
    return EVERYBODY if text in _EMPTY else option_values.readable_file(text)


def algorithm(text: str) -> str | None:
    """How hashlib calls an algorithm; None: no digests."""
    if text in hashlib.algorithms_available and text not in _WORKS_WITHOUT_LENGTH:
        return text
    if text.lower() in _OFF:
        return None
    raise ValueError(f'there is no algorithm "{text}"; "off" is for no digests')


def endpoint(text: str) -> str:
    """The path of the health endpoint."""
    if not _ENDPOINT.match(text):
        raise ValueError(f'"{text}" is not a path of letters, digits, "-", "_" and "/"')
    return text


def prefix(text: str) -> str:
    """A sub-path: empty, or with a slash before it and none behind it."""
    found = f"/{text.strip('/')}" if text.strip("/") else ""
    if not _PREFIX.match(found):
        raise ValueError(f'"{text}" is not a path of letters, digits and "._~-"')
    return found


def page(text: str) -> str:
    """The text of a file."""
    found = option_values.readable_file(text)
    if found.stat().st_size > _LARGEST_PAGE:
        raise ValueError(f"{found} is too large for a page")
    try:
        return found.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {found}: {error}") from None


def names(text: str) -> tuple[str, ...]:
    """The names in a file, one a line."""
    lines = (line.strip() for line in page(text).splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def folder(text: str) -> Path:
    """A directory that can be read."""
    found = option_values.path(text)
    try:
        with os.scandir(found):
            return found
    except OSError as error:
        raise ValueError(f"cannot read the directory {found}: {error.strerror}") from None


def stream(text: str) -> str:
    """Where the log goes: ``stdout``, ``stderr`` or ``none``."""
    if text.lower() not in ("stdout", "stderr", "none"):
        raise ValueError(f'"{text}" is neither stdout nor stderr nor none')
    return text.lower()


def fallback(text: str) -> str:
    """What is done for a project that the folder does not have."""
    if text not in FALLBACKS:
        raise ValueError(f'"{text}" is none of {", ".join(FALLBACKS)}')
    return text


def backend(text: str) -> str:
    """Of no effect here."""
    if text not in ("auto", "simple-dir", "cached-dir"):
        raise ValueError(f'"{text}" is neither auto nor simple-dir nor cached-dir')
    return text


def text(given: str) -> str:
    """As it stands."""
    return given


WORDS = (
    Word(("-p", "--port"), option_values.whole(0, 65535), 8080, "PORT",
         "port to listen on", "port", (RUN,), "8080"),
    Word(("-i", "--interface", "-H", "--host"), option_values.word, "0.0.0.0", "HOST",  # noqa: S104
         "address to listen on", "host", (RUN,), "0.0.0.0: all"),
    Word(("-a", "--authenticate"), actions, frozenset({"update"}), "ACTIONS",
         "list with commas of what needs a user and a password: update, download, list; "
         "'.' or '' for nothing, together with -P .", "authenticate", (RUN,), "update"),
    Word(("-P", "--passwords"), passwords, None, "FILE",
         "password file of Apache's htpasswd, in any of its formats, read again when it changes; "
         "'.' or '' for none, together with -a .", "passwords", (RUN,), hidden=("--P",)),
    Word(("--fallback",), fallback, REDIRECT, "HOW",
         "what is done for projects that the directories do not have: redirect sends clients to "
         "another index, proxy fetches and caches it for them, none says that they are not there",
         "fallback", (RUN,), "redirect"),
    Word(("--fallback-url",), option_values.url, None, "URL",
         "that other index, which updates come from, too", "fallback_url",
         shown="the index that pip defaults to"),
    Word(("--disable-fallback",), option_values.switch, _NO, "",
         "the same as --fallback none", "disable_fallback", (RUN,)),
    Word(("-o", "--overwrite"), option_values.switch, _NO, "",
         "an upload may replace a file that is there", "overwrite", (RUN,)),
    Word(("--hash-algo",), algorithm, "sha256", "ALGO",
         "hash function of the digests in links, any that Python's hashlib has; off, no, false or "
         "0 for no digests, which spares reading the files", "algorithm", shown="sha256"),
    Word(("--health-endpoint",), endpoint, "/health", "PATH",
         "where to ask whether the server is alive", "health_endpoint", (RUN,), "/health"),
    Word(("--welcome",), page, None, "FILE",
         "HTML page for the address /, with {{URL}}, {{VERSION}}, {{NUMPKGS}}, {{PACKAGES}} and "
         "{{SIMPLE}} in it", "welcome", (RUN,)),
    Word(("--cache-control",), option_values.whole(0, 2**31), None, "SECONDS",
         "tell clients to keep files for that long without asking again", "cache_control", (RUN,)),
    Word(("--server-base-url",), prefix, "", "PREFIX",
         "sub-path below which everything is served", "base_url", (RUN,), "/"),
    Word(("--server",), option_values.word, "auto", "METHOD",
         "server to run on; auto is the built-in one, others are those of --bottleserver",
         "server", (RUN,), "auto"),
    Word(("--datadir",), option_values.path, None, "DIR",
         "directory for what is known of the files, and for the cache; nothing but packages is "
         "written into the package directories", "datadir", (RUN,), "~/.devpi/pypi-server"),
    Word(("--backend",), backend, "auto", "NAME",
         "taken for the sake of old command lines: there is one backend", "backend"),
    Word(("-v", "--verbose"), option_values.switch, 0, "",
         "log requests; given again, log more", "verbosity", counts=True),
    Word(("--log-file",), option_values.path, None, "FILE",
         "file to log to, too", "log_file"),
    Word(("--log-stream",), stream, "stdout", "STREAM",
         "stream to log to: stdout, stderr or none", "log_stream", shown="stdout"),
    Word(("--log-frmt",), text, "%(asctime)s|%(name)s|%(levelname)s|%(thread)d|%(message)s",
         "FORMAT", "format of a line of the log, as Python's logging has it", "log_format"),
    Word(("--log-conf",), option_values.readable_file, None, "FILE",
         "configuration for Python's logging; the other options on logging are of no effect then",
         "log_conf"),
    Word(("--log-req-frmt",), text, "%(bottle.request)s", "FORMAT",
         "what is logged of a request: names of its WSGI environment, or %s for all of it",
         "log_request", (RUN,), "%(bottle.request)s"),
    Word(("--log-res-frmt",), text, "%(status)s", "FORMAT",
         "what is logged of an answer: response, status, headers, body, cookies, or %s",
         "log_response", (RUN,), "%(status)s"),
    Word(("--log-err-frmt",), text, "%(body)s: %(exception)s \n%(traceback)s", "FORMAT",
         "what is logged of a refusal: body, status, exception, traceback, or %s",
         "log_error", (RUN,)),
    Word(("-x", "--execute"), option_values.switch, _NO, "",
         "carry out the commands that are shown", "execute", (UPDATE,)),
    Word(("-d", "--download-directory"), option_values.path, None, "DIR",
         "directory to download into, in place of the one of the file that is outdated",
         "download_directory", (UPDATE,)),
    Word(("-u", "--allow-unstable"), option_values.switch, _NO, "",
         "offer alpha, beta, candidate and development versions, too", "allow_unstable", (UPDATE,)),
    Word(("--ignorelist-file", "--blacklist-file"), names, (), "FILE",
         "file with names of projects to leave alone, one a line, # begins a comment",
         "ignored", (UPDATE,)),
)  # fmt: skip
ROOT = Word(("-r", "--root"), folder, (), "DIR", "the same as DIR, as of old", "roots")


def words_of(command: str) -> Iterator[Word]:
    """The rows that a command takes."""
    return (word for word in (*WORDS, ROOT) if command in word.commands)


def modern(argv: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The command that a command line means, and the words without it."""
    rest = list(argv)
    update = [at for at, word in enumerate(rest) if _means_update(word)]
    for at in update:
        rest[at] = rest[at].replace("U", "")
    rest = [word for at, word in enumerate(rest) if at not in update or word != "-"]
    if update:
        return UPDATE, rest
    takes_text = {flag for word in WORDS if word.metavar for flag in (*word.flags, *word.hidden)}
    for at, (before, word) in enumerate(zip(["", *rest], rest, strict=False)):
        if before in takes_text or word.startswith("-"):
            continue
        if word in (RUN, UPDATE):
            return word, [*rest[:at], *rest[at + 1 :]]
        break  # a directory
    return RUN, rest


def _means_update(word: str) -> bool:
    """``-U``, also together with other letters."""
    return re.fullmatch(r"-[vxuo]*U[vxuo]*", word) is not None
