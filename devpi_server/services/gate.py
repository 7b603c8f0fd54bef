"""Who may do what with a folder of packages: three actions, each for everybody or for any user."""

from __future__ import annotations

from collections.abc import Callable, Collection

from devpi_server.errors import Unauthenticated

Verify = Callable[[str, str], bool]  # user and password; may raise StoreError and Overloaded


def nobody(_user: str, _password: str) -> bool:
    """Where there is no password file, no password is right."""
    return False


class Gate:
    """Lets in, or not.

    :param closed: the actions that need a user: of ``download``, ``list`` and ``update``.
    """

    def __init__(self, closed: Collection[str], verify: Verify = nobody) -> None:
        self._closed = frozenset(closed)
        self._verify = verify

    def is_open(self, action: str) -> bool:
        """Whether everybody may do it."""
        return action not in self._closed

    def require(self, action: str, user: str | None, password: str = "") -> None:
        """Return if this is somebody who may do it.

        Why a wrong password is answered as none is: pip and uv ask for another one then.

        :param user: who it claims to be; None: nobody.
        :raises Unauthenticated: nobody, or somebody with a wrong password.
        :raises StoreError: the passwords cannot be read.
        :raises Overloaded: too many passwords are being checked.
        """
        if self.is_open(action):
            return
        if user is None:
            raise Unauthenticated("this needs a user and a password")
        if not self._verify(user, password):
            raise Unauthenticated("the user or the password is wrong")
