"""Who may do what: one table of actions, asked before a handler runs.

Whoever may not read an index is not told that it is there, unless nobody knows
who it is: then a password may be the answer.  A token may do less than its
user, and never more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

from devpi_server.errors import Forbidden, NoSuchIndex, Unauthenticated
from devpi_server.names import NormalizedName
from devpi_server.services.index_options import ANONYMOUS, AUTHENTICATED, IndexOptions, options_of
from devpi_server.services.indexes import Indexes

ROOT = "root"
Projects = Collection[NormalizedName]
READ, UPLOAD = "read", "upload"  # what a token can be made for


class Scope(Protocol):
    """What a token may do."""

    def allows(self, action: str, index: str, project: NormalizedName | None = None) -> bool:
        """Whether it may ``read`` or ``upload`` the project, or the index as a whole."""

    def reaches(self, action: str, index: str) -> bool:
        """Whether it may do so with any project there."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    user: str | None = None  # None: nobody known
    scope: Scope | None = field(default=None, compare=False)  # None: all that the user may
    tried: bool = field(default=False, compare=False)  # sent credentials that were none

    @property
    def name(self) -> str:
        """For the audit trail."""
        return self.user or ANONYMOUS


NOBODY = Principal()


def is_listed(principal: Principal, acl: Sequence[str]) -> bool:
    """Whether the list has the principal, by name or by kind."""
    if ANONYMOUS in acl:
        return True
    return principal.user is not None and (AUTHENTICATED in acl or principal.user in acl)


def is_owner(principal: Principal, owner: str) -> bool:
    """Whether it is the owner, or root, who may do what owners may."""
    return principal.user is not None and principal.user in (owner, ROOT)


def may_read(principal: Principal, options: IndexOptions, projects: Projects = ()) -> bool:
    """Whether the principal may list, download and see what the index holds.

    :param projects: what is asked for: one of these, or the index as a whole.
    """
    if options.is_public:
        return True
    if not _is_in_scope(principal, READ, options, projects):
        return False
    return is_listed(principal, options.acl_read) or is_owner(principal, options.owner)


def _may_push(principal: Principal, options: IndexOptions, _: Projects) -> bool:
    """Whether the principal may read any project at all; which one it is, the body tells."""
    scope = principal.scope
    if scope is None or options.is_public:
        return may_read(principal, options)
    unlimited = replace(principal, scope=None)
    return scope.reaches(READ, options.name) and may_read(unlimited, options)


def may_upload(principal: Principal, options: IndexOptions, projects: Projects = ()) -> bool:
    """Whether the principal may add files of one of the projects; of none: of any at all."""
    scope = principal.scope
    if scope is not None and not projects and not scope.reaches(UPLOAD, options.name):
        return False
    if projects and not _is_in_scope(principal, UPLOAD, options, projects):
        return False
    return is_listed(principal, options.acl_upload)


def _is_in_scope(
    principal: Principal, action: str, options: IndexOptions, projects: Projects
) -> bool:
    scope = principal.scope
    if scope is None:
        return True
    return any(scope.allows(action, options.name, project) for project in projects or (None,))


def _may_prefetch(principal: Principal, options: IndexOptions, projects: Projects) -> bool:
    """Whether the principal may have files fetched by the hundred: nobody unknown, as a rule."""
    if principal.user is None:
        return is_listed(principal, options.acl_upload)
    return may_read(principal, options, projects)


def _may_add_results(principal: Principal, options: IndexOptions, projects: Projects) -> bool:
    return _is_in_scope(principal, UPLOAD, options, projects) and is_listed(
        principal, options.acl_toxresult_upload
    )


def _may_manage(principal: Principal, options: IndexOptions, _: Projects) -> bool:
    return principal.scope is None and is_owner(principal, options.owner)


def _may_remove(principal: Principal, options: IndexOptions, _: Projects) -> bool:
    return principal.scope is None and (
        is_listed(principal, options.acl_upload) or is_owner(principal, options.owner)
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    may: Callable[[Principal, IndexOptions, Projects], bool]
    refusal: str


# Actions upon an index, by those who may read it.
INDEX_ACTIONS: Mapping[str, _Rule] = MappingProxyType(
    {
        "pkg_list": _Rule(may_read, "no permission to read"),
        "pkg_read": _Rule(may_read, "no permission to read"),
        "index_read": _Rule(may_read, "no permission to read"),
        "refresh": _Rule(may_read, "no permission to read"),
        "upload": _Rule(may_upload, "no permission to submit"),
        "prefetch": _Rule(_may_prefetch, "no permission to prefetch"),
        "push": _Rule(_may_push, "no permission to read"),
        "toxresult_upload": _Rule(_may_add_results, "no permission to add test results"),
        "remove": _Rule(_may_remove, "no permission to remove"),
        "yank": _Rule(_may_remove, "no permission to yank"),
        "index_modify": _Rule(_may_manage, "no permission to modify index"),
        "index_delete": _Rule(_may_manage, "no permission to delete index"),
    }
)
# Of these, the body names the project: a token for some projects only has to come that far.
_NAMED_BY_BODY = frozenset({"upload", "push"})
# Actions that anybody may do; what they answer may depend on who asks.
OPEN_ACTIONS = frozenset({"home", "status", "api", "login", "authcheck", "user_list", "user_read"})
# Actions upon a user and what belongs to it, but to no index that is there.
USER_ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "user_create": "no permission to create user",
        "user_modify": "no permission to modify user",
        "user_delete": "no permission to delete user",
        "index_create": "no permission to create index",
        "token": "no permission to manage tokens",
    }
)
ACTIONS = frozenset({*INDEX_ACTIONS, *OPEN_ACTIONS, *USER_ACTIONS})
# With --restrict-modify, these are for those that it names.  Modifying a user is not among
# them: everybody may change their own password, which only the body tells (``accounts``).
_RESTRICTED = frozenset(
    {"user_create", "user_delete", "index_create", "index_modify", "index_delete"}
)


class Access:
    """Decides.

    :param restricted_to: the only ones who may create or modify users and indexes; None: anyone.
    """

    def __init__(self, indexes: Indexes, restricted_to: Sequence[str] | None) -> None:
        self._indexes = indexes
        self._restricted_to = restricted_to

    def require(
        self,
        principal: Principal,
        action: str,
        *,
        user: str | None = None,
        index: str | None = None,
        projects: Projects = (),
    ) -> None:
        """Return if the principal may.

        :param user: that the action is upon.
        :param index: that it is upon, as ``user/index``.
        :param projects: that it is upon, or may be upon.
        :raises Unauthenticated: nobody known may not; somebody known perhaps may.
        :raises Forbidden: this one may not.
        :raises NoSuchIndex: there is none, as far as this one is to know.
        """
        if action in INDEX_ACTIONS:
            self._require_of_index(principal, action, index or "", projects)
        elif action in USER_ACTIONS:
            self._require_of_user(principal, action, user or "")

    def _require_of_index(
        self, principal: Principal, action: str, name: str, projects: Projects
    ) -> None:
        options = options_of(self._indexes.row(name))
        rule = INDEX_ACTIONS[action]
        is_seen = may_read(principal, options, projects)
        if not is_seen and not (
            action in _NAMED_BY_BODY and rule.may(principal, options, projects)
        ):
            if principal.user is None:
                raise _refused(principal, rule.refusal)
            raise NoSuchIndex(f"The stage {name} could not be found.")
        if not rule.may(principal, options, projects):
            raise _refused(principal, rule.refusal)
        self._respect_restriction(principal, action, rule.refusal)

    def _require_of_user(self, principal: Principal, action: str, user: str) -> None:
        refusal = USER_ACTIONS[action]
        if principal.scope is not None:
            raise Forbidden(f"{refusal} with a token")
        if action != "user_create" and not is_owner(principal, user):
            raise _refused(principal, refusal)
        self._respect_restriction(principal, action, refusal)

    def anybody_uploads(self) -> bool:
        """Whether there is an index that nobody known may upload to."""
        return any(may_upload(NOBODY, options_of(row)) for row in self._indexes.rows())

    def may_configure(self, principal: Principal) -> bool:
        """Whether ``--restrict-modify``, if it is given, names the principal."""
        return self._restricted_to is None or principal.user in self._restricted_to

    def _respect_restriction(self, principal: Principal, action: str, refusal: str) -> None:
        if action in _RESTRICTED and not self.may_configure(principal):
            raise _refused(principal, refusal)


def _refused(principal: Principal, refusal: str) -> Exception:
    if principal.tried:
        return Unauthenticated(f"{refusal}: the user name, password or token is wrong")
    if principal.user is None:
        return Unauthenticated(f"{refusal}, log in first")
    return Forbidden(refusal)
