"""A deployment as a new user makes one: with a real supervisor, cron and nginx, and no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from server import Http, Response, until
from upstream import Upstream

from .clients import Desk, asked_all_the_time, free_port, is_served

_STOPPED = 3  # exit code of supervisorctl status, where not all run


@dataclass
class Deployment:
    """What ``--gendeploy`` has made."""

    root: Path
    desk: Desk
    port: int
    said: str = ""
    processes: list[Http] = field(default_factory=list)  # how to reach each one

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        reach = {"NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost,127.0.0.1"}
        return self.desk.attempt(self.root / "bin" / "devpi-ctl", *words, **reach)

    def started(self) -> Deployment:
        """It, with everything running."""
        done = self.control("start", "all")
        assert done.returncode == 0, done
        until(lambda: is_served(self.port))
        return self

    def stopped(self) -> Deployment:
        """It, with nothing running."""
        done = self.control("shutdown")
        assert done.returncode == 0, done
        return self

    def pids(self) -> set[int]:
        """The pids of the servers."""
        return {int(pid) for pid in re.findall(r"pid (\d+)", self.control("status").stdout)}

    def get(self, path: str) -> Response:
        return Http(f"http://127.0.0.1:{self.port}/")(path)

    def text(self, name: str) -> str:
        return (self.root / name).read_text()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as up:
        up.release("demo", "1.0")
        yield up


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def deployment(
    desk: Desk, upstream: Upstream, program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A deployment in a path with a space; the installation that made it is gone."""
    made = Deployment(tmp_path_factory.mktemp("target") / "my deploy", desk, free_port())
    elsewhere = shutil.copytree(program.parents[1], desk.folder / "gone", symlinks=True)
    made.said = desk(
        *(elsewhere / "bin" / "devpi-server", f"--gendeploy={made.root}"),
        *(f"--port={made.port}", f"--mirror-url={upstream.simple_url}"),
    )
    shutil.rmtree(elsewhere)
    yield made
    made.stopped()


@pytest.fixture
def crontab(need: Callable[[str], str]) -> Iterator[Callable[..., str]]:
    """The real crontab; whatever this user has in it is put back."""
    path = need("crontab")

    def run(*words: str, text: str | None = None) -> str:
        done = subprocess.run([path, *words], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done
        return done.stdout

    before = subprocess.run([path, "-l"], capture_output=True, text=True)
    yield run
    if before.returncode == 0:
        run("-", text=before.stdout)
    else:
        subprocess.run([path, "-r"], capture_output=True)


def install(desk: Desk, program: Path, url: str, folder: str) -> None:
    desk(
        *(program.parent / "pip", "install", "--no-cache-dir", "--no-deps"),
        *("-i", f"{url}ext/pypi/simple/", "--target", desk.folder / folder, "demo"),
    )


def test_the_closing_words_say_what_to_do(deployment: Deployment) -> None:
    for words in (
        f"alias devpi-ctl=\"'{deployment.root}/bin/devpi-ctl'\"",
        "devpi-ctl start all",
        f"index-url = http://localhost:{deployment.port}/ext/pypi/simple/",
        f"{deployment.root}/etc/nginx-devpi.conf",
    ):
        assert words in deployment.said
    assert deployment.said.endswith("\nmay quick pypi installations be with you :)\n")


def test_pip_installs_through_it_once_it_is_started(
    deployment: Deployment, desk: Desk, program: Path
) -> None:
    deployment.started()

    install(desk, program, f"http://localhost:{deployment.port}/", "through-it")

    assert (desk.folder / "through-it" / "demo-1.0.dist-info").is_dir()
    assert list((deployment.root / "data" / "files").rglob("*"))


def test_nothing_starts_before_it_is_told_to(deployment: Deployment) -> None:
    deployment.stopped()

    done = deployment.control("status")

    assert "STOPPED" in done.stdout
    assert done.returncode == _STOPPED


def test_the_exit_codes_are_those_of_supervisorctl(deployment: Deployment) -> None:
    deployment.started()

    assert deployment.control("status").returncode == 0
    assert deployment.control("stop", "all").returncode == 0
    assert deployment.control("status").returncode == _STOPPED
    assert deployment.control("start", "no-such-program").returncode == 1


def test_tail_shows_the_log_of_the_server(deployment: Deployment) -> None:
    deployment.started()

    assert "serving at url: " in deployment.control("tail", "devpi-server").stdout


def test_tail_f_goes_on_showing(deployment: Deployment) -> None:
    deployment.started()
    command = [deployment.root / "bin" / "devpi-ctl", "tail", "-f", "devpi-server"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        deployment.get("/ext/pypi/simple/followed/")
        assert any("/followed/" in line for line in tail.stdout)
        tail.terminate()


def test_shutdown_returns_when_nothing_runs_any_more(deployment: Deployment) -> None:
    deployment.started()

    assert deployment.control("shutdown").returncode == 0

    assert not is_served(deployment.port)
    assert not (deployment.root / "supervisor.sock").exists()
    assert not (deployment.root / "supervisord.pid").exists()


def test_it_can_be_called_through_a_link_from_anywhere(deployment: Deployment, desk: Desk) -> None:
    link = desk.folder / "devpi-ctl"
    link.symlink_to(deployment.root / "bin" / "devpi-ctl")

    done = subprocess.run([link, "avail"], cwd="/", capture_output=True, text=True)

    assert done.stdout.startswith("devpi-server ")


def test_variables_of_the_shell_do_not_configure_it(deployment: Deployment) -> None:
    deployment.stopped()
    control = deployment.root / "bin" / "devpi-ctl"

    deployment.desk(control, "start", "all", DEVPISERVER_OFFLINE_MODE="nonsense", PYTHONHOME="/x")

    assert deployment.control("status").returncode == 0


# Upgrades


def test_what_runs_is_not_upgraded(deployment: Deployment, program: Path, desk: Desk) -> None:
    deployment.started()

    done = desk.attempt(program, f"--gendeploy={deployment.root}")

    assert done.returncode == 1
    assert "devpi-ctl' shutdown" in done.stderr
    assert deployment.control("status").returncode == 0


def test_an_upgrade_keeps_data_logs_options_and_what_was_edited(
    deployment: Deployment, program: Path, desk: Desk
) -> None:
    deployment.stopped()
    (deployment.root / "data" / "mine").touch()
    (deployment.root / "log" / "mine").touch()
    nginx = deployment.root / "etc" / "nginx-devpi.conf"
    nginx.write_text(nginx.read_text().replace("devpi.localhost", "pypi.company.example"))

    said = desk(program, f"--gendeploy={deployment.root}", "--threads=7", "--host=127.0.0.1")

    assert (deployment.root / "data" / "mine").exists()
    assert (deployment.root / "log" / "mine").exists()
    config = deployment.text("etc/supervisord.conf")
    assert f"--port={deployment.port}" in config
    assert "--threads=7" in config
    assert "pypi.company.example" in nginx.read_text()
    assert "you have edited" in said
    assert not (deployment.root / ".gendeploy").exists()
    deployment.started()


def test_an_upgrade_that_cannot_be_made_leaves_what_works(
    deployment: Deployment, program: Path, desk: Desk
) -> None:
    deployment.stopped()
    before = deployment.text("etc/supervisord.conf")
    needed = next(program.parents[1].glob("lib/python*/site-packages/waitress/task.py"))
    needed.rename(needed.with_name("hidden"))

    try:
        done = desk.attempt(program, f"--gendeploy={deployment.root}", "--threads=9")
    finally:
        needed.with_name("hidden").rename(needed)

    assert done.returncode != 0, done
    print(done)
    assert deployment.text("etc/supervisord.conf") == before
    deployment.started()


def test_a_copy_works_beside_the_original_after_relocate(
    deployment: Deployment, program: Path, desk: Desk, tmp_path: Path
) -> None:
    deployment.stopped()
    root = tmp_path / ("long" * 30) / "copy"
    shutil.copytree(deployment.root, root, symlinks=True)
    copy = Deployment(root, desk, free_port())
    refused = copy.control("status")
    copy.desk(root / "bin" / "devpi-ctl", "relocate")
    desk(program, f"--gendeploy={root}", f"--port={copy.port}")

    try:
        copy.started()

        assert refused.returncode == 1
        assert "relocate" in refused.stderr
        assert deployment.control("status").returncode == _STOPPED
        assert copy.control("status").returncode == 0
        deployment.started()
        assert deployment.control("stop", "all").returncode == 0
        assert copy.get("/+status").status == 200
    finally:
        copy.stopped()


@pytest.fixture(scope="module", params=["ports", "sockets"])
def several(
    request: pytest.FixtureRequest,
    desk: Desk,
    upstream: Upstream,
    program: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """A deployment of two processes that run."""
    folder = tmp_path_factory.mktemp("several")
    made = Deployment(folder / "two of them", desk, free_port(2))
    words = [f"--port={made.port}", "--processes=2", f"--mirror-url={upstream.simple_url}"]
    addresses = [f"http://127.0.0.1:{made.port + number}/" for number in (0, 1)]
    if request.param == "sockets":
        words.append(f"--unix-socket={folder / 'my devpi.sock'}")
        paths = [folder / f"my devpi-{made.port + number}.sock" for number in (0, 1)]
        addresses = [f"http+unix://{quote(str(path), '')}/" for path in paths]
    made.processes = [Http(address) for address in addresses]
    desk(program, f"--gendeploy={made.root}", *words)
    assert made.control("start", "devpi-server").returncode == 0
    for process in made.processes:
        until(process.answers)
    yield made
    made.stopped()


def test_several_processes_share_the_data(several: Deployment) -> None:
    for process in several.processes:
        assert process.links("demo")
    assert several.control("status").stdout.count("RUNNING") == 2


def test_tail_shows_the_logs_of_all(several: Deployment) -> None:
    done = several.control("tail", "devpi-server")

    assert done.returncode == 0, done
    assert done.stdout.count("serving at url: ") == 2


def test_nginx_shares_the_requests_among_them(
    several: Deployment, nginx: Callable[[str], int]
) -> None:
    proxy = Http(f"http://127.0.0.1:{nginx(several.text('etc/nginx-devpi.conf'))}/")
    for _ in several.processes:
        assert proxy("/+status").status == 200  # a page, nginx would send by itself

    for number in (0, 1):
        log = f"log/devpi-server-{several.port + number}.log"
        # By the client's address: a socket would have "localhost".
        until(lambda log=log: '127.0.0.1 "GET' in several.text(log))  # type: ignore[misc]


def test_a_restart_in_turn_fails_no_request_through_nginx(
    several: Deployment, nginx: Callable[[str], int]
) -> None:
    proxy = Http(f"http://127.0.0.1:{nginx(several.text('etc/nginx-devpi.conf'))}/")
    file = next(iter(proxy.links("demo").values()))["url"]
    before = several.pids()

    with asked_all_the_time(proxy, ["/ext/pypi/simple/demo/", file]) as faults:
        done = several.control("restart", "devpi-server")

    assert faults == []
    assert done.returncode == 0, done
    assert len(before) == len(several.pids()) == 2
    assert not before & several.pids()


# What is around it


def test_cron_accepts_its_line_beside_those_of_the_user(
    deployment: Deployment, program: Path, desk: Desk, crontab: Callable[..., str]
) -> None:
    deployment.stopped()
    mine = "MAILTO=me\n0 3 * * * echo backup"
    crontab("-", text=f"{mine}\n")
    line = f"@reboot '{deployment.root}/bin/devpi-ctl' start all\n"

    desk(program, f"--gendeploy={deployment.root}")
    crontab(str(deployment.root / "etc" / "crontab"))

    assert crontab("-l") == f"{mine}\n{line}"


def test_the_line_for_cron_is_not_added_twice(
    deployment: Deployment, program: Path, desk: Desk, crontab: Callable[..., str]
) -> None:
    deployment.stopped()
    line = f"@reboot '{deployment.root}/bin/devpi-ctl' start all\n"
    crontab("-", text=line)

    desk(program, f"--gendeploy={deployment.root}")

    assert deployment.text("etc/crontab") == line


def test_without_cron_there_is_a_word_and_no_crontab(
    deployment: Deployment, program: Path, desk: Desk
) -> None:
    deployment.stopped()
    (deployment.root / "etc" / "crontab").unlink(missing_ok=True)
    tools = desk.folder / "tools"
    tools.mkdir()
    for tool in ("sh", "dirname", "readlink"):
        (tools / tool).symlink_to(shutil.which(tool) or "")

    said = desk(program, f"--gendeploy={deployment.root}", PATH=str(tools))

    assert "there is no crontab here" in said
    assert not (deployment.root / "etc" / "crontab").exists()


@pytest.fixture
def gen_config(program: Path, desk: Desk, deployment: Deployment) -> Path:
    desk(program, "--gen-config", f"--port={deployment.port}")
    return desk.folder / "gen-config"


@pytest.mark.parametrize("name", ["nginx-devpi.conf", "nginx-devpi-caching.conf"])
def test_pip_installs_through_nginx_as_it_was_configured(
    name: str,
    deployment: Deployment,
    gen_config: Path,
    program: Path,
    desk: Desk,
    nginx: Callable[[str], int],
) -> None:
    deployment.started()
    port = nginx((gen_config / name).read_text())

    install(desk, program, f"http://localhost:{port}/", f"through-{name}")
    again = Http(f"http://127.0.0.1:{port}/")
    url = next(iter(again.links("demo").values()))["url"]
    kept = [again(url).headers.get("X-Nginx-Cache") for _ in range(2)]

    assert (desk.folder / f"through-{name}" / "demo-1.0.dist-info").is_dir()
    assert kept[1] == ("HIT" if "caching" in name else None)


def test_logrotate_accepts_its_file(gen_config: Path, need: Callable[[str], str]) -> None:
    done = subprocess.run(
        [need("logrotate"), "-d", gen_config / "logrotate"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr


def test_systemd_accepts_both_services(
    gen_config: Path, deployment: Deployment, need: Callable[[str], str]
) -> None:
    for service in (gen_config / "devpi.service", deployment.root / "etc" / "devpi.service"):
        done = subprocess.run(
            [need("systemd-analyze"), "verify", service], capture_output=True, text=True
        )

        assert done.returncode == 0, done.stderr
        assert str(service.name) not in done.stderr, done.stderr


def test_supervisor_runs_what_gen_config_wrote(
    program: Path, desk: Desk, upstream: Upstream, tmp_path: Path
) -> None:
    port = free_port()
    options = (f"--datadir={tmp_path / 'my data'}", f"--mirror-url={upstream.simple_url}")
    folder = desk.folder / "gen-config"
    desk(program, "--gen-config", f"--port={port}", *options)
    control = [program.parent / "supervisorctl", "-c", folder / "supervisord.conf"]

    desk(program.parent / "supervisord", "-c", folder / "supervisord.conf")
    try:
        until(lambda: is_served(port))
    finally:
        desk(*control, "shutdown")
        until(lambda: not is_served(port))

    assert os.listdir(tmp_path / "my data")
