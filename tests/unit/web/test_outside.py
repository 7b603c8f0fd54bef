"""What front servers may say about the outside, and who else may not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from devpi_server.web.hot import Environ, StartResponse
from devpi_server.web.outside import IS_FORWARDED, Outside

FRONT = "10.0.0.1"
FORGED = {
    "HTTP_X_REAL_IP": "6.6.6.6",
    "HTTP_X_FORWARDED_FOR": "6.6.6.6",
    "HTTP_X_FORWARDED_PREFIX": "/evil",
    "HTTP_X_OUTSIDE_URL": "https://evil.test/evil",
    "HTTP_X_FORWARDED_HOST": "evil.test",
}


def seen(
    environ: Environ,
    *,
    path: str = "/simple/",
    outside_url: str | None = None,
    trusted: str | None = None,
    peer: str | None = FRONT,
) -> Environ:
    """The environ as the application behind gets to see it."""
    environ = {"SCRIPT_NAME": "", "PATH_INFO": path, **environ}
    if peer is not None:
        environ["REMOTE_ADDR"] = peer

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return ()

    Outside(app, outside_url, trusted)(environ, lambda *_: None)
    return environ


def places(environ: Environ) -> tuple[str, str]:
    return environ["SCRIPT_NAME"], environ["PATH_INFO"]


def test_without_settings_nothing_changes() -> None:
    """The server is seen where it is."""
    environ = seen({})
    assert places(environ) == ("", "/simple/")
    assert environ["REMOTE_ADDR"] == FRONT


@pytest.mark.parametrize(
    ("trusted", "peer"),
    [
        (None, FRONT),
        ("10.0.0.2", FRONT),
        ("10.0.0", FRONT),
        ("10.0.0.11", FRONT),
        (None, None),
        (None, ""),
        ("", ""),
        ("10.0.0.2", None),
    ],
)
def test_who_is_not_trusted_is_not_believed(trusted: str | None, peer: str | None) -> None:
    """S08: neither address nor sub-path comes from a stranger, however little is known of him."""
    environ = seen(FORGED, trusted=trusted, peer=peer)
    assert places(environ) == ("", "/simple/")
    assert environ.get("REMOTE_ADDR") == peer


@pytest.mark.parametrize("trusted", [FRONT, "*"])
def test_the_front_server_names_the_client(trusted: str) -> None:
    """X-Real-IP, else the last address of X-Forwarded-For: any before are the client's words."""
    one = seen({"HTTP_X_REAL_IP": "1.2.3.4", "HTTP_X_FORWARDED_FOR": "9.9.9.9"}, trusted=trusted)
    assert one["REMOTE_ADDR"] == "1.2.3.4"
    other = seen({"HTTP_X_FORWARDED_FOR": " 1.2.3.4 , 5.6.7.8"}, trusted=trusted)
    assert other["REMOTE_ADDR"] == "5.6.7.8"


@pytest.mark.parametrize(
    ("headers", "is_relayed"),
    [
        ({"HTTP_X_REAL_IP": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
        ({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
        ({}, False),
        ({"HTTP_X_REAL_IP": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "6.6.6.6, 127.0.0.1"}, True),
        ({"HTTP_X_FORWARDED_FOR": "127.0.0.1, 6.6.6.6"}, True),
        ({"HTTP_X_REAL_IP": "127.0.0.1", "HTTP_FORWARDED": "for=6.6.6.6"}, True),
        ({"HTTP_X_REAL_IP": "127.0.0.1", "HTTP_VIA": "1.1 tunnel"}, True),
    ],
)
def test_who_is_behind_two_front_servers_is_not_taken_for_the_first_of_them(
    headers: Environ, is_relayed: bool
) -> None:
    """A tunnel on this machine that leads to nginx makes nobody local."""
    environ = seen(headers, trusted="127.0.0.1", peer="127.0.0.1")
    assert bool(environ.get(IS_FORWARDED)) == is_relayed


@pytest.mark.parametrize("text", ["", " ", "x" * 64, "1.2.3.4\r\nX: y", "\x1b[31m", "\0"])
def test_what_is_no_address_is_not_taken(text: str) -> None:
    """X07: nothing that would spoil a log line gets into it."""
    assert seen({"HTTP_X_FORWARDED_FOR": text}, trusted=FRONT)["REMOTE_ADDR"] == FRONT


@pytest.mark.parametrize(
    ("headers", "prefix"),
    [
        ({"HTTP_X_OUTSIDE_URL": "https://h.test/pypi"}, "/pypi"),
        ({"HTTP_X_OUTSIDE_URL": "https://h.test/pypi/"}, "/pypi"),
        ({"HTTP_X_OUTSIDE_URL": "https://h.test"}, ""),
        ({"HTTP_X_OUTSIDE_URL": "https://h.test/a/b/"}, "/a/b"),
        ({"HTTP_X_FORWARDED_PREFIX": "/pypi"}, "/pypi"),
        ({"HTTP_X_FORWARDED_PREFIX": "/pypi/"}, "/pypi"),
        ({"HTTP_X_FORWARDED_PREFIX": "/"}, ""),
        ({"HTTP_X_FORWARDED_PREFIX": "pypi"}, ""),
        ({"HTTP_X_FORWARDED_PREFIX": "https://evil.test/"}, ""),
        ({"HTTP_X_OUTSIDE_URL": "https://h.test/a", "HTTP_X_FORWARDED_PREFIX": "/b"}, "/a"),
        ({"HTTP_X_OUTSIDE_URL": "http://["}, ""),
        ({"HTTP_X_OUTSIDE_URL": "http://[::1/x"}, ""),
        ({"HTTP_X_OUTSIDE_URL": "//["}, ""),
    ],
)
def test_the_front_server_names_the_sub_path(headers: Environ, prefix: str) -> None:
    """X-Outside-URL as devpi has it, or X-Forwarded-Prefix; nonsense counts as none."""
    assert places(seen(headers, trusted=FRONT)) == (prefix, "/simple/")


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/pypi/simple/", "/simple/"),
        ("/simple/", "/simple/"),
        ("/pypi", "/"),
        ("/pypi/", "/"),
        ("/pypix/simple/", "/pypix/simple/"),
        ("/x/pypi/simple/", "/x/pypi/simple/"),
        ("/pypi/pypi/", "/pypi/"),
        ("/pypi//simple/", "//simple/"),
        ("", ""),
    ],
)
def test_the_sub_path_may_be_passed_on_or_not(path: str, inside: str) -> None:
    """Front servers do either; only whole segments count."""
    environ = seen({}, path=path, outside_url="https://h.test/pypi/")
    assert places(environ) == ("/pypi", inside)


def test_a_sub_path_with_a_blank_is_decoded_as_paths_are() -> None:
    """PATH_INFO comes decoded, the address is not."""
    environ = seen({}, path="/my index/simple/", outside_url="https://h.test/my%20index")
    assert environ["PATH_INFO"] == "/simple/"


def test_the_front_server_knows_better_than_the_settings() -> None:
    """Where it names no sub-path, the setting counts."""
    headers = {"HTTP_X_FORWARDED_PREFIX": "/b"}
    assert places(seen(headers, outside_url="https://h.test/a", trusted=FRONT))[0] == "/b"
    assert places(seen({}, outside_url="https://h.test/a", trusted=FRONT))[0] == "/a"
    assert places(seen(headers, outside_url="https://h.test/a"))[0] == "/a"
