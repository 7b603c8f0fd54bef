"""devpi-ctl: broken upgrades, other places, sockets."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from devpi_server.deploy import ctl, etc, gendeploy
from devpi_server.deploy.plan import Plan
from devpi_server.errors import Refused, StoreError
from devpi_server.settings import given, read

MIRROR = "--mirror-url=http://upstream/simple/"


class Killed(BaseException):
    """The process ends at this point."""


def fill(folder: Path, text: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        (folder / part).mkdir(parents=True)
        (folder / part / "file").write_text(text)


def state(root: Path) -> dict[str, str]:
    return {
        path.parent.name: path.read_text()
        for path in root.glob("*/file")
        if path.parent.name != ctl.WORK
    }


def plan(*flags: str) -> Plan:
    argv = ["--gen-config", *flags]
    return Plan(read([MIRROR, *argv], {}), given(argv, {}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A deployment, as far as devpi-ctl looks at one."""
    root = tmp_path / "t"
    for folder in ("bin", "etc", "data"):
        (root / folder).mkdir(parents=True)
    etc.write(root / "etc", root, plan("--port=4000"), lambda _: None)
    return root


# Upgrades that break off


OLD = dict.fromkeys(("lib", "etc", "bin", "share"), "old")
NEW = dict.fromkeys(("lib", "etc", "bin", "wheels"), "new")


@pytest.fixture(params=range(1, 10), ids=lambda step: f"step{step}")
def killed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A deployment whose upgrade is killed before one of its renames."""
    fill(tmp_path, "old", tuple(OLD))
    fill(tmp_path / ctl.WORK / "new", "new", tuple(NEW))
    steps = iter(range(1, 100))
    rename = Path.rename

    def stepwise(self: Path, target: Path) -> Path:
        if next(steps) == request.param:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stepwise)
        try:
            gendeploy._swap(tmp_path)
        except Killed:
            yield tmp_path
        else:
            pytest.fail("it has fewer steps")


def test_an_upgrade_that_was_killed_is_undone(killed: Path) -> None:
    ctl.recover(killed)

    assert state(killed) == OLD
    assert not (killed / ctl.WORK / "old").exists()


def test_an_upgrade_that_was_not_killed_counts(tmp_path: Path) -> None:
    fill(tmp_path, "old", tuple(OLD))
    fill(tmp_path / ctl.WORK / "new", "new", tuple(NEW))

    gendeploy._swap(tmp_path)
    ctl.recover(tmp_path)

    assert state(tmp_path) == NEW


def test_an_undoing_that_was_killed_is_done_by_the_next(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    for budget in range(12):
        left = [budget]

        def limited(self: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", limited)
            try:
                ctl.recover(killed)
            except Killed:
                continue
        break

    ctl.recover(killed)
    assert state(killed) == OLD


# Several processes


@pytest.fixture
def pair(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A deployment of two processes that answer, whose supervisorctl notes what it is told."""
    with ExitStack() as stack:
        path = root / "s"
        etc.write(
            root / "etc", root, plan("--processes=2", f"--unix-socket={path}"), lambda _: None
        )
        for port in (3141, 3142):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.bind(f"{path}-{port}")
            sock.listen()
        python = root / "bin" / "python"
        said, sick = root / "told", root / "sick"
        python.write_text(f'#!/bin/sh\necho "$6 $7" >>{said}\n[ "$7" != "$(cat {sick})" ]')
        python.chmod(0o755)
        sick.write_text("none")
        monkeypatch.setattr(ctl, "is_running", lambda _: True)
        yield root


def told(root: Path) -> list[str]:
    return (root / "told").read_text().splitlines()


@pytest.mark.parametrize("name", ["all", "devpi-server"])
def test_a_restart_takes_one_process_after_the_other(pair: Path, name: str) -> None:
    assert ctl.main(pair, ["restart", name]) == 0

    assert told(pair) == ["restart devpi-server:3141", "restart devpi-server:3142"]


def test_a_restart_that_fails_leaves_the_others_alone(pair: Path) -> None:
    (pair / "sick").write_text("devpi-server:3141")

    assert ctl.main(pair, ["restart", "all"]) == 1

    assert told(pair) == ["restart devpi-server:3141"]


def test_a_process_that_does_not_come_back_leaves_the_others_alone(
    pair: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (pair / "s-3141").unlink()
    monkeypatch.setattr(ctl, "_PATIENCE", 0)

    assert ctl.main(pair, ["restart", "all"]) == 1

    assert told(pair) == ["restart devpi-server:3141"]
    assert "devpi-server:3141 does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["devpi-server"], ["-c", "1600"]),
        (["-f", "devpi-server"], ["-F", "-c", "1600"]),
        (["-50", "devpi-server"], ["-c", "50"]),
    ],
)
def test_the_name_of_all_shows_the_logs_of_all(
    words: list[str], expected: list[str], pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda _, words: ran.append(words))

    ctl.main(pair, ["tail", *words])

    logs = [str(pair / "log" / f"devpi-server-{port}.log") for port in (3141, 3142)]
    assert ran == [["tail", *expected, *logs]]


def test_a_connection_to_oneself_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take a free port for ours when we ask whether somebody is there."""
    with socket.socket() as itself:
        itself.bind(("127.0.0.1", 0))
        itself.connect(itself.getsockname())
        monkeypatch.setattr("socket.create_connection", lambda *_, **__: itself)

        assert not ctl._listens(["--port=1"])


# Another place


def test_a_deployment_that_was_moved_says_what_to_do(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = root.rename(root.with_name("moved"))

    assert ctl.main(moved, ["status"]) == 1
    assert "relocate" in capsys.readouterr().err


def test_relocate_replaces_the_old_place_and_none_that_begins_like_it(root: Path) -> None:
    cache = f"{root}-cache"
    (root / "etc" / "crontab").write_text(f"@reboot {root}/bin/devpi-ctl\n0 0 * * * ls {cache}\n")
    (root / "pyvenv.cfg").write_text(f"command = python -m venv {root}\n")
    moved = root.rename(root.with_name("moved"))

    assert ctl.main(moved, ["relocate"]) == 0

    crontab = (moved / "etc" / "crontab").read_text()
    assert crontab == f"@reboot {moved}/bin/devpi-ctl\n0 0 * * * ls {cache}\n"
    assert (moved / "pyvenv.cfg").read_text() == f"command = python -m venv {moved}\n"
    assert ctl.read_marker(moved)["root"] == str(moved)


def test_relocate_to_a_path_with_a_space_leaves_words_that_are_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = subprocess.CompletedProcess([], 0, b"", b"")
    monkeypatch.setattr("shutil.which", lambda _: "crontab")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: empty)
    etc.write(root / "etc", root, plan(f"--unix-socket={root}/devpi.sock"), lambda _: None)
    moved = root.rename(root.with_name("moved to here"))

    assert ctl.main(moved, ["relocate"]) == 0

    def words(name: str, key: str) -> list[str]:
        (line,) = re.findall(rf"^\s*{key}(.*)", (moved / "etc" / name).read_text(), re.MULTILINE)
        return shlex.split(line)

    control = f"{moved}/bin/devpi-ctl"
    assert words("crontab", "@reboot") == [control, "start", "all"]
    assert words("devpi.service", "ExecStart=") == [control, "start", "all"]
    assert words("devpi.service", "ReadWritePaths=")[0] == str(moved)
    assert f"--unix-socket={moved}/devpi.sock" in words("supervisord.conf", "command = ")
    assert f'server "unix:{moved}/devpi.sock"' in (moved / "etc/nginx-devpi.conf").read_text()


@pytest.mark.parametrize("name", ["a%b", "it's"])
def test_relocate_to_a_path_that_would_be_misread_is_refused(
    name: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (root / "etc" / "supervisord.conf").read_text()
    moved = root.rename(root.with_name(name))

    assert ctl.main(moved, ["relocate"]) == 1

    assert "special characters" in capsys.readouterr().err
    assert (moved / "etc" / "supervisord.conf").read_text() == before


def test_what_was_not_edited_before_relocate_is_not_edited_after_it(root: Path) -> None:
    moved = root.rename(root.with_name("moved"))
    ctl.main(moved, ["relocate"])
    said: list[str] = []

    etc.write(moved / "etc", moved, plan("--port=4001"), said.append)

    assert not [line for line in said if "edited" in line]
    assert "--port=4001" in (moved / "etc" / "supervisord.conf").read_text()


def test_an_option_that_leads_into_the_deployment_moves_with_it(root: Path) -> None:
    etc.write(root / "etc", root, plan(f"--unix-socket={root}/devpi.sock"), lambda _: None)
    moved = root.rename(root.with_name("moved"))

    ctl.main(moved, ["relocate"])

    assert f"--unix-socket={moved}/devpi.sock" in (moved / "etc/supervisord.conf").read_text()
    assert ctl.read_marker(moved)["options"] == [["unix-socket", f"{moved}/devpi.sock"]]


@pytest.mark.parametrize(
    "shebang",
    ["#!{0}/bin/python3\n", "#!/bin/sh\n'''exec' \"{0}/bin/python\" \"$0\" \"$@\"\n' '''\n"],
)
@pytest.mark.parametrize("text", ["import sys", '"""Docs."""\nfrom __future__ import annotations'])
def test_a_script_finds_the_python_beside_it(shebang: str, text: str, tmp_path: Path) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "python").symlink_to(sys.executable)
    script = binaries / "tool"
    script.write_text(f"{shebang.format('/gone')}{text}\nprint('it runs')\n")
    script.chmod(0o755)

    ctl.unfasten(tmp_path, tmp_path)

    (tmp_path / "link").symlink_to(script)
    answer = subprocess.run([tmp_path / "link"], capture_output=True, text=True, cwd="/")
    assert (answer.stdout, answer.stderr) == ("it runs\n", "")


def test_a_script_of_the_shell_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").write_text("#!/bin/sh\necho python\n")

    ctl.unfasten(tmp_path, tmp_path)

    assert (tmp_path / "bin" / "tool").read_text() == "#!/bin/sh\necho python\n"


def test_the_socket_of_a_long_path_is_at_home_and_its_own(tmp_path: Path) -> None:
    home = Path("/home/me")
    long = [Path("/") / ("x" * 120) / name for name in "ab"]

    sockets = [ctl.socket_path(root, home) for root in long]

    assert ctl.socket_path(Path("/srv/t"), home) == Path("/srv/t/supervisor.sock")
    assert {path.parent for path in sockets} == {home / ".devpi" / "run"}
    assert len(set(sockets)) == 2


def test_a_folder_that_is_no_deployment_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl.main(tmp_path, ["status"]) == 1
    assert "is not a deployment" in capsys.readouterr().err


# Configuration that a person has edited


def test_an_edited_file_is_kept_and_the_new_one_is_beside_it(root: Path) -> None:
    config = root / "etc" / "supervisord.conf"
    mine = config.read_text() + "; mine\n"
    config.write_text(mine)
    said: list[str] = []

    etc.write(root / "etc", root, plan("--port=4001"), said.append)

    assert config.read_text() == mine
    assert "--port=4001" in (root / "etc" / "supervisord.conf.new").read_text()
    assert "  -; mine" in said


def test_an_edited_file_that_nothing_is_new_for_has_none_beside_it(root: Path) -> None:
    config = root / "etc" / "nginx-devpi.conf"
    config.write_text("mine")

    etc.write(root / "etc", root, plan("--port=4000"), lambda _: None)

    assert config.read_text() == "mine"
    assert not list((root / "etc").glob("*.new"))


def test_the_options_are_remembered(root: Path) -> None:
    words = gendeploy.remembered(root, given(["--threads=3"], {}))

    assert [(word.option.name, word.text) for word in words] == [("port", "4000")]
    assert gendeploy.remembered(root, given(["--port=4001"], {})) == []


def test_a_password_is_in_one_file_that_only_its_owner_may_read(root: Path) -> None:
    argv = ["--gen-config", "--mirror-url=http://me:geheim@upstream/simple/"]
    made = Plan(read(argv, {}), given(argv, {}))

    etc.write(root / "etc", root, made, lambda _: None)

    secret = [path for path in (root / "etc").iterdir() if "geheim" in path.read_text()]
    assert [path.name for path in secret] == [etc.SECRETS]
    assert secret[0].stat().st_mode & 0o777 == 0o600
    assert read(["-c", str(secret[0])], {}).mirrors[0].urls == (
        "http://me:geheim@upstream/simple/",
    )


def secrets_of(root: Path) -> object:
    return yaml.safe_load((root / "etc" / etc.SECRETS).read_text())


def test_what_was_written_beside_a_password_is_kept(root: Path) -> None:
    secret = root / "etc" / etc.SECRETS
    mirrors = {"root/other": {"mirror_url": "https://other.example/simple/"}}
    secret.write_text(yaml.safe_dump({"mirrors": mirrors, "devpi-server": {"threads": 7}}))
    url = "http://me:geheim@upstream/simple/"

    argv = ["--gen-config", f"--mirror-url={url}"]
    etc.write(root / "etc", root, Plan(read(argv, {}), given(argv, {})), lambda _: None)

    assert secrets_of(root) == {
        "mirrors": mirrors,
        "devpi-server": {"threads": 7, "mirror-url": url},
    }
    assert secret.stat().st_mode & 0o777 == 0o600


def test_of_several_mirrors_none_is_lost_when_one_has_a_password(root: Path) -> None:
    urls = ["http://me:geheim@a/simple/", "http://b/simple/"]
    argv = ["--gen-config", *(f"--mirror-url={url}" for url in urls)]
    made = Plan(read(argv, {}), given(argv, {}))

    etc.write(root / "etc", root, made, lambda _: None)

    words = [f"-c{root / 'etc' / etc.SECRETS}", *made.words]
    assert list(read(words, {}).mirrors[0].urls) == urls


def test_a_password_goes_when_its_option_is_given_without_one(root: Path) -> None:
    argv = ["--gen-config", "--mirror-url=http://me:geheim@upstream/simple/"]
    etc.write(root / "etc", root, Plan(read(argv, {}), given(argv, {})), lambda _: None)

    etc.write(root / "etc", root, plan(MIRROR), lambda _: None)

    assert "geheim" not in (root / "etc" / etc.SECRETS).read_text()


def test_a_file_with_passwords_that_cannot_be_read_is_left_alone(root: Path) -> None:
    secret = root / "etc" / etc.SECRETS
    secret.write_text("devpi-server: [")
    argv = ["--gen-config", "--mirror-url=http://me:geheim@upstream/simple/"]

    with pytest.raises(Refused, match=etc.SECRETS):
        etc.write(root / "etc", root, Plan(read(argv, {}), given(argv, {})), lambda _: None)

    assert secret.read_text() == "devpi-server: ["


# What is refused


def test_elsewhere_than_on_unix_one_sentence_says_so() -> None:
    with pytest.raises(Refused, match="for Unix only"):
        gendeploy.resolved(Path("x"), platform="win32")


@pytest.mark.parametrize("name", ["a%b", 'a"b', "a'b", "a\nb", "a #b", "$a"])
def test_a_path_that_a_configuration_file_would_misread_is_refused(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="special characters"):
        gendeploy.resolved(tmp_path / name)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(Refused, match="neither empty nor a deployment"):
        gendeploy.deploy(tmp_path, plan(), lambda _: None)

    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="Not a directory"):
        gendeploy.deploy(tmp_path / "file" / "t", plan(), lambda _: None)


def test_what_fails_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gendeploy.environment, "build", fails)

    with pytest.raises(Exception, match="No space left"):
        gendeploy.deploy(tmp_path / "t", plan(), lambda _: None)

    assert os.listdir(tmp_path) == []


def test_an_upgrade_that_fails_leaves_all_as_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    def files() -> dict[str, bytes]:
        return {
            str(p): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != ctl.LOCK
        }

    before = files()
    monkeypatch.setattr(gendeploy.environment, "build", fails)

    with pytest.raises(KeyboardInterrupt):
        gendeploy.deploy(root, plan("--port=4001"), lambda _: None)

    assert files() == before
    assert json.loads((root / ctl.MARKER).read_text())["options"] == [["port", "4000"]]
