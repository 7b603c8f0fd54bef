"""``python -m devpi_server.pypicache DIR``."""

import sys

from devpi_server.cli.pypicache import main

if __name__ == "__main__":
    sys.exit(main())
