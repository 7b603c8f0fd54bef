"""The simple API: project pages and lists of projects (PEP 503, 691)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import parse_qs

import bottle

from devpi_server import names
from devpi_server.names import NormalizedName
from devpi_server.records import Origin, Page
from devpi_server.services.indexes import Index, Indexes
from devpi_server.services.listings import TITLE, Listings
from devpi_server.services.pages import PageKey, Pages, rendered_once
from devpi_server.simple import negotiate, render
from devpi_server.simple.negotiate import Encoding, Form
from devpi_server.web import asking, conditional
from devpi_server.web.asking import Wanted
from devpi_server.web.hot import ABSOLUTE_URLS, Hot, page_answer, page_headers
from devpi_server.web.outside import root_url

# Clients send few different headers; junk in them cannot push those out for long.
_form = lru_cache(maxsize=512)(negotiate.form)
_encoding = lru_cache(maxsize=512)(negotiate.encoding)
_TITLE_HELD = "list of accessed projects"
_LONGEST_HEADER = 2000  # characters that are remembered


class SimplePages:
    """The handlers."""

    def __init__(
        self,
        indexes: Indexes,
        pages: Pages,
        listings: Listings,
        hot: Hot,
        *,
        absolute_urls: bool = False,
    ) -> None:
        self._indexes = indexes
        self._listings = listings
        self._pages = pages
        self._hot = hot
        self._absolute_urls = absolute_urls

    def project(
        self, user: str, index: str, project: str, prefix: str = "../../"
    ) -> bottle.HTTPResponse:
        """``…/<project>/``: the page of one project.

        :param prefix: the relative URL from here to the index's own root.
        """
        name = names.project(project)
        if name != project:
            return moved(f"../{name}/")
        return self.page(f"{user}/{index}", name, prefix)

    def page(
        self, index: str, name: NormalizedName, prefix: str, *, is_hot: bool = True
    ) -> bottle.HTTPResponse:
        """The page of one project, wherever it is shown.

        :param is_hot: whether the same path and headers of form get it from whoever asks.
        """
        environ = bottle.request.environ
        if self._absolute_urls or ABSOLUTE_URLS in environ:
            prefix, is_hot = f"{root_url(environ)}/{index}/", False
        found = self._indexes.find(index)
        source, shown = asking.seen(found, (name,))
        form, encoding = negotiated()
        key = PageKey(found.name, name, form is Form.JSON, encoding, prefix, shown)
        rendered, origin = self._pages.project(key, name, source)
        if is_hot and found.is_public and not environ.get("QUERY_STRING"):
            self._hot.remember(environ, name, key, form.content_type)
        answer = page_answer(rendered, form.content_type, key, origin, environ, found.is_public)
        return _response(*answer)

    def once(self, index: Index, page: Page, prefix: str) -> bottle.HTTPResponse:
        """A page that is made for this request, and not kept.

        :param prefix: the relative URL from here to the server's root.
        """
        environ = bottle.request.environ
        if self._absolute_urls or ABSOLUTE_URLS in environ:
            prefix = f"{root_url(environ)}/"
        form, _ = negotiated()
        renderer = render.json_page if form is Form.JSON else render.html_page
        return self._once(index, renderer(page, f"{prefix}{index.name}/"))

    def names_once(self, index: Index, names: Iterable[str], title: str) -> bottle.HTTPResponse:
        """A list of projects, likewise."""
        form, _ = negotiated()
        if form is Form.JSON:
            return self._once(index, b"".join(render.listing_json(names)))
        return self._once(index, b"".join(render.listing_html(names, title)))

    def _once(self, index: Index, body: bytes) -> bottle.HTTPResponse:
        form, encoding = negotiated()
        key = PageKey(index.name, None, form is Form.JSON, encoding, "")
        rendered = rendered_once(body, encoding)
        environ = bottle.request.environ
        answer = page_answer(rendered, form.content_type, key, Origin.HIT, environ, index.is_public)
        return _response(*answer)

    def below(self, project: str) -> bottle.HTTPResponse:
        """``/ext/pypi/<project>/``: the address without ``simple/``."""
        return found(f"../simple/{names.project(project)}/")

    def slash(self, project: str, **_: str) -> bottle.HTTPResponse:
        """``…/<project>``: the address without its slash."""
        return moved(f"{names.project(project)}/")

    def project_or_slash(self, user: str, index: str, project: str) -> bottle.HTTPResponse:
        """The same, where installers are spared the way."""
        name = names.project(project)
        if name != project or asking.wanted() is not Wanted.SIMPLE:
            return asking.chosen(self.slash(project))
        is_hot = asking.names_form()
        return asking.chosen(self.page(f"{user}/{index}", name, "../", is_hot=is_hot))

    def held_projects(self, user: str, index: str) -> bottle.HTTPResponse:
        """The list of the projects that are in the cache, or that were uploaded."""
        found = self._indexes.find(f"{user}/{index}")
        source, shown = asking.seen(found)
        form, encoding = negotiated()
        key = PageKey(found.name, None, form is Form.JSON, encoding, "", shown)
        title = TITLE if found.mirrored is None else _TITLE_HELD
        rendered = self._pages.listing(key, source, title)
        environ = bottle.request.environ
        answer = page_answer(rendered, form.content_type, key, Origin.HIT, environ, found.is_public)
        return _response(*answer)

    def all_projects(self, user: str, index: str) -> bottle.HTTPResponse:
        """The list of all projects of the index and its bases; with a mirror, a large one."""
        found = self._indexes.find(f"{user}/{index}")
        listed = self._listings.find(found, asking.seen(found)[1])
        if listed is None:
            return self.held_projects(user, index)
        form, encoding = negotiated()
        name = "json" if form is Form.JSON else "html"
        tag = f"{listed.ready.folder}-{name}-{encoding.token}"
        headers = page_headers(tag, listed.origin, is_public=found.is_public)
        if conditional.is_held_by_client(bottle.request.headers.raw("If-None-Match"), tag):
            return bottle.HTTPResponse(b"", "304 Not Modified", headers)
        headers["Content-Type"] = form.content_type
        headers["X-Content-Type-Options"] = "nosniff"
        if encoding is Encoding.IDENTITY:
            headers["Content-Length"] = str(listed.ready.sizes[name])
            is_head = bottle.request.method == "HEAD"
            body = b"" if is_head else listed.lists.identity(listed.ready, name)
            return bottle.HTTPResponse(body, "200 OK", headers)
        file = listed.lists.compressed(listed.ready, name, encoding)
        headers["Content-Encoding"] = encoding.token
        headers["Content-Length"] = str(file.seek(0, 2))
        file.seek(0)
        return bottle.HTTPResponse(file, "200 OK", headers)


def negotiated() -> tuple[Form, Encoding]:
    """The form and the encoding that the current request asks for."""
    wanted = None
    if query := bottle.request.environ.get("QUERY_STRING"):
        wanted = parse_qs(query[:_LONGEST_HEADER]).get("format", [None])[-1]
    accept = bottle.request.headers.raw("Accept", "")[:_LONGEST_HEADER]
    accept_encoding = bottle.request.headers.raw("Accept-Encoding", "")[:_LONGEST_HEADER]
    return _form(accept, wanted), _encoding(accept_encoding)


def moved(location: str) -> bottle.HTTPResponse:
    """301 to a relative address, which holds behind any host, scheme and sub-path.

    Clients keep a 301 for ever, so it is for spelling only (protocol.md 0.12).
    """
    headers = {"Location": location + _query(), "Content-Length": "0", "Cache-Control": "max-age=0"}
    return bottle.HTTPResponse(b"", "301 Moved Permanently", headers)


def found(location: str, *, keep_query: bool = False) -> bottle.HTTPResponse:
    """302 to a relative address."""
    if keep_query:
        location += _query()
    headers = {"Location": location, "Content-Length": "0", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(b"", "302 Found", headers)


def _query() -> str:
    """The query of the request with its question mark, if it has one that can be sent back."""
    query = bottle.request.environ.get("QUERY_STRING", "")
    sound = query and query.isascii() and query.isprintable() and " " not in query
    return f"?{query}" if sound else ""


def _response(status: str, headers: list[tuple[str, str]], body: bytes) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(body, status, dict(headers))
