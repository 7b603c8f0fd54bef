"""Which form and which encoding of a page a client wants.

PEP 691: the order within ``Accept`` means nothing, q decides.  Where nothing
matches, the answer is text/html, as PyPI does it, and never 406: an old client
that asks for nonsense can read that.  No header can make these functions raise.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

_Q = re.compile(r"[0-9]{0,3}(?:\.[0-9]{0,9})?\Z")


class Form(enum.Enum):
    """The forms of a page; the value is what ``Content-Type`` says."""

    # Best first: on a tie the richer form wins.
    JSON = "application/vnd.pypi.simple.v1+json"
    HTML_V1 = "application/vnd.pypi.simple.v1+html"
    HTML = "text/html; charset=utf-8"

    @property
    def content_type(self) -> str:
        return self.value


class Encoding(enum.Enum):
    """The encodings of a body; the value is what ``Content-Encoding`` says."""

    IDENTITY = "identity"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def token(self) -> str:
        return self.value


# "latest" may be asked for, but the answer names the real version (PEP 691).
_FORMS = {
    "application/vnd.pypi.simple.v1+json": Form.JSON,
    "application/vnd.pypi.simple.latest+json": Form.JSON,
    "application/vnd.pypi.simple.v1+html": Form.HTML_V1,
    "application/vnd.pypi.simple.latest+html": Form.HTML_V1,
    "text/html": Form.HTML,
}
_RANGES = {
    Form.JSON: "application/*",
    Form.HTML_V1: "application/*",
    Form.HTML: "text/*",
}


def form(accept: str | None, wanted: str | None = None) -> Form:
    """The form to answer in.

    :param accept: the header ``Accept``.
    :param wanted: the query parameter ``format``, which beats it (PEP 691).
    """
    if wanted:
        # "?format=…v1+json": a query parser has made a space of the plus.
        asked = _FORMS.get(wanted.partition(";")[0].strip().lower().replace(" ", "+"))
        if asked is not None:
            return asked
    if not accept:
        return Form.HTML
    named: dict[Form, float] = {}
    ranges: dict[str, float] = {}
    for media, q in _weighted(accept):
        offered = _FORMS.get(media)
        if offered is not None:
            named[offered] = max(q, named.get(offered, 0.0))
        elif media.endswith("/*"):
            ranges[media] = max(q, ranges.get(media, 0.0))
    best = Form.HTML
    highest = (0.0, 0)
    for offered in Form:  # the richest first, so that it keeps its place on a tie
        rank = _rank(offered, named, ranges)
        # "*/*" says nothing about the simple API: text/html, as PyPI answers.
        unspecific = offered is Form.HTML and rank == highest and rank[1] == 1
        if rank[0] > 0 and (rank > highest or unspecific):
            best, highest = offered, rank
    return best


def encoding(accept_encoding: str | None) -> Encoding:
    """The encoding to answer in: zstd before gzip, and both before none at all."""
    if not accept_encoding:
        return Encoding.IDENTITY
    asked: dict[str, float] = {}
    for coding, q in _weighted(accept_encoding):
        name = "gzip" if coding == "x-gzip" else coding  # RFC 9110, 8.4.1.3
        asked[name] = max(q, asked.get(name, 0.0))
    anything = asked.get("*", 0.0)
    best = Encoding.IDENTITY
    # Identity is always acceptable, but preferred only where its q says so.
    highest = asked.get("identity", 0.0)
    for offered in (Encoding.GZIP, Encoding.ZSTD):
        q = asked.get(offered.value, anything)
        if q > 0 and q >= highest:
            best, highest = offered, q
    return best


def _rank(offered: Form, named: dict[Form, float], ranges: dict[str, float]) -> tuple[float, int]:
    """The q of a form and how specifically it was asked for (RFC 9110, 12.5.1)."""
    if offered in named:
        return named[offered], 3
    if _RANGES[offered] in ranges:
        return ranges[_RANGES[offered]], 2
    return ranges.get("*/*", 0.0), 1


def _weighted(header: str) -> Iterator[tuple[str, float]]:
    """The elements of a header with their q; one with a malformed q is left out."""
    for element in header.split(","):
        value, *parameters = element.split(";")
        q: float | None = 1.0
        for parameter in parameters:
            key, _, text = parameter.partition("=")
            if key.strip().lower() == "q":
                q = _quality(text.strip())
                break
        value = value.strip().lower()
        if value and q is not None:
            yield value, q


def _quality(text: str) -> float | None:
    if text in ("", ".") or not _Q.match(text):
        return None
    return min(float(text), 1.0)
