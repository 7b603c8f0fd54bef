"""The exception tree.

::

    DevpiError
    ├── NotFound        the thing is known not to be there
    │   ├── NoSuchUser
    │   ├── NoSuchIndex
    │   ├── NoSuchProject
    │   ├── NoSuchVersion
    │   └── NoSuchFile
    │       └── Gone            it was there
    ├── Refused         the request is at fault
    │   ├── InvalidName
    │   ├── BadRequest      what was sent cannot be used
    │   │   ├── InvalidForm
    │   │   ├── InvalidArtefact
    │   │   └── DigestMismatch
    │   ├── BadDump         what is to be imported cannot be
    │   ├── TooLarge        it has more bytes, or parts, than we take
    │   ├── Unauthenticated  nobody known has asked, and only somebody known may
    │   ├── Conflict        it does not go with what is there
    │   ├── TooManyAttempts too many wrong passwords; carries Retry-After
    │   └── Forbidden       known, and not to be had
    │       └── BlockedByPolicy
    ├── UpstreamError   cannot tell: upstream is at fault, or out of reach
    │   ├── Unreachable     no connection, or it broke
    │   ├── TimedOut        no answer within the deadline
    │   ├── Failed          upstream says 5xx; may carry Retry-After
    │   ├── Denied          upstream says 401, 403, 429; may carry Retry-After
    │   ├── Corrupt         an answer that is not what it claims to be
    │   │   └── OffLimits       it leads to a network that it has no business with
    │   ├── Unsupported     upstream does not offer this at all
    │   └── FeedWentBack    upstream's serial is below the one that it had before
    ├── Overloaded      no capacity for this just now
    ├── StoreError      the disk is at fault
    │   ├── Full
    │   ├── Busy            others write, for longer than one can wait
    │   └── CorruptBlob     what cannot be fetched again is not as it was
    └── ConfigError     the configuration is at fault; collects all faults

No HTTP codes and no exit codes here: ``web.plugins`` and ``cli`` hold one
table each.  The message is one line that a user can act on.
"""

from __future__ import annotations

from collections.abc import Sequence


class DevpiError(Exception):
    """Root of everything that this package raises on purpose.

    :param message: one line for the user.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(DevpiError):
    """The thing asked for is known not to exist."""


class NoSuchUser(NotFound):
    """No user has this name."""


class NoSuchIndex(NotFound):
    """No index has this name."""


class NoSuchProject(NotFound):
    """The index is known not to have this project."""


class NoSuchVersion(NotFound):
    """The project is known not to have this version."""


class NoSuchFile(NotFound):
    """The index is known not to have this file."""


class Gone(NoSuchFile):
    """The index had this file, and somebody has removed it."""


class Refused(DevpiError):
    """The request itself is at fault."""


class InvalidName(Refused):
    """A project, index or file name that no standard allows."""


class BadRequest(Refused):
    """What the client sent cannot be used as it is."""


class InvalidForm(BadRequest):
    """A field of the form is missing, or says what it must not."""


class InvalidArtefact(BadRequest):
    """A distribution file is not what its name or the form says, or nobody could install it."""


class DigestMismatch(BadRequest):
    """The bytes that arrived are not those that the client has a digest of."""


class BadDump(Refused):
    """A folder that is no dump, or one that cannot be imported as it is."""


class TooLarge(Refused):
    """What was sent has more bytes, or more parts, than we take."""


class Unauthenticated(Refused):
    """Only somebody known may do this, and who asks is not."""


class Conflict(Refused):
    """What is there already does not let it be."""


class TooManyAttempts(Refused):
    """Too many wrong passwords came from there.

    :param retry_after: seconds after which to try again.
    """

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Forbidden(Refused):
    """What was asked for is there, and this client may not have it."""


class BlockedByPolicy(Forbidden):
    """Nobody may have it; the message says which policy says so."""


class UpstreamError(DevpiError):
    """Upstream cannot be asked, or its answer cannot be used: "cannot tell".

    :param retry_after: seconds after which upstream asked to be tried again.
    :param status: upstream's HTTP status, where it gave one.
    """

    def __init__(
        self, message: str, *, retry_after: int | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class Unreachable(UpstreamError):
    """No connection to upstream, or it broke off."""


class TimedOut(UpstreamError):
    """Upstream did not answer within the deadline."""


class Failed(UpstreamError):
    """Upstream answered with a server error."""


class Denied(UpstreamError):
    """Upstream refuses us: 401, 403 or 429."""


class Corrupt(UpstreamError):
    """Upstream's answer is not what it claims to be, or is beyond our limits."""


class OffLimits(Corrupt):
    """A link or redirect to a network that upstream has no business to send us to."""


class Unsupported(UpstreamError):
    """Upstream does not offer this at all, as far as one can see from outside."""


class FeedWentBack(UpstreamError):
    """The change feed has a serial below the one that it had before.

    :param serial: the one that it has now.
    """

    def __init__(self, message: str, *, serial: int) -> None:
        super().__init__(message)
        self.serial = serial


class Overloaded(DevpiError):
    """Too many requests wait already.

    :param retry_after: seconds after which to try again.
    """

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreError(DevpiError):
    """The disk did not do what was asked of it."""


class Full(StoreError):
    """No space left where the data directory is."""


class Busy(StoreError):
    """Others write, for longer than one can wait; it can be tried again."""


class CorruptBlob(StoreError):
    """Content that was uploaded is missing, or not what it was."""


class ConfigError(DevpiError):
    """Faults of the configuration, all of them at once.

    :param faults: one sentence a fault.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)
