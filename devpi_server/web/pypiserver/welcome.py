"""The page at ``/``: a template of bottle's, ours or somebody's."""

from __future__ import annotations

import bottle

from devpi_server.errors import ConfigError

_OURS = """\
<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Packages</title>
  </head>
  <body>
    <h1>Welcome</h1>
    <p>This is a PyPI compatible package index serving {{NUMPKGS}} packages.</p>
    <p>To install from it with pip:</p>
    <pre>pip install --index-url {{URL}}simple/ PACKAGE [PACKAGE2...]</pre>
    <p>with uv:</p>
    <pre>uv pip install --index-url {{URL}}simple/ PACKAGE [PACKAGE2...]</pre>
    <p>or with easy_install:</p>
    <pre>easy_install --index-url {{URL}}simple/ PACKAGE [PACKAGE2...]</pre>
    <p>
      All files are <a href="{{PACKAGES}}">here</a>, and all projects in the
      <a href="{{SIMPLE}}">simple</a> index.
    </p>
    <p>This is pypi-server of devpi-server {{VERSION}}.</p>
  </body>
</html>
"""
_VARIABLES = dict.fromkeys(("URL", "VERSION", "NUMPKGS", "PACKAGES", "SIMPLE"), "")


def template(text: str | None) -> bottle.SimpleTemplate:
    """The template of a text; None: ours.

    :raises ConfigError: it is not one, or wants something else than it gets.
    """
    made = bottle.SimpleTemplate(source=_OURS if text is None else f"{text}\n")
    try:
        made.render(_VARIABLES)
    except Exception as error:
        raise ConfigError([f"--welcome: the page cannot be shown: {error}"]) from error
    return made
