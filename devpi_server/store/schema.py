"""The tables of the database, as they are now; ``migrations`` is how they came to be so.

Times are seconds since the epoch.  JSON is text.  Digests are sha256 in hex and
name blobs.  ``serial`` columns say in which transaction a row last changed what
others see, so that a page's stamp is one indexed read.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _owned_by(table: str) -> ForeignKey:
    return ForeignKey(f"{table}.id", ondelete="CASCADE")


# One row a fact of the whole store: its uuid, the serials of the last changes.
state = Table(
    "state",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("pwhash", String),
    Column("password_serial", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("modified", Float),
    Column("details", Text, nullable=False),
    sqlite_autoincrement=True,
)

indexes = Table(
    "indexes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", _owned_by("users"), nullable=False),
    Column("name", String, nullable=False),
    Column("type", String, nullable=False),
    Column("options", Text, nullable=False),
    Column("serial", Integer, nullable=False),
    UniqueConstraint("user_id", "name"),
    sqlite_autoincrement=True,
)

projects = Table(
    "projects",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("index_id", _owned_by("indexes"), nullable=False),
    Column("name", String, nullable=False),
    Column("serial", Integer, nullable=False),
    UniqueConstraint("index_id", "name"),
    sqlite_autoincrement=True,
)

releases = Table(
    "releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", _owned_by("projects"), nullable=False),
    Column("key", String, nullable=False),
    Column("version", String, nullable=False),
    Column("fields", Text, nullable=False),
    UniqueConstraint("project_id", "key"),
    sqlite_autoincrement=True,
)

files = Table(
    "files",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("index_id", _owned_by("indexes"), nullable=False),
    Column("release_id", _owned_by("releases"), nullable=False),
    Column("kind", String, nullable=False),
    Column("filename", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("digests", Text, nullable=False),
    Column("uploaded", Float, nullable=False),
    Column("requires_python", String),
    Column("metadata_sha256", String),
    Column("signature_sha256", String),
    Column("provenance_sha256", String),
    Column("yanked", String),
    Column("for_file", String),
    Column("log", Text, nullable=False),
    UniqueConstraint("index_id", "filename"),
    sqlite_autoincrement=True,
)
Index("files_of_release", files.c.release_id)
for _column in (files.c.sha256, files.c.metadata_sha256, files.c.signature_sha256,
                files.c.provenance_sha256):  # fmt: skip
    Index(f"files_by_{_column.name}", _column)

# Files that there were: 410 instead of 404.
removed = Table(
    "removed",
    metadata,
    Column("index_id", _owned_by("indexes"), primary_key=True),
    Column("filename", String, primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("at", Float, nullable=False),
)

# Blobs that a row has let go of; they are deleted when nothing has named them for a while.
orphans = Table(
    "orphans",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("at", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("user_id", _owned_by("users"), nullable=False),
    Column("hash", String, nullable=False),
    Column("scope", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("note", String, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("serial", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("who", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)
