"""What pip says when it fails, in one line."""

from __future__ import annotations

import pytest

from devpi_server.services.prefetch.pip import reason_of

NO_MATCH = """\
ERROR: Could not find a version that satisfies the requirement x>9 (from versions: 1)
ERROR: No matching distribution found for x>9
"""
CONFLICT = """\
ERROR: Cannot install -r /a/requirements.txt (line 1) and -r /a/requirements.txt (line 2) because \
of conflicting dependencies.
The conflict is caused by:
ERROR: ResolutionImpossible: for help visit http://host/
"""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (NO_MATCH, "pip: No matching distribution found for x>9"),
        (CONFLICT, "pip: Cannot install one and two because of conflicting dependencies."),
        (
            "ERROR: Exception:\nTraceback (most recent call last):\n  x\nTypeError: unhashable\n",
            "pip: TypeError: unhashable",
        ),
        ("/usr/bin/python3: No module named pip\n", "pip: /usr/bin/python3: No module named pip"),
        ("  error: subprocess-exited-with-error\n  ERROR: no gcc\n", "pip: no gcc"),
        ("", "pip: it has failed and does not say why"),
        ("ERROR: -r /x/requirements.txt (line 9)", "pip: a line"),
        ("ERROR: " + "x" * 5000, "pip: " + "x" * 197 + "..."),
    ],
)
def test_why(said: str, reason: str) -> None:
    assert reason_of(said, ["one", "two"]) == reason
