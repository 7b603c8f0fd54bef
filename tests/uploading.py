"""Upload forms, as clients send them."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence

from server import Client, Response
from upstream.artefacts import Artefact

_BOUNDARY = "b" * 40
Files = Mapping[str, tuple[str, bytes]]
Fields = Mapping[str, str | Sequence[str]]


def basic(user: str, password: str) -> dict[str, str]:
    """The header of Basic authentication."""
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def encoded(fields: Fields, files: Files) -> tuple[str, bytes]:
    """Content type and body of a multipart form."""
    parts = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        for name, values in fields.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    for name, (filename, data) in files.items():
        head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + data)
    separator = f"--{_BOUNDARY}".encode()
    body = b"".join(separator + b"\r\n" + part + b"\r\n" for part in parts)
    return f"multipart/form-data; boundary={_BOUNDARY}", body + separator + b"--\r\n"


def post(
    server: Client, index: str, fields: Fields, files: Files, headers: Mapping[str, str]
) -> Response:
    """Send a form to the index."""
    content_type, body = encoded(fields, files)
    sent = {"Content-Type": content_type, **headers}
    return server(f"/{index}/", sent, method="POST", body=body)


def upload(
    server: Client,
    index: str,
    artefact: Artefact,
    headers: Mapping[str, str],
    *,
    signature: bytes | None = None,
    **fields: str,
) -> Response:
    """Upload a file as twine does."""
    name, version = artefact.filename.removesuffix(".tar.gz").split("-")[:2]
    form = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": name,
        "version": version,
        "metadata_version": "2.2",
        "filetype": "bdist_wheel" if artefact.filename.endswith(".whl") else "sdist",
        "sha256_digest": hashlib.sha256(artefact.data).hexdigest(),
        **fields,
    }
    files = {"content": (artefact.filename, artefact.data)}
    if signature is not None:
        files["gpg_signature"] = (f"{artefact.filename}.asc", signature)
    return post(server, index, form, files, headers)
