"""What a mirror can be told: one table of words, in devpi's spelling, and their reader.

The words stand in the section ``mirrors:`` of the configuration file, below the
mirror's name.  What root/pypi gets from the command line does not come through
here but beats it (``settings``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from devpi_server import names, option_values
from devpi_server.errors import ConfigError

SECTION = "mirrors"
# An option that no user sets and none is shown: whether root has named the addresses.
OWN_HOST_IS_TRUSTED = "own_host_is_trusted"


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """What one mirror is to do, checked."""

    name: str  # user/index
    # In the order in which they are tried; each ends in a slash, and may hold a password.
    urls: tuple[str, ...] = field(repr=False)
    cache_expiry: float = 1800.0
    no_project_list: bool = False
    ignore_serial_header: bool = False
    use_external_urls: bool = False
    changelog_url: str | None = field(default=None, repr=False)
    keep_vanished: bool = False
    trust_changed_files: bool = False
    forbidden_is_absent: bool = False
    flat: bool = False
    crawl: bool = False
    ca_file: Path | None = None
    client_cert: Path | None = None
    allow_networks: tuple[str, ...] = ()
    title: str | None = None
    web_url_fmt: str | None = None
    # Whether the addresses may be in private networks, and get what netrc says of them.
    own_host_is_trusted: bool = True
    # The fields that the configuration states: an index in the database cannot change them.
    given: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True)
class Word:
    """One row of the table; the default is that of the field."""

    name: str  # as in the file
    parse: Callable[[str], object]  # raises ValueError with the reason
    help: str
    many: bool = False  # takes a list; then parse returns a tuple

    @property
    def field(self) -> str:
        """The field of ``MirrorSettings``."""
        return "urls" if self.name == "mirror_url" else self.name.removeprefix("mirror_")

    @property
    def description(self) -> str:
        """The help, with the default in brackets."""
        default = next(item.default for item in fields(MirrorSettings) if item.name == self.field)
        if isinstance(default, float):
            return f"{self.help} [{default:g}]"
        return f"{self.help} [no]" if default is False else self.help


WORDS = (
    Word("mirror_url", option_values.index_urls,
         "URL of the simple index; of several, the later ones stand in for the first", many=True),
    Word("mirror_cache_expiry", option_values.seconds(0),
         "seconds from which a project's page is checked with upstream before it is served"),
    Word("mirror_no_project_list", option_values.switch,
         "upstream has no list of its projects, or it is not to be fetched"),
    Word("mirror_ignore_serial_header", option_values.switch,
         "upstream's serials mean nothing"),
    Word("mirror_use_external_urls", option_values.switch,
         "send clients to upstream for files, and keep none"),
    Word("mirror_changelog_url", option_values.url,
         "URL of upstream's XML-RPC, if it is not /pypi on its own host"),
    Word("mirror_keep_vanished", option_values.switch,
         "go on listing files and projects that upstream has removed"),
    Word("mirror_trust_changed_files", option_values.switch,
         "accept other bytes under the name of a file without a hash than those seen first"),
    Word("mirror_forbidden_is_absent", option_values.switch,
         "upstream says 403 of a project that it does not have"),
    Word("mirror_flat", option_values.switch,
         "mirror_url is one page that lists the files of all projects"),
    Word("mirror_crawl", option_values.switch,
         "visit the home and download pages that a project's page names, as in 2013"),
    Word("mirror_ca_file", option_values.readable_file,
         "file with certificates to trust beside the system's"),
    Word("mirror_client_cert", option_values.readable_file,
         "file with the client certificate and its key, as PEM"),
    Word("mirror_allow_networks", option_values.networks,
         "private networks, as 10.0.0.0/8, that links and redirects may lead to", many=True),
    Word("mirror_web_url_fmt", option_values.url_pattern,
         "URL of a project's web page, with {name} in it"),
    Word("title", option_values.line,
         "what people call the mirror"),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A text that the file has for a word of a mirror."""

    word: Word
    place: str  # for the faults
    text: str


def lines(section: object, path: Path, faults: list[str]) -> dict[str, Sequence[Line]]:
    """Mirror → its lines.

    :param section: the section ``mirrors:``, with every value as text; None: there is none.
    :param faults: everything that is wrong is added.
    """
    if section is not None and not isinstance(section, dict):
        faults.append(f'the section "{SECTION}:" of {path} does not consist of "user/index:"')
    if not isinstance(section, dict):
        return {}
    found: dict[str, Sequence[Line]] = {}
    for name, words in section.items():
        if not _is_index(name):
            faults.append(f'"{name}" in {path} is not the name of an index, as user/index')
        elif words and not isinstance(words, dict):
            faults.append(f'the mirror {name} in {path} does not consist of "word: value"')
        else:
            found[name] = list(_lines(words or {}, f"{name} in {path}", faults))
    return found


def mirrors(named: Mapping[str, Sequence[Line]], faults: list[str]) -> Iterator[MirrorSettings]:
    """The mirrors that the lines describe; what is wrong is added to the faults."""
    for name, given in named.items():
        values = read(given, faults)
        if values.get("urls"):
            yield MirrorSettings(name, given=frozenset(values), **values)
        elif not any(line.word.field == "urls" for line in given):
            faults.append(f"the mirror {name} has no mirror_url")


def with_options(settings: MirrorSettings, options: Mapping[str, object]) -> MirrorSettings:
    """The settings, changed to what the options of an index say (devpi.md 1.5).

    Options that are no words of a mirror are for others; what is ``given`` stays.

    :raises ConfigError: an option is not what it must be.
    """
    found = [
        Line(word, word.name, _text(options[word.name]))
        for word in WORDS
        if word.name in options and word.field not in settings.given
    ]
    faults: list[str] = []
    values = read(found, faults)
    if not values.get("urls", settings.urls):
        faults.append(f"the mirror {settings.name} has no mirror_url")
    if faults:
        raise ConfigError(faults)
    if not {"urls", "changelog_url"}.isdisjoint(values):
        values["own_host_is_trusted"] = options.get(OWN_HOST_IS_TRUSTED) is True
    return replace(settings, **values)


def to_options(settings: MirrorSettings) -> dict[str, object]:
    """What ``with_options`` would make the given fields of; without passwords."""
    options: dict[str, object] = {}
    for word in WORDS:
        if word.field in settings.given:
            value = getattr(settings, word.field)
            if isinstance(value, tuple):
                value = list(map(str, value))
            elif isinstance(value, float) and value.is_integer():
                value = int(value)
            options[word.name] = value
    if "mirror_url" in options:
        options["mirror_url"] = " ".join(map(_without_userinfo, settings.urls))
    return options


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def read(given: Sequence[Line], faults: list[str]) -> dict[str, Any]:
    """Field → value."""
    values: dict[str, Any] = {}
    for line in given:
        try:
            value = option_values.read(line.word.parse, line.text)
        except ValueError as fault:
            faults.append(f"{line.place}: {fault}")
            continue
        if isinstance(value, tuple):
            value = tuple(dict.fromkeys((*values.get(line.word.field, ()), *value)))
        values[line.word.field] = value
    return values


def _lines(words: Mapping[object, object], place: str, faults: list[str]) -> Iterator[Line]:
    known = {word.name: word for word in WORDS}
    for key, value in words.items():
        name = str(key).replace("-", "_")
        texts = value if isinstance(value, list) else [value]
        if name not in known:
            faults.append(f'unknown word "{key}" of {place}{option_values.meant(name, known)}')
            continue
        for text in texts if known[name].many else [value]:
            if isinstance(text, str):
                yield Line(known[name], f"{key} of {place}", text)
            else:
                faults.append(f"{key} of {place}: takes one value")


def _is_index(name: object) -> bool:
    """Whether it is ``user/index``; each part is a segment of URLs and a folder on disk."""
    parts = name.split("/") if isinstance(name, str) else []
    return len(parts) == 2 and all(names.is_file_name(part) and "+" not in part for part in parts)
