"""Projects, versions and files over HTTP, as devpi-client shows and removes them (devpi.md 1.6).

At a project's address, installers find its page, and people the way to it.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

import bottle

from devpi_server import names
from devpi_server.errors import BadRequest
from devpi_server.names import NormalizedName
from devpi_server.services import access, verdata
from devpi_server.services.indexes import Indexes, MayRead
from devpi_server.services.releases import By, Releases
from devpi_server.simple import render
from devpi_server.web import asking, bodies, envelope
from devpi_server.web.asking import Wanted
from devpi_server.web.outside import root_url
from devpi_server.web.simple import SimplePages, found


class ProjectsApi:
    """The handlers."""

    def __init__(self, indexes: Indexes, releases: Releases, simple: SimplePages) -> None:
        self._indexes = indexes
        self._releases = releases
        self._simple = simple

    # Showing

    def project(self, user: str, index: str, project: str) -> bottle.HTTPResponse:
        """``GET /<user>/<index>/<project>``."""
        name = names.project(project)
        slash = "/" if bottle.request.path.endswith("/") else ""
        up = "../" if slash else ""
        wanted = asking.wanted()
        if name != project:
            answer = found(f"{up}{name}{slash}", keep_query=True)
        elif wanted is Wanted.JSON:
            answer = self._described(f"{user}/{index}", name)
        elif wanted is Wanted.SIMPLE:
            answer = self._simple.page(
                f"{user}/{index}", name, up or "./", is_hot=asking.names_form()
            )
        else:
            answer = found(f"{up}+simple/{name}/")
        return asking.chosen(answer)

    def _described(self, index: str, name: NormalizedName) -> bottle.HTTPResponse:
        ignore_bases = "ignore_bases" in bottle.request.query
        result = verdata.of_project(
            self._indexes.find(index), name, _may_read(name), _place, ignore_bases=ignore_bases
        )
        return envelope.answer("projectconfig", result)

    def version(self, user: str, index: str, project: str, version: str) -> bottle.HTTPResponse:
        """``GET /<user>/<index>/<project>/<version>``."""
        name = names.project(project)
        if name != project:
            slash = "/" if bottle.request.path.endswith("/") else ""
            up = "../../" if slash else "../"
            return found(f"{up}{name}/{quote(version, safe='~')}{slash}", keep_query=True)
        target = self._indexes.find(f"{user}/{index}")
        result = verdata.of_version(target, name, version, _may_read(name), _place)
        return envelope.answer("versiondata", result)

    # Deleting

    def delete(self, user: str, index: str, project: str) -> bottle.HTTPResponse:
        """``DELETE /<user>/<index>/<project>``."""
        name = names.project(project)
        self._releases.delete_project(_by(), f"{user}/{index}", name)
        return envelope.message(f"project {name} deleted from stage {user}/{index}")

    def delete_version(
        self, user: str, index: str, project: str, version: str
    ) -> bottle.HTTPResponse:
        """``DELETE /<user>/<index>/<project>/<version>``."""
        name = names.project(project)
        self._releases.delete_version(_by(), f"{user}/{index}", name, version)
        return envelope.message(f"project {name!r} version {version!r} deleted")

    def delete_file(
        self, user: str, index: str, head: str, tail: str, file: str
    ) -> bottle.HTTPResponse:
        """``DELETE …/+f/…``."""
        return self._delete_file(f"{user}/{index}", f"+f/{head}/{tail}/{file}")

    def delete_unhashed(self, user: str, index: str, folder: str, file: str) -> bottle.HTTPResponse:
        """``DELETE …/+e/…``."""
        return self._delete_file(f"{user}/{index}", f"+e/{folder}/{file}")

    def _delete_file(self, index: str, path: str) -> bottle.HTTPResponse:
        self._releases.delete_file(_by(), index, path)
        return envelope.message(f"package '{index}/{path}' deleted")

    # Yanking

    def yank(self, user: str, index: str, project: str, version: str) -> bottle.HTTPResponse:
        """``POST /<user>/<index>/<project>/<version>/+yank``."""
        name = names.project(project)
        self._releases.yank(_by(), f"{user}/{index}", name, version, _reason())
        return envelope.message(f"{name} {version} is yanked on {user}/{index}")

    def unyank(self, user: str, index: str, project: str, version: str) -> bottle.HTTPResponse:
        """``DELETE …/+yank``."""
        name = names.project(project)
        self._releases.unyank(_by(), f"{user}/{index}", name, version)
        return envelope.message(f"{name} {version} is not yanked on {user}/{index}")

    def yank_file(
        self, user: str, index: str, head: str, tail: str, file: str
    ) -> bottle.HTTPResponse:
        """``POST …/+f/…/+yank``: one file of a release."""
        path = f"+f/{head}/{tail}/{file}"
        self._releases.yank_file(_by(), f"{user}/{index}", path, _reason())
        return envelope.message(f"{file} is yanked on {user}/{index}")

    def unyank_file(
        self, user: str, index: str, head: str, tail: str, file: str
    ) -> bottle.HTTPResponse:
        """``DELETE …/+f/…/+yank``."""
        self._releases.unyank_file(_by(), f"{user}/{index}", f"+f/{head}/{tail}/{file}")
        return envelope.message(f"{file} is not yanked on {user}/{index}")

    # Mirrors

    def refresh(self, user: str, index: str, project: str) -> bottle.HTTPResponse:
        """``POST …/+simple/<project>/refresh``: its page is asked for anew.

        Of upstream it is asked when somebody reads it, as the answer says to do; then it is found
        out which mirrors may be told the name.
        """
        name = names.project(project)
        may_read = _may_read(name)
        for member, options in self._indexes.find(f"{user}/{index}").readers.items():
            mirrored = self._indexes.find(member).mirrored if may_read(options) else None
            if mirrored is not None:
                mirrored.mirror.pages.expire(name)
        return found(f"../{name}/" if name != project else "./")


def _may_read(name: NormalizedName) -> MayRead:
    return partial(access.may_read, asking.principal(), projects=(name,))


def _place(index: str, path: str) -> str:
    return f"{root_url(bottle.request.environ)}/{index}/{render.quoted(path)}"


def _by() -> By:
    is_forced = "force" in bottle.request.query
    return By(asking.principal(), asking.origin().address, is_forced=is_forced)


def _reason() -> str:
    """Why it is yanked; a body need not be there."""
    if bottle.request.content_length <= 0 and not bottle.request.chunked:
        return ""
    words = bodies.json_body()
    reason = words.get("reason", "") if isinstance(words, dict) else None
    if not isinstance(reason, str):
        raise BadRequest('send {"reason": "why"}')
    return reason
