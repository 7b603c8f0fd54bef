"""Core metadata, as files carry it: ``METADATA`` and ``PKG-INFO``.

Read as installers read it, with the standard library's parser of e-mail
headers, and forgiving: a field that nobody knows or that says nonsense is no
reason to refuse a file.

Why not ``packaging.metadata``: it goes through all headers once for each name
among them, and turns project URLs and keywords into what they are not on
upload forms.
"""

from __future__ import annotations

import email.parser
import email.policy
import re
from collections.abc import Mapping
from types import MappingProxyType

from devpi_server.errors import InvalidArtefact

_MOST_LINES = 200_000  # the parser holds an object a line
_UNKNOWN = {"", "UNKNOWN"}  # how setuptools wrote that a field is not given
_INDENTED = re.compile(r"\r?\n(?: {7}[ |]|\t)")  # continuations of a header

# Header → field of the upload form.
_SCALARS = {
    "name": "name",
    "version": "version",
    "metadata-version": "metadata_version",
    "summary": "summary",
    "home-page": "home_page",
    "author": "author",
    "author-email": "author_email",
    "maintainer": "maintainer",
    "maintainer-email": "maintainer_email",
    "license": "license",
    "license-expression": "license_expression",
    "description": "description",
    "description-content-type": "description_content_type",
    "keywords": "keywords",
    "download-url": "download_url",
    "requires-python": "requires_python",
}
_LISTS = {
    "platform": "platform",
    "supported-platform": "supported_platform",
    "classifier": "classifiers",
    "provides": "provides",
    "requires": "requires",
    "obsoletes": "obsoletes",
    "project-url": "project_urls",
    "provides-dist": "provides_dist",
    "obsoletes-dist": "obsoletes_dist",
    "requires-dist": "requires_dist",
    "requires-external": "requires_external",
    "provides-extra": "provides_extras",
    "dynamic": "dynamic",
    "license-file": "license_file",
    "import-name": "import_names",
    "import-namespace": "import_namespaces",
}
Fields = Mapping[str, str | tuple[str, ...]]

# Two answers to one of these are none.
_ONCE = {"name", "version", "requires_python"}


def parse(data: bytes, *, forgiving: bool) -> Fields:
    """The fields: a text each, or a tuple of texts for those that may be repeated.

    :param forgiving: what is not UTF-8 is read as Latin-1, as in old ``PKG-INFO``.
    :raises InvalidArtefact: it is no text, has too many lines, or two names or versions.
    """
    text = _text(data, forgiving=forgiving)
    if text.count("\n") + text.count("\r") > _MOST_LINES:
        raise InvalidArtefact("has metadata of too many lines")
    message = email.parser.Parser(policy=email.policy.compat32).parsestr(text, headersonly=True)
    scalars: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for header, raw in message.items():
        value = _INDENTED.sub("\n", raw).strip()
        if value in _UNKNOWN:
            continue
        if key := _LISTS.get(header.lower()):
            lists.setdefault(key, []).append(value)
        elif key := _SCALARS.get(header.lower()):
            first = scalars.setdefault(key, value)
            if first != value and key in _ONCE:
                raise InvalidArtefact(f"has metadata with more than one {header}")
    body = message.get_payload()
    if isinstance(body, str) and body.strip():
        scalars.setdefault("description", body)
    if "requires_python" in scalars:
        scalars["requires_python"] = " ".join(scalars["requires_python"].split())
    return MappingProxyType({**scalars, **{key: tuple(each) for key, each in lists.items()}})


def _text(data: bytes, *, forgiving: bool) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if not forgiving:
            raise InvalidArtefact("has metadata that is not UTF-8") from error
    return data.decode("latin-1")
