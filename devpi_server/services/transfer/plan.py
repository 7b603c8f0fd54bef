"""What an import is to do: which users and indexes are new, and what is in the way.

What is here already stays as it is, but for what a first start has made and nobody has
changed since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.errors import BadDump, BadRequest
from devpi_server.mirror_settings import OWN_HOST_IS_TRUSTED
from devpi_server.services import accounts, founding, index_words
from devpi_server.services.access import ROOT
from devpi_server.services.dump.read import Dump
from devpi_server.services.dump.records import DumpedIndex, DumpedUser
from devpi_server.services.index_options import MIRROR, STAGE
from devpi_server.services.passwords import Passwords
from devpi_server.services.transfer.placing import Clash, Placing
from devpi_server.services.transfer.renaming import Renaming
from devpi_server.store.meta import IndexRow, MetaStore, Tables, User

# What decides who may do what, or where names are looked for: no guess is good enough.
_BINDING = ("acl_", "mirror_url", "mirror_whitelist", "volatile")


@dataclass(frozen=True, slots=True)
class Target:
    """An index of the dump, and what it is to be here."""

    origin: str  # its name in the dump
    row: IndexRow
    is_new: bool = True  # else it is there, in the database or in the configuration


@dataclass(slots=True)
class Plan:
    """What is to be done."""

    users: list[User] = field(default_factory=list)  # new ones, and root if it has no password
    targets: list[Target] = field(default_factory=list)  # all indexes, also those that are there
    files: int = 0  # to be imported
    size: int = 0  # bytes of them
    files_there: int = 0
    warnings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # what keeps it from being done

    @property
    def new_indexes(self) -> list[Target]:
        """The indexes that are to be made."""
        return [target for target in self.targets if target.is_new]


class Planner:
    """Makes plans.

    :param declared: the indexes that the configuration has, by their full names.
    """

    def __init__(
        self,
        meta: MetaStore,
        passwords: Passwords,
        declared: Mapping[str, IndexRow],
        clock: Clock,
    ) -> None:
        self._meta = meta
        self._passwords = passwords
        self._declared = declared
        self._clock = clock

    def plan(self, dump: Dump, renaming: Renaming, root_hash: str | None = None) -> Plan:
        """What importing the dump takes.

        :param root_hash: of a password for root, unless it has one here; None: the dump's.
        :raises StoreError: the disk fails.
        """
        plan = Plan()
        known = [user.name for user in dump.users] + [each.full_name for each in dump.indexes]
        for old in renaming.unknown(known):
            plan.faults.append(f"the dump has no {old} that could be renamed")
        with self._meta.reading() as tables:
            for user in dump.users:
                self._user(plan, tables, renaming.user(user), root_hash)
            for index in dump.indexes:
                self._index(plan, tables, index.full_name, renaming.index(index))
        _expect_different(plan, [renaming.user(user).name for user in dump.users])
        survey = dump.survey()
        plan.faults.extend(survey.faults)
        plan.warnings[:0] = dump.warnings
        if not survey.faults:
            for target in plan.targets:
                self._files(plan, dump, target)
        return plan

    # Users

    def _user(self, plan: Plan, tables: Tables, dumped: DumpedUser, root_hash: str | None) -> None:
        there = tables.users.get(dumped.name)
        if there is None:
            try:
                accounts.expect_name(dumped.name)
            except BadRequest as error:
                plan.faults.append(f"{error.message}; give it another one with --rename")
            plan.users.append(self._made(plan, dumped, self._pwhash(plan, dumped, root_hash)))
        elif founding.is_root_as_founded(there):
            plan.users.append(self._made(plan, dumped, self._pwhash(plan, dumped, root_hash)))
        elif there.pwhash != dumped.pwhash:
            plan.warnings.append(f"user {dumped.name} is there, and keeps its password here")

    def _pwhash(self, plan: Plan, dumped: DumpedUser, root_hash: str | None) -> str | None:
        if dumped.name != ROOT:
            return dumped.pwhash
        if root_hash is not None:
            return root_hash
        if dumped.pwhash is not None and not self._passwords.verify(dumped.pwhash, "").ok:
            return dumped.pwhash
        # As at a first start: with the empty password, root is only who is at this machine.
        plan.warnings.append("root has no password in the dump; set one with devpi-passwd")
        return ""

    def _made(self, plan: Plan, dumped: DumpedUser, pwhash: str | None) -> User:
        details: dict[str, object] = {}
        for key, value in dumped.details.items():
            try:
                details |= accounts.details_of({key: value})
            except BadRequest as error:
                plan.warnings.append(f"user {dumped.name}: {error.message}; it was left out")
        created = self._clock() if dumped.created is None else dumped.created.timestamp()
        modified = None if dumped.modified is None else dumped.modified.timestamp()
        return User(dumped.name, created, pwhash, modified, details)

    # Indexes

    def _index(self, plan: Plan, tables: Tables, origin: str, dumped: DumpedIndex) -> None:
        name = dumped.full_name
        if dumped.type not in (STAGE, MIRROR):
            plan.faults.append(
                f"index {name} is of a type that is not known here; leave out those of its type "
                f"with --skip-import-type {dumped.type}"
            )
            return
        if not names.is_plain(dumped.name):
            plan.faults.append(f"no index can be called {name!r}; rename it with --rename")
            return
        try:
            options = _options(plan, dumped)
        except BadDump as error:
            plan.faults.append(error.message)
            return
        row = IndexRow(dumped.user, dumped.name, dumped.type, options)
        declared = self._declared.get(name)
        there = declared or tables.indexes.get(name)
        if there is not None and there.type != row.type:
            plan.faults.append(f"{name} is a {row.type} in the dump, and a {there.type} here")
        elif there is None or founding.is_pypi_as_founded(there):
            plan.targets.append(Target(origin, row))
        else:
            if declared is None and dict(there.options) != options:
                plan.warnings.append(f"index {name} is there, and stays as it is configured")
            plan.targets.append(Target(origin, there, is_new=False))

    # Files

    def _files(self, plan: Plan, dump: Dump, target: Target) -> None:
        there: Mapping[str, str] = {}
        if target.row.type == MIRROR:
            plan.size += sum(file.size for file in dump.files(target.origin))
            plan.files += sum(1 for _ in dump.files(target.origin))
            return
        with self._meta.reading() as tables:
            if not target.is_new:
                there = {file.filename: file.sha256 for file in tables.files.all(target.row.id)}
        for place in Placing(dump, target.origin, target.row.full_name, there):
            if isinstance(place, Clash):
                (plan.faults if place.is_fault else plan.warnings).append(place.sentence)
            elif place.is_there:
                plan.files_there += 1
            else:
                plan.files += 1
                plan.size += place.file.size


def _options(plan: Plan, dumped: DumpedIndex) -> dict[str, object]:
    """The options of an index, as far as they can be.

    :raises BadDump: one that cannot be left out cannot be.
    """
    options: dict[str, object] = {}
    for word, value in dumped.options.items():
        if word == OWN_HOST_IS_TRUSTED:
            continue
        try:
            read = index_words.read(dumped.type, {word: value})
        except BadRequest as error:
            sentence = f"index {dumped.full_name}, {word}: {error.message}"
            if word.startswith(_BINDING):
                raise BadDump(sentence) from error
            plan.warnings.append(f"{sentence}; it was left out")
            continue
        options |= {key: value for key, value in read.items() if value is not None}
    if dumped.type == STAGE:
        options["bases"] = list(dumped.bases)
    elif dumped.user == ROOT or dumped.options.get(OWN_HOST_IS_TRUSTED) is True:
        options[OWN_HOST_IS_TRUSTED] = True
    else:
        plan.warnings.append(
            f"the mirror {dumped.full_name} is not root's: if it is in a private network, it works "
            "once root has set its mirror_url again"
        )
    return options


def _expect_different(plan: Plan, users: list[str]) -> None:
    """Nothing was renamed to what is there by that name already."""
    indexes = [target.row.full_name for target in plan.targets]
    for kind, found in (("users", users), ("indexes", indexes)):
        for name, count in Counter(found).items():
            if count > 1:
                plan.faults.append(f"{count} {kind} of the dump would be called {name}")
