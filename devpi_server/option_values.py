"""From the text of an option to its value: the parsers that all tables of options share.

A parser raises ValueError with the reason.  Those of URLs do not repeat the
text: it may hold a password.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit


def read(parse: Callable[[str], object], text: str) -> object:
    """The value of a text as it stands in some source."""
    text = text.strip()
    if not text:
        raise ValueError("has no value")
    return parse(text)


def word(text: str) -> str:
    if re.search(r"[\s/]", text):
        raise ValueError(f'"{text}" is not a name')
    return text


def line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("this is not one line of text")
    return text


def path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError(f'"{text}" has no home directory to start from') from None


def readable_file(text: str) -> Path:
    found = path(text)
    if not os.path.isfile(found) or not os.access(found, os.R_OK):
        raise ValueError(f"there is no file {found}, or it may not be read")
    return found


def folder(text: str) -> tuple[Path]:
    """A folder that is there, as one of several."""
    found = path(text)
    if not os.path.isdir(found) or not os.access(found, os.R_OK | os.X_OK):
        raise ValueError(f"there is no folder {found}, or it may not be read")
    return (found,)


def switch(text: str) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError(f'"{text}" is neither yes nor no')


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise ValueError(f'"{text}" is not a whole number')
        if not low <= int(text) <= high:
            raise ValueError(f"{text} is not from {low} to {high}")
        return int(text)

    return parse


def permissions(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError(f'"{text}" is not a mode in octal, as 600 or 660')
    return int(text, 8)


def seconds(low: float, *, above: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f'"{text}" is not a number of seconds')
        if value < low or (above and value == low):
            raise ValueError(f"{text} is not {'above' if above else 'at least'} {low:g} seconds")
        return value

    return parse


def url(text: str) -> str:
    """Without a slash at the end."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", text):
        raise ValueError("this is not an http:// or https:// URL with a host name")
    if "?" in text or "#" in text:
        raise ValueError('the URL may not have a "?" or "#"')
    return text.rstrip("/")


def url_pattern(text: str) -> str:
    """A URL with a place for the name of a project."""
    url(text)
    if "{name}" not in text:
        raise ValueError('the URL has no "{name}" in it')
    return text


def index_urls(text: str) -> tuple[str, ...]:
    """One or several URLs, each with a slash at the end."""
    return tuple(url(each) + "/" for each in _each(text))


def networks(text: str) -> tuple[str, ...]:
    """One or several networks in CIDR notation."""
    found = []
    for each in _each(text):
        try:
            found.append(str(ipaddress.ip_network(each)))
        except ValueError as fault:
            raise ValueError(f'"{each}" is not a network: {fault}') from None
    return tuple(found)


def modifiers(text: str) -> tuple[str, ...]:
    """Names of users and, with a colon in front, of groups.

    Why root has to be there: it makes the first users, so without it nobody ever could.
    """
    found = dict.fromkeys(each for part in text.split(",") if (each := part.strip()))
    for each in found:
        if not re.fullmatch(r":?[^:/+]+", each) or not each.isprintable():
            raise ValueError(f'"{each}" is neither a user nor a :group')
    if "root" not in found:
        raise ValueError("root is missing")
    return tuple(found)


def proxy(text: str) -> str:
    try:
        return text if text == "*" else str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f'"{text}" is neither an IP address nor "*"') from None


def meant(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name."""
    close = difflib.get_close_matches(name, known, 1)
    return f", did you mean {close[0]}?" if close else ""


def _each(text: str) -> list[str]:
    found = [each for each in re.split(r"[\s,]+", text) if each]
    if not found:
        raise ValueError("has no value")
    return found
