"""Where tools look for the server's entry point: ``devpi_server.main:main``."""

from devpi_server.cli.dispatch import main

__all__ = ["main"]
