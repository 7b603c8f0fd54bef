"""Conditional and range requests as pure functions of header texts (RFC 9110)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
_RANGE = re.compile(r"bytes=\s*(\d{0,15})\s*-\s*(\d{0,15})\s*\Z", re.IGNORECASE | re.ASCII)


class Span(NamedTuple):
    """Bytes from start up to, without, stop."""

    start: int
    stop: int


UNSATISFIABLE = Span(-1, -1)


def is_held_by_client(if_none_match: str | None, tag: str) -> bool:
    """Whether the client holds the representation already: answer 304.

    The comparison is weak, as RFC 9110 has it for If-None-Match.

    :param tag: the entity tag without its quotes.
    """
    if not if_none_match:
        return False
    if if_none_match == f'"{tag}"':  # the usual case
        return True
    return if_none_match.strip() == "*" or tag in _ETAG.findall(if_none_match)


def is_unmodified(if_modified_since: str | None, modified: float) -> bool:
    """Whether the client holds what is there since that time, in seconds since the epoch.

    Only for a request that has no If-None-Match, which goes before it.
    """
    if not if_modified_since:
        return False
    try:
        zoned = if_modified_since.strip().replace("GMT", "+0000")
        since = datetime.strptime(zoned, "%a, %d %b %Y %H:%M:%S %z")
    except ValueError:
        return False
    return int(modified) <= since.timestamp()


def span(range_header: str | None, if_range: str | None, tag: str, size: int) -> Span | None:
    """The part of a body that the client wants.

    :param tag: the entity tag without its quotes; empty: the client was given none.
    :return: None for the whole: no range, several ranges, one in another unit, one that cannot
        be read, or one of another version (If-Range); ``UNSATISFIABLE`` for 416.
    """
    if not range_header:
        return None
    if if_range is not None and (not tag or if_range.strip() != f'"{tag}"'):
        return None
    match = _RANGE.match(range_header.strip())
    if match is None:
        return None
    first, last = match.groups()
    if first == "":
        if last == "":
            return None
        wanted = int(last)
        return Span(max(0, size - wanted), size) if wanted and size else UNSATISFIABLE
    start = int(first)
    if last != "" and int(last) < start:
        return None  # not a valid range: to be ignored
    if start >= size:
        return UNSATISFIABLE
    return Span(start, min(size, int(last) + 1) if last else size)
