"""A package index that tests and benchmarks can script: it plays PyPI on loopback, or a sick one.

Standard library only.  ``with Upstream() as up: up.release("demo", "1.0")``.

* ``answers``: requests, bodies, answers and how they are sent
* ``artefacts``: wheels and sdists; ``content``: projects, files, the journal
* ``pages`` renders, ``index`` routes, ``sockets`` sends
* ``faults`` and ``floods`` spoil answers, ``rules`` say which
* ``server``: ``Upstream``, all of it in one object
"""

from .answers import Headers, Request
from .content import Catalog, File, Project
from .faults import (
    AddHeaders,
    Chunked,
    CloseAtAccept,
    CloseUnanswered,
    Cut,
    CutHead,
    Fault,
    GzipEncoded,
    HangBeforeAnswer,
    HangInBody,
    Latency,
    NoLength,
    OldSerial,
    Redirect,
    ResetKeepAlive,
    RpcFault,
    Slow,
    SlowHead,
    Status,
    StripHeaders,
    Substitute,
    WrongLength,
)
from .floods import DeepJson, GzipBomb, HugePage, ManyLinks
from .pages import Mode
from .rules import Pattern, Rule
from .server import Upstream

__all__ = [
    "AddHeaders",
    "Catalog",
    "Chunked",
    "CloseAtAccept",
    "CloseUnanswered",
    "Cut",
    "CutHead",
    "DeepJson",
    "Fault",
    "File",
    "GzipBomb",
    "GzipEncoded",
    "HangBeforeAnswer",
    "HangInBody",
    "Headers",
    "HugePage",
    "Latency",
    "ManyLinks",
    "Mode",
    "NoLength",
    "OldSerial",
    "Pattern",
    "Project",
    "Redirect",
    "Request",
    "ResetKeepAlive",
    "RpcFault",
    "Rule",
    "Slow",
    "SlowHead",
    "Status",
    "StripHeaders",
    "Substitute",
    "Upstream",
    "WrongLength",
]
