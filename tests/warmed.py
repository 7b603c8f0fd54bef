"""Loaded by the process that others are forked from: what a server needs is made once.

A second server is there in an instant, and passwords cost nothing.  Nothing stays open, and no
thread goes on.
"""

from __future__ import annotations

import gc
import threading
from functools import partial
from tempfile import TemporaryDirectory

from crashing import CHEAP
from server import App

from devpi_server import wiring
from devpi_server.services.passwords import Passwords

wiring.Passwords = partial(Passwords, CHEAP)
with TemporaryDirectory() as folder:
    server = App("--datadir", folder, "--offline-mode")
    server("/")
    server.services.close()
    del server
assert threading.active_count() == 1
gc.freeze()  # what is never looked at stays shared
