"""Attestations that come with an upload, as installers are to find them (PEP 740)."""

from __future__ import annotations

from typing import Any

import orjson

from devpi_server.errors import InvalidForm
from devpi_server.services.received import Form

_MOST = 20  # attestations of a file


def of_form(form: Form) -> bytes | None:
    """The provenance object of the attestations that the form has; None: it has none.

    Who made them is for those to verify who read them: we pass on what was sent, under the
    name of no publisher.

    :raises InvalidForm: they are not a list of attestations.
    """
    text = form.one("attestations")
    if text is None:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidForm(f"the attestations are not JSON: {error}") from error
    if not isinstance(found, list) or len(found) > _MOST:
        raise InvalidForm(f"the attestations are not a list of at most {_MOST}")
    for each in found:
        if (
            not isinstance(each, dict)
            or not {"version", "verification_material", "envelope"} <= each.keys()
        ):
            raise InvalidForm("an attestation has no version, verification_material and envelope")
    if not found:
        return None
    bundle = {"publisher": None, "attestations": found}
    return orjson.dumps({"version": 1, "attestation_bundles": [bundle]})


def attestations(document: bytes) -> list[dict[str, Any]]:
    """The attestations of a provenance object, whoever published them; none if it is no such."""
    try:
        found: Any = orjson.loads(document)
        bundles = [bundle["attestations"] for bundle in found["attestation_bundles"]]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return []
    return [
        each
        for bundle in bundles
        if isinstance(bundle, list)
        for each in bundle
        if isinstance(each, dict)
    ]
