"""The metadata of a release under the names that devpi shows (devpi.md 1.6)."""

from __future__ import annotations

from devpi_server.services.artefact import Artefact
from devpi_server.services.received import Form

SCALARS = (
    "name", "version", "metadata_version", "summary", "home_page", "author", "author_email",
    "maintainer", "maintainer_email", "license", "description", "keywords", "download_url",
    "comment", "requires_python", "description_content_type", "license_expression",
)  # fmt: skip
LISTS = (
    "platform", "supported_platform", "classifiers", "provides", "requires", "obsoletes",
    "project_urls", "provides_dist", "obsoletes_dist", "requires_dist", "requires_external",
    "provides_extras", "dynamic", "license_file", "import_names", "import_namespaces",
)  # fmt: skip
# What clients call differently.
_ALSO = {
    "provides_extras": ("provides_extra",),
    "license_file": ("license_files",),
    "project_urls": ("project_url",),
    "classifiers": ("classifier",),
}
_UNKNOWN = "UNKNOWN"  # how setuptools wrote that a field is not given


def of_form(form: Form) -> dict[str, object]:
    """What the form says, and says it of."""
    fields: dict[str, object] = {}
    for name in SCALARS:
        values = [value for value in form.many(name) if value != _UNKNOWN]
        if values:
            fields[name] = values[-1]
    for name in LISTS:
        found = [value for each in (name, *_ALSO.get(name, ())) for value in form.many(each)]
        values = [value for value in found if value != _UNKNOWN]
        if values:
            fields[name] = values
    return fields


def of_artefact(artefact: Artefact) -> dict[str, object]:
    """What the file says of itself."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in artefact.fields.items()
    }
