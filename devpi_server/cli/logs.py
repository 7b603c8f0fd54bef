"""What happens goes to stderr; stdout is left to what other programs read."""

import logging
import sys


def configure(*, debug: bool) -> None:
    """Log from now on."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s [%(levelname)s] %(name)s: %(message)s",
    )
    if not debug:
        # It warns of strange headers, with a traceback; what matters of it is told by our errors.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
