"""What happens goes to stderr; stdout is left to what other programs read."""

import logging
import sys


def configure(*, debug: bool, quietly: bool = False) -> None:
    """Log from now on.

    :param quietly: only what is wrong, as is fit for a command that tells by itself what it does.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    usual = logging.WARNING if quietly else logging.INFO
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else usual,
        format="%(asctime)s [%(levelname)s] %(name)s: %(message)s",
    )
    if not debug:
        # It warns of strange headers, with a traceback; what matters of it is told by our errors.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
