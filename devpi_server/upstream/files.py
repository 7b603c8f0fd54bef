"""Fetching files: one fetch a file, however many clients and processes want it.

The first who asks starts the download; who comes later joins it.  Between
processes a lock decides who downloads; the others *shadow* it: they read the
growing file of the first, and take over if it dies.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass

from devpi_server import names
from devpi_server.concurrency import Alarm, Crew, SingleFlight, land
from devpi_server.errors import Corrupt, DevpiError, NoSuchFile, StoreError, TimedOut, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Link
from devpi_server.store.blobs import Blob, IncomingBlob
from devpi_server.store.heldfiles import HeldFile
from devpi_server.store.locks import Lock, Locks
from devpi_server.upstream.arriving import HELD_BACK, Arriving
from devpi_server.upstream.base import PATIENT, Absent, NotModified, Stream, UpstreamClient
from devpi_server.upstream.shelf import Shelf
from devpi_server.upstream.wheels import WheelMetadata

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.02  # seconds between two looks at another process's download
_OPENERS, _DOWNLOADS, _READERS = 32, 64, 8  # threads
_READ_IN_ALL = 6  # times the timeout: metadata that is read from afar in many parts


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch."""

    path: str  # under which the index serves it
    project: NormalizedName
    link: Link


class FileFetcher:
    """Fetches and holds the files of one mirror.

    :param scope: the mirror's name; keeps its downloads apart from other mirrors'.
    :param timeout: seconds; a client waits for upstream's status a few times as long.
    """

    def __init__(
        self,
        *,
        scope: str,
        client: UpstreamClient,
        shelf: Shelf,
        wheels: WheelMetadata,
        locks: Locks,
        timeout: float,
        offline: bool,
    ) -> None:
        self._scope = scope
        self._client = client
        self._shelf = shelf
        self._wheels = wheels
        self._locks = locks
        self._timeout = timeout
        self._offline = offline
        openers = Crew("open", _OPENERS)
        self._flights: SingleFlight[Arriving | HeldFile] = SingleFlight(openers)
        self._sizes: SingleFlight[int | None] = SingleFlight(openers)
        # Of their own: files are not to wait for what is read in many steps.
        self._readings: SingleFlight[bool] = SingleFlight(Crew("metadata", _READERS))
        self._crew = Crew("download", _DOWNLOADS)
        self._alarm = Alarm()
        self._guard = threading.Lock()
        self._under_way: dict[str, Arriving] = {}

    @property
    def arriving(self) -> int:
        """How many downloads are under way."""
        return len(self._under_way)

    def find(self, path: str) -> tuple[HeldFile, Blob] | None:
        """The file, if it is held. No network.

        :raises StoreError: the disk is sick.
        """
        return self._shelf.find(path)

    def drop(self, path: str) -> str | None:
        """Hold the file no longer, so that it is fetched again; return its sha256 if it was held.

        The metadata of a wheel goes with it.  The bytes stay where they are, because others may
        hold them, too.
        """
        held = self._shelf.drop(path)
        self._shelf.drop(path + names.METADATA)
        return held.sha256 if held is not None else None

    def was_awaited(self, path: str) -> bool:
        """Whether the current request, in an earlier run, has waited for this file to be joined."""
        return self._flights.was_awaited(path)

    def join(self, wanted: Wanted) -> Arriving | HeldFile:
        """Start or join the one download of this file; upstream's status is known then.

        :raises NoSuchFile: upstream does not have it, or may not be asked.
        :raises UpstreamError: cannot tell.
        """
        if self._offline:
            raise NoSuchFile(f"{wanted.link.filename} is not in the cache")
        with self._guard:
            arriving = self._under_way.get(wanted.path)
        if arriving is not None:
            return arriving
        return self._flights.do(wanted.path, lambda: self._open(wanted), self._timeout * PATIENT)

    def size(self, wanted: Wanted) -> int | None:
        """The size of the file in bytes, without fetching it; None: upstream does not tell.

        :raises NoSuchFile: upstream does not have it, or may not be asked.
        :raises UpstreamError: cannot tell.
        """
        with self._guard:
            arriving = self._under_way.get(wanted.path)
        if arriving is not None and arriving.length is not None:
            return arriving.length
        if wanted.link.size is not None:
            return wanted.link.size
        if self._offline:
            raise NoSuchFile(f"{wanted.link.filename} is not in the cache")
        return self._sizes.do(wanted.path, lambda: self._ask_size(wanted), self._timeout * PATIENT)

    def _ask_size(self, wanted: Wanted) -> int | None:
        size = self._client.size(wanted.link.url)
        if isinstance(size, Absent):
            raise NoSuchFile(f"upstream has no file {wanted.link.filename}")
        return size

    def is_being_kept(self, path: str) -> Future[HeldFile] | None:
        """Lands in a moment, if the file has just been received in whole."""
        with self._guard:
            arriving = self._under_way.get(path)
        return arriving.finished if arriving is not None and arriving.is_verified() else None

    def settle(self, seconds: float) -> None:
        """Let the files that have been received in whole be kept, before the process ends."""
        deadline = time.monotonic() + seconds
        with self._guard:
            received = [each for each in self._under_way.values() if each.is_verified()]
        if received:
            log.info("keeping what has been received: %d files", len(received))
        for each in received:
            land(each.finished, max(0.0, deadline - time.monotonic()))

    def metadata_of(
        self, wheel: HeldFile, promised: str | None = None
    ) -> tuple[HeldFile, Blob] | None:
        """The metadata of a held wheel, made from it; None: it has none, or not the promised."""
        made = self._wheels.of_held(wheel, promised)
        return self._shelf.find(made.path) if made is not None else None

    def read_metadata(self, wanted: Wanted) -> bool:
        """Read the metadata of a wheel that is not held from upstream, without fetching it.

        :param wanted: the wheel.
        :return: whether it is held now.
        :raises UpstreamError: cannot tell in time.
        """
        if self._offline:
            return False
        return self._readings.do(
            wanted.path, lambda: self._read_metadata(wanted), self._timeout * PATIENT
        )

    def _read_metadata(self, wheel: Wanted) -> bool:
        deadline = time.monotonic() + self._timeout * _READ_IN_ALL
        return self._wheels.of_remote(wheel.path, wheel.project, wheel.link, deadline) is not None

    # Opening: on a thread of the flights.

    def _open(self, wanted: Wanted) -> Arriving | HeldFile:
        deadline = time.monotonic() + self._timeout * PATIENT
        while time.monotonic() < deadline:
            with self._guard:
                arriving = self._under_way.get(wanted.path)
            if arriving is not None:
                return arriving
            # The lock first: who finishes a download records it before letting go.
            lock = self._locks.try_hold(self._key(wanted))
            try:
                found = self.find(wanted.path)
            except BaseException:
                if lock is not None:
                    lock.release()
                raise
            if found is not None:
                if lock is not None:
                    lock.release()
                return found[0]
            if lock is not None:
                return self._start(wanted, lock)
            shadowed = self._shadow(wanted)
            if shadowed is not None:
                return shadowed
            time.sleep(_LOOK_EVERY)
        raise TimedOut("another process is waiting for upstream's answer")

    def _key(self, wanted: Wanted) -> str:
        return hashlib.sha256(f"{self._scope} {wanted.path}".encode()).hexdigest()[:32]

    def _start(self, wanted: Wanted, lock: Lock) -> Arriving:
        """Ask upstream for the file; a body of any size is received on a thread of its own."""
        stack = ExitStack()
        try:
            stream = self._ask(wanted, stack)
        except BaseException:
            stack.close()
            lock.release()
            raise
        arriving = Arriving(_length(wanted, stream), self._alarm)
        self._begin(wanted, arriving)
        if arriving.length is not None and arriving.length <= HELD_BACK:
            # Nothing of it is released before its end, so who waits may as well wait for that.
            self._download(wanted, arriving, lock, stream, stack)
            return arriving
        try:
            self._crew.submit(lambda: self._download(wanted, arriving, lock, stream, stack))
        except RuntimeError as error:  # no thread to be had
            self._forget(wanted)
            stack.close()
            lock.release()
            raise StoreError(f"cannot download {wanted.link.filename}: {error}") from error
        return arriving

    def _begin(self, wanted: Wanted, arriving: Arriving) -> None:
        with self._guard:
            self._under_way[wanted.path] = arriving

    def _ask(self, wanted: Wanted, stack: ExitStack) -> Stream:
        """Upstream's answer, once its head has turned out to be that of this file."""
        filename = wanted.link.filename
        stream = stack.enter_context(self._client.stream(wanted.link.url))
        if isinstance(stream, Absent):
            raise NoSuchFile(f"upstream has no file {filename}")
        if isinstance(stream, NotModified):
            raise Corrupt(f"upstream says that {filename} is not modified, unasked")
        if not wanted.link.digests:
            # Nothing will tell these bytes from others later, so be strict now.
            if stream.encoded:
                raise Corrupt(f"upstream sends {filename} in a content encoding")
            if stream.content_type.startswith("text/html") and not filename.endswith(".html"):
                raise Corrupt(f"upstream sends a web page in place of {filename}")
        size = wanted.link.size
        if size is not None and stream.length not in (None, size):
            raise _changed(filename, "length")
        return stream

    # Downloading: on a thread of the crew.

    def _download(
        self, wanted: Wanted, arriving: Arriving, lock: Lock, stream: Stream, stack: ExitStack
    ) -> None:
        """Receive, verify and hold the file, with a second try if somebody still waits."""
        try:
            arriving.finish(self._attempt(wanted, arriving, stream, stack))
            self._forget(wanted)
        except (UpstreamError, NoSuchFile) as failure:
            self._fail(wanted, arriving, failure)
        except StoreError as failure:
            log.error("download of %s failed: %s", wanted.link.filename, failure.message)
            self._fail(wanted, arriving, failure)
        except BaseException:
            log.exception("download of %s failed", wanted.link.filename)
            self._fail(wanted, arriving, StoreError("the download failed, see the server's log"))
        finally:
            lock.release()
            stack.close()
        if arriving.finished.exception() is None:
            self._wheels.complete(arriving.finished.result(), wanted.link)

    def _attempt(
        self, wanted: Wanted, arriving: Arriving, stream: Stream, stack: ExitStack
    ) -> HeldFile:
        for is_last in (False, True):
            try:
                with stack:
                    if is_last:
                        stream = self._ask(wanted, stack)
                    blob = self._receive(wanted, arriving, stream)
                    return self._shelf.put(wanted.path, wanted.project, wanted.link, blob)
            except (UpstreamError, NoSuchFile) as failure:
                log.warning("download of %s failed: %s", wanted.link.filename, failure.message)
                if is_last or not arriving.is_awaited():
                    raise
        raise AssertionError  # the loop has returned or raised

    def _receive(self, wanted: Wanted, arriving: Arriving, stream: Stream) -> Blob:
        """One attempt. The bytes are released to the readers as they come."""
        length = _length(wanted, stream)
        prefix = f"{self._key(wanted)}.{'' if length is None else length}."
        incoming = self._shelf.blobs.incoming(prefix)
        try:
            arriving.begin(incoming.reader())
            check = _Check(wanted.link)
            for chunk in stream.chunks():
                if length is not None and incoming.size + len(chunk) > length:
                    raise Corrupt(f"upstream sends {wanted.link.filename} longer than it says")
                incoming.write(chunk)
                check.update(chunk)
                arriving.advance(incoming.size)
            check.verify(incoming, length)
            arriving.release(incoming.size)
            return incoming.commit()
        finally:
            incoming.abandon()

    # Shadowing another process's download.

    def _shadow(self, wanted: Wanted) -> Arriving | None:
        """Join the download of another process, once it has begun to receive."""
        found = self._shelf.blobs.under_way(f"{self._key(wanted)}.")
        if found is None:
            return None
        name, fd = found
        length = name.split(".")[1]
        arriving = Arriving(int(length) if length else None, self._alarm)
        arriving.begin(fd)
        self._begin(wanted, arriving)
        self._crew.submit(lambda: self._follow(wanted, arriving, name, fd))
        return arriving

    def _follow(self, wanted: Wanted, arriving: Arriving, name: str, fd: int) -> None:
        """Pass on what the other process receives, until it has finished, or has died."""
        lock: Lock | None = None
        try:
            while (lock := self._locks.try_hold(self._key(wanted))) is None:
                arriving.advance(os.fstat(fd).st_size)
                found = self._shelf.blobs.under_way(f"{self._key(wanted)}.")
                if found is not None:
                    if found[0] == name:
                        os.close(found[1])
                    else:  # its second try
                        name, fd = found
                        arriving.begin(fd)
                time.sleep(_LOOK_EVERY)
            held = self.find(wanted.path)
            # Its last try may have come and gone between two looks, or this was a dead one's part.
            if held is not None and not os.path.samestat(os.fstat(fd), os.stat(held[1].path)):
                arriving.begin(os.open(held[1].path, os.O_RDONLY | os.O_CLOEXEC))
        except (StoreError, OSError) as error:
            self._forget(wanted)
            if lock is not None:
                lock.release()
            arriving.fail(StoreError(f"cannot read what another process downloads: {error}"))
            return
        if held is None:
            self._take_over(wanted, arriving, lock)
            return
        lock.release()
        self._forget(wanted)
        arriving.release(held[0].size)
        arriving.finish(held[0])

    def _take_over(self, wanted: Wanted, arriving: Arriving, lock: Lock) -> None:
        """The other process has failed: download for those who have no byte of its yet."""
        stack = ExitStack()
        try:
            if not arriving.is_awaited():
                raise TimedOut("the download of another process failed")
            stream = self._ask(wanted, stack)
        except DevpiError as error:
            stack.close()
            self._forget(wanted)
            lock.release()
            arriving.fail(error)
            return
        self._download(wanted, arriving, lock, stream, stack)

    def _fail(self, wanted: Wanted, arriving: Arriving, error: DevpiError) -> None:
        self._forget(wanted)  # before anybody hears of it: who then asks again is not to join it
        arriving.fail(error)

    def _forget(self, wanted: Wanted) -> None:
        with self._guard:
            self._under_way.pop(wanted.path, None)


class _Check:
    """Digests of what arrives, against what the index says."""

    def __init__(self, link: Link) -> None:
        self._link = link
        # The blob store computes sha256; the others count only where that is missing.
        others = {} if "sha256" in link.digests else link.digests
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in others}

    def update(self, chunk: bytes) -> None:
        for digest in self._hashes.values():
            digest.update(chunk)

    def verify(self, incoming: IncomingBlob, length: int | None) -> None:
        """Raise Corrupt unless everything that is known of the file is true."""
        filename = self._link.filename
        for expected in (length, self._link.size):
            if expected is not None and incoming.size != expected:
                raise Corrupt(f"upstream sends {incoming.size} of {expected} bytes of {filename}")
        digests = {name: digest.hexdigest() for name, digest in self._hashes.items()}
        digests["sha256"] = incoming.sha256
        for name, digest in digests.items():
            if self._link.digests.get(name, digest) != digest:
                raise _changed(filename, name)


def _changed(filename: str, what: str) -> Corrupt:
    """Loud: the file was overwritten, or the index or the one who sends it is not honest."""
    log.error(
        "refusing %s: upstream sends other bytes than its index states, or than it sent first: "
        "the %s is wrong",
        filename,
        what,
    )
    return Corrupt(f"upstream sends other bytes as {filename}: the {what} is wrong")


def _length(wanted: Wanted, stream: Stream) -> int | None:
    return wanted.link.size if stream.length is None else stream.length
