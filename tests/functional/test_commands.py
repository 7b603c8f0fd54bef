"""Commands that make and change a data directory, as an administrator calls them."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from commanding import Shell
from server import App

from devpi_server import __version__
from devpi_server.cli import audit, genconfig, gensecret, init, passwd, token
from devpi_server.cli.command import Command
from devpi_server.main import main as server
from devpi_server.services.passwords import Passwords

COMMANDS = [
    init.main,
    passwd.main,
    gensecret.main,
    genconfig.main,
    audit.main,
    *token.COMMANDS.values(),
]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a text on stdin."""

    def put(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return put


def login(app: App, user: str, password: str) -> int:
    return app.request("POST", "/+login", {"user": user, "password": password}).status


# What is the same for all of them


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_the_last_line_of_version_is_a_bare_version(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        command(["--version"])

    assert done.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1] == __version__


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_a_wrong_command_line_is_told_whole_and_nothing_is_done(
    command: Command, shell: Shell
) -> None:
    told = shell(command, "a", "b", "c", "--jsno", "--port=x")

    assert told.code == 2
    assert told.err.splitlines()[-1] == (
        f'{command.name}: error: --port: "x" is not a whole number'
    )
    assert f"{command.name}: error: unknown option --jsno, did you mean --json?" in told.err
    assert not shell.datadir.exists()


@pytest.mark.parametrize("command", [passwd.main, *token.COMMANDS.values()])
def test_a_command_that_needs_data_makes_none(command: Command, shell: Shell) -> None:
    words = ["root", "id"] if command.name.endswith("revoke") else ["root"]
    told = shell(command, *words)

    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "devpi-init" in told.err
    assert not shell.datadir.exists()


def test_an_error_is_in_the_json_too(shell: Shell) -> None:
    told = shell(passwd.main, "--json")

    assert told.code == 1
    assert [f"devpi-passwd: error: {each}" for each in told.json["errors"]] == [
        told.err.rstrip("\n")
    ]


def test_the_variables_of_the_server_count(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVPISERVER_SERVERDIR", str(tmp_path / "elsewhere"))

    assert init.main([]) == 0
    assert (tmp_path / "elsewhere" / "devpi.sqlite").exists()


def test_a_reader_who_leaves_is_no_fault(tmp_path: Path) -> None:
    """As with ``devpi-init | true``."""
    program = "import sys; from devpi_server.cli.init import main; sys.exit(main())"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        done = subprocess.run(
            [sys.executable, "-c", program, f"--datadir={tmp_path / 'data'}"],
            stdout=broken,
            stderr=subprocess.PIPE,
        )

    assert (done.returncode, done.stderr) == (1, b"")


def test_what_deploys_goes_on_when_its_reader_leaves(tmp_path: Path) -> None:
    """As with ``devpi-server --gen-config | head -1``."""
    program = (
        "import os, sys; from devpi_server.main import main; "
        "os.chdir(sys.argv.pop()); sys.exit(main())"
    )
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        done = subprocess.run(
            [sys.executable, "-c", program, "--gen-config", tmp_path],
            stdout=broken,
            stderr=subprocess.PIPE,
        )

    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "gen-config" / "prometheus.yml").exists()


# devpi-init


def test_init_makes_what_the_first_start_makes(shell: Shell) -> None:
    told = shell(init.main, "--role", "standalone")
    app = App("--datadir", str(shell.datadir))

    assert (told.code, told.out) == (0, f"initialised {shell.datadir}\n")
    assert login(app, "root", "") == 200
    assert app.request("GET", "/root").json["result"]["indexes"].keys() == {"pypi"}
    app.services.close()


def test_init_sets_the_first_password_and_leaves_out_the_mirror(shell: Shell) -> None:
    told = shell(init.main, "--no-root-pypi", "--root-passwd", "größer", "--json")
    app = App("--datadir", str(shell.datadir))

    assert told.json == {
        "datadir": str(shell.datadir),
        "root_pypi": False,
        "warnings": [],
        "errors": [],
    }
    assert login(app, "root", "") == 401
    assert login(app, "root", "größer") == 200
    assert app.request("GET", "/root").json["result"]["indexes"] == {}
    app.services.close()


def test_init_takes_the_hash_of_a_password(shell: Shell) -> None:
    hashed = Passwords().hash("hashed elsewhere")

    assert shell(init.main, "--root-passwd-hash", hashed).code == 0
    app = App("--datadir", str(shell.datadir))
    assert login(app, "root", "hashed elsewhere") == 200
    app.services.close()


def test_init_refuses_a_hash_that_nobody_can_check(shell: Shell) -> None:
    told = shell(init.main, "--root-passwd-hash", "5f4dcc3b5aa765d61d8327deb882cf99")

    assert told.code == 2
    assert "--root-passwd-hash" in told.err


def test_init_takes_an_empty_folder_and_one_with_a_secret(shell: Shell) -> None:
    shell.datadir.mkdir()
    assert shell(gensecret.main).code == 0

    assert shell(init.main).code == 0


@pytest.mark.parametrize("name", ["devpi.yml", ".nodeinfo"])
def test_init_refuses_a_folder_that_has_something_else(shell: Shell, name: str) -> None:
    shell.datadir.mkdir()
    (shell.datadir / name).touch()
    told = shell(init.main)

    assert (told.code, told.err.count("\n")) == (1, 1)
    assert [path.name for path in shell.datadir.iterdir()] == [name]


def test_init_refuses_what_is_initialised(shell: Shell) -> None:
    shell(init.main, "--root-passwd", "first")
    told = shell(init.main, "--root-passwd", "second")

    assert told.code == 1
    assert told.err == f"devpi-init: error: {shell.datadir} is initialised already\n"


def test_init_refuses_what_it_cannot_be(shell: Shell) -> None:
    assert shell(init.main, "--role", "replica").code == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_root_does_not_take_the_data_from_the_server_s_user(shell: Shell) -> None:
    shell(init.main)
    os.chown(shell.datadir / "devpi.sqlite", 12345, -1)
    told = shell(passwd.main)

    assert told.code == 2
    assert "run this as the user of the server" in told.err


# devpi-passwd


@pytest.mark.parametrize("set_password", [passwd.main, partial(server)], ids=["new", "old"])
def test_passwd_sets_a_password_while_the_server_runs(
    shell: Shell, typed: Callable[[str], None], set_password: Callable[..., int]
) -> None:
    """It is a line on stdin; who was logged in is not any more."""
    shell(init.main, "--root-passwd", "old one")
    app = App("--datadir", str(shell.datadir))
    token = app.request("POST", "/+login", {"user": "root", "password": "old one"}).json["result"]
    typed("new one\r\n")
    told = shell(set_password, *(["--passwd", "root"] if set_password is not passwd.main else []))

    assert (told.code, told.out) == (0, "the password of root is set\n")
    assert login(app, "root", "new one") == 200
    assert login(app, "root", token["password"]) == 401
    with app.services.meta.reading() as tables:
        last = tables.audit.last(1)[0]
    assert (last.who, last.origin, last.action) == ("root", "devpi-passwd", "user_modify")
    app.services.close()


def test_passwd_asks_twice_at_a_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell(init.main)
    answers = iter(["one", "two", "three", "three"])
    monkeypatch.setattr("sys.stdin", _Terminal())
    monkeypatch.setattr(passwd, "getpass", lambda _: next(answers))

    assert shell(passwd.main).code == 2
    assert shell(passwd.main).code == 0


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_passwd_wants_a_password_and_a_user_that_is_there(
    shell: Shell, typed: Callable[[str], None]
) -> None:
    shell(init.main)
    typed("")
    assert shell(passwd.main).code == 2
    typed("x\n")
    assert shell(passwd.main, "nobody").code == 1


# devpi-gen-secret


def test_gen_secret_makes_a_secret_that_the_server_takes(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    told = shell(gensecret.main, "--secretfile", path, "--json")

    assert told.json == {"secretfile": str(path), "warnings": [], "errors": []}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert shell(init.main, "--secretfile", path).code == 0
    assert not (shell.datadir / "secret").exists()


def test_gen_secret_replaces_nothing(shell: Shell) -> None:
    shell(gensecret.main)
    before = (shell.datadir / "secret").read_bytes()

    assert shell(gensecret.main).code == 1
    assert (shell.datadir / "secret").read_bytes() == before


def test_gen_secret_says_what_the_server_will_not_take(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    told = shell(gensecret.main, "--secretfile", folder / "secret")

    assert told.code == 0
    assert "warning: others can replace the secret" in told.err


# devpi-gen-config


def test_gen_config_is_that_of_the_server(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shell(server, "--gen-config", "--port=4040", "--processes=2").code == 0
    files = {path: path.read_bytes() for path in Path("gen-config").iterdir()}
    for path in files:
        path.unlink()
    told = shell(genconfig.main, "--port=4040", "--processes=2", "--json")

    assert sorted(told.json["written"]) == sorted(map(str, files))
    assert {path: path.read_bytes() for path in Path("gen-config").iterdir()} == files


# devpi-server token


def test_a_token_is_made_shown_listed_and_revoked(shell: Shell) -> None:
    app = App("--datadir", str(shell.datadir))
    made = shell(
        token.COMMANDS["create"],
        *("root", "--allow", "read,upload", "--project", "Foo_Bar"),
        *("--expires", "12h", "--note", "for CI"),
    )
    text = made.out.strip()
    whose = {"Authorization": f"Bearer {text}"}
    row = shell(token.COMMANDS["list"], "root", "--json").json["tokens"][0]

    assert app.request("GET", "/+authcheck", headers=whose).status == 200
    assert (row["actions"], row["indexes"], row["projects"], row["note"]) == (
        ["read", "upload"],
        ["*"],
        ["foo-bar"],
        "for CI",
    )
    assert text not in shell(token.COMMANDS["list"], "root").out
    assert shell(token.COMMANDS["revoke"], "root", row["id"]).code == 0
    assert app.request("GET", "/+authcheck", headers=whose).status == 401
    assert shell(token.COMMANDS["list"], "root").out == ""
    assert shell(token.COMMANDS["revoke"], "root", row["id"]).code == 1
    app.services.close()


@pytest.mark.parametrize(
    "words",
    [
        ["--expires", "soon"],
        ["--expires", "0d"],
        ["--note", "two\nlines"],
    ],
)
def test_a_token_that_cannot_be_described_is_not_made(shell: Shell, words: list[str]) -> None:
    shell(init.main)

    assert shell(token.COMMANDS["create"], "root", *words).code == 2
    assert shell(token.COMMANDS["list"], "root").out == ""


@pytest.mark.parametrize("words", [["--allow", "delete"], ["--index", "prod"]])
def test_a_scope_that_is_none_is_refused(shell: Shell, words: list[str]) -> None:
    shell(init.main)

    assert shell(token.COMMANDS["create"], "root", *words).code == 1


def test_a_token_can_last_for_ever(shell: Shell) -> None:
    shell(init.main)
    made = shell(token.COMMANDS["create"], "root", "--expires", "never", "--json")

    assert made.json["expires"] is None
    assert "never ends" in shell(token.COMMANDS["list"], "root").out


def test_the_commands_of_token_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert server(["token", "--help"]) == 0
    assert "token revoke" in capsys.readouterr().out
    assert server(["token"]) == 2
    assert server(["token", "revok"]) == 2
    assert "did you mean revoke?" in capsys.readouterr().err


# devpi-server audit


def test_audit_tells_what_was_changed_the_oldest_first(shell: Shell) -> None:
    shell(init.main)
    app = App("--datadir", str(shell.datadir))
    app.seen_from("192.0.2.7").request("PUT", "/alice", {"password": "pw", "email": "a@b.example"})
    app.services.close()

    *_, last = shell(audit.main).out.splitlines()
    assert last.split("  ")[1:] == [":ANONYMOUS:", "192.0.2.7", "user_create", "alice"]
    told = shell(audit.main, "--json", "--last", "1").json
    assert [(row["from"], row["action"], row["target"]) for row in told["audit"]] == [
        ("192.0.2.7", "user_create", "alice")
    ]


@pytest.mark.parametrize("number", ["0", "-1", "x", "10000000"])
def test_audit_wants_a_number(shell: Shell, number: str) -> None:
    assert shell(audit.main, "--last", number).code == 2
