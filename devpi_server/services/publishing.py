"""Releases go to other servers, form by form, as twine sends them.

What has gone out cannot be taken back, so nothing is hidden: each form has its
line in the result, also the ones that were not sent because an earlier one
failed.  A push that failed can be done again: servers take the same file twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from devpi_server import names
from devpi_server.concurrency import Blocking
from devpi_server.errors import (
    CorruptBlob,
    DevpiError,
    OffLimits,
    StoreError,
    Unauthenticated,
)
from devpi_server.services.access import ROOT, Principal
from devpi_server.services.accounts import Origin
from devpi_server.services.indexes import Index
from devpi_server.services.picking import Picked
from devpi_server.services.push_order import Elsewhere, Order
from devpi_server.services.release_forms import Form, ReleaseForms
from devpi_server.store.blobs import Blob, BlobStore
from devpi_server.store.meta import Actor, FileKind, MetaStore
from devpi_server.upstream.addresses import host_of
from devpi_server.upstream.publish import Publisher, Said

log = logging.getLogger(__name__)

Action = tuple[object, ...]  # status, what was done, with what, what was said to it

_UNSENT = -1  # in place of a status, where there was no answer
_NOT_TRIED = HTTPStatus.FAILED_DEPENDENCY
# What is said of one file; whatever else goes wrong would go wrong with the next file, too.
_OF_THE_FILE = {400, 409, 410, 413, 415, 422}
# Of forms that are a courtesy: PyPI takes neither registrations nor documentation any more.
_TOLERATED = {HTTPStatus.GONE}


class Publishing:
    """Takes releases to other servers.

    :param places: each push takes one, as long as it goes on.
    """

    def __init__(
        self, meta: MetaStore, blobs: BlobStore, publisher: Publisher, places: Blocking
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._publisher = publisher
        self._places = places

    def expect_allowed(self, principal: Principal) -> None:
        """:raises Unauthenticated: nobody known sends from our address to others."""
        if principal.user is None:
            raise Unauthenticated("log in first to push to another server")

    def publish(
        self,
        principal: Principal,
        origin: Origin,
        source: Index,
        order: Order,
        picked: Picked,
        to: Elsewhere,
    ) -> tuple[list[Action], bool]:
        """Send the release.

        :return: what was done and said, and whether all of it went well.
        :raises CorruptBlob: a file is missing; nothing has been sent.
        :raises Overloaded: too many requests wait already.
        """
        blobs = dict(self._held(picked))
        forms = ReleaseForms(order, picked, blobs)
        sending = _Sending(self._publisher, forms, source, to)
        where = to.target.url.partition("?")[0]
        what = f"{source.name}/{order.project}/{picked.version}"
        trusted = principal.user == ROOT and principal.scope is None
        actor = Actor(principal.name, origin.address)
        with self._places.place():
            with self._meta.writing(actor) as tables:
                tables.note("publish", what, {"to": where})
            actions = list(sending.all(trusted=trusted))
            ok = all(_is_fine(action) for action in actions)
            try:
                with self._meta.writing(actor) as tables:
                    tables.note("published", what, {"to": where, "ok": ok, "done": actions})
            except StoreError as error:  # what was done is done, and is to be told
                log.error("cannot note what came of %s: %s; %s", what, error.message, actions)
        return actions, ok

    def _held(self, picked: Picked) -> Iterator[tuple[str, Blob]]:
        """Digest and blob of everything that is sent."""
        for file in picked.files:
            if file.kind is FileKind.TOX_RESULT:
                continue
            for sha256 in filter(None, (file.sha256, file.signature, file.provenance)):
                blob = self._blobs.find(sha256)
                if blob is None:
                    raise CorruptBlob(f"{file.filename} is missing from the store, run devpi-fsck")
                yield sha256, blob


@dataclass(frozen=True, slots=True)
class _Sending:
    """One release on its way out."""

    publisher: Publisher
    forms: ReleaseForms
    source: Index
    to: Elsewhere

    def all(self, *, trusted: bool) -> Iterator[Action]:
        """Send all forms, until one fails in a way that the next ones would fail, too."""
        failed = False
        for line, make in self._in_order():
            if failed:
                yield (int(_NOT_TRIED), *line, "not sent, because of what failed before")
                continue
            said = self._said(make, trusted=trusted)
            log.info("pushing to %s: %s %s", host_of(self.to.target.url), said.status, line)
            # Without a text, devpi's lines of these are shorter.
            is_short = not said.text and line[0] != "upload"
            action = (said.status, *line) if is_short else (said.status, *line, said.text)
            is_of_file = line[0] != "register" and said.status in _OF_THE_FILE
            failed = not _is_fine(action) and not is_of_file
            yield action

    def _in_order(self) -> Iterator[tuple[tuple[str, ...], Callable[[], Form]]]:
        """What the result says of each form, and what makes the form."""
        order, files = self.forms.order, self.forms.picked.files
        if self.to.registers:
            yield ("register", order.name, order.version), self.forms.registration
        for file in files:
            if file.kind is FileKind.RELEASE:
                path = names.file_path(file.filename, "", {"sha256": file.sha256})
                line = ("upload", f"{self.source.name}/{path}")
                yield line, partial(self.forms.upload, file)
        for file in files:
            if file.kind is FileKind.DOCS:
                yield ("docfile", order.name), partial(self.forms.documentation, file)

    def _said(self, make: Callable[[], Form], *, trusted: bool) -> Said:
        """What came of a form, also where it did not come to be sent."""
        try:
            return self._post(make(), trusted=trusted)
        except OffLimits:
            return Said(
                int(HTTPStatus.FORBIDDEN),
                f"{host_of(self.to.target.url)} is in a private network, where only root may "
                "push, or whoever --push-networks lets",
            )
        except DevpiError as error:
            return Said(_UNSENT, error.message)

    def _post(self, form: Form, *, trusted: bool) -> Said:
        target = self.to.target
        attested = form.pairs(attested=True)
        said = self.publisher.post(target, attested, form.files, trusted=trusted)
        is_about_them = form.attestations is not None and "attestation" in said.text.lower()
        if said.status != HTTPStatus.BAD_REQUEST or not is_about_them:
            return said
        # Of PyPI, for one: it takes them from its trusted publishers only.
        again = self.publisher.post(target, form.pairs(), form.files, trusted=trusted)
        without = f"without its attestations, because: {said.text}"
        return Said(again.status, f"{again.text} {without}".strip())


def _is_fine(action: Action) -> bool:
    status, what = action[0], action[1]
    if status in _TOLERATED and what != "upload":
        return True
    return isinstance(status, int) and 200 <= status < 300
