"""``python -m devpi_server``."""

import sys

from devpi_server.main import main

if __name__ == "__main__":
    sys.exit(main())
