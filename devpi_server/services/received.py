"""What a client has sent: a form's fields in memory, its files on disk, not kept yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devpi_server.errors import DigestMismatch, InvalidForm
from devpi_server.store.blobs import IncomingBlob

# The fields in which clients state digests of the file, and what they are called here.
_DIGESTS = {
    "sha256_digest": "sha256",
    "md5_digest": "md5",
    "blake2_256_digest": "blake2b_256",
}


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file of a form, received whole. Who wants to keep it commits ``incoming``."""

    filename: str  # as it was sent: any text
    incoming: IncomingBlob
    size: int
    # In hex, of the bytes that arrived.
    sha256: str
    md5: str
    blake2b_256: str


@dataclass(frozen=True, slots=True)
class Form:
    """A form: the values of each field in the order in which they came, and the files."""

    fields: Mapping[str, tuple[str, ...]]
    files: Mapping[str, ReceivedFile]

    def one(self, name: str) -> str | None:
        """The field's value without the space around it; None where it is missing or empty.

        :raises InvalidForm: it has several values, so nobody knows which one counts.
        """
        found = set(self.many(name))
        if len(found) > 1:
            raise InvalidForm(f"the form has several values for {name}")
        return found.pop() if found else None

    def many(self, name: str) -> tuple[str, ...]:
        """The field's values without the space around them; empty ones are left out."""
        stripped = (value.strip() for value in self.fields.get(name, ()))
        return tuple(value for value in stripped if value)


def expect_digests(form: Form, content: ReceivedFile) -> None:
    """Let pass the bytes that the client has, by what the form says of them.

    :raises DigestMismatch: others arrived.
    """
    for field, attribute in _DIGESTS.items():
        declared = form.one(field)
        if declared is not None and declared.lower() != getattr(content, attribute):
            raise DigestMismatch(
                f"{content.filename[:200]} arrived with another {field.partition('_')[0]} than the "
                "form says, send it again"
            )
