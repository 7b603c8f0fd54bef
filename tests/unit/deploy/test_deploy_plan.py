"""The options of a deployment, and the files that they are written to."""

from __future__ import annotations

import json
import plistlib
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from devpi_server.deploy import genconfig, render
from devpi_server.deploy.plan import Plan
from devpi_server.errors import ConfigError, Refused
from devpi_server.settings import given, read

PASSWORD = "--mirror-url=http://me:geheim@upstream/simple/"
FILES = {
    "supervisor-devpi.conf",
    "supervisord.conf",
    "nginx-devpi.conf",
    "nginx-devpi-caching.conf",
    "crontab",
    "net.devpi.plist",
    "devpi.service",
    "gunicorn.conf.py",
    "uwsgi.ini",
    "logrotate",
    "prometheus.yml",
}


def plan(*flags: str, environ: Mapping[str, str] | None = None) -> Plan:
    argv = ["--gen-config", *flags]
    if not any("mirror-url" in flag for flag in flags):
        argv.append("--mirror-url=http://upstream/simple/")
    return Plan(read(argv, environ or {}), given(argv, environ or {}))


@pytest.fixture
def generate(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Write the examples; file name → text, and the lines that were said."""

    def write(*flags: str) -> dict[str, str]:
        said: list[str] = []
        folder = tmp_path / "gen-config"
        genconfig.write(plan(*flags), folder, said.append)
        return {path.name: path.read_text() for path in folder.iterdir()} | {
            "said": "\n".join(said)
        }

    return write


def test_what_stands_in_the_environment_is_an_option_of_the_deployment() -> None:
    words = plan(environ={"DEVPISERVER_REQUEST_TIMEOUT": "9"}).words

    assert "--request-timeout=9" in words


def test_a_flag_beats_the_environment_in_a_deployment_too() -> None:
    words = plan("--threads=3", environ={"DEVPISERVER_THREADS": "9"}).words

    assert [word for word in words if "threads" in word] == ["--threads=3"]


def test_paths_are_absolute_wherever_the_deployment_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yml").write_text("devpi-server:\n")

    assert f"--configfile={tmp_path}/x.yml" in plan("--configfile=x.yml").words


def test_every_mirror_url_is_taken_over() -> None:
    words = plan("--mirror-url=http://a/", "--mirror-url=http://b/").words

    assert [word for word in words if "mirror" in word] == [
        "--mirror-url=http://a/",
        "--mirror-url=http://b/",
    ]


def test_a_password_is_no_word_of_a_command() -> None:
    made = plan(PASSWORD)

    assert not any("geheim" in word for word in made.words)
    assert [word.text for word in made.secrets] == [PASSWORD.partition("=")[2]]


def test_nginx_on_the_same_machine_is_believed_unless_told_otherwise() -> None:
    assert "--trusted-proxy=127.0.0.1" in plan().words
    assert "--trusted-proxy=::1" in plan("--host=::").words
    assert plan("--trusted-proxy=10.0.0.1").words.count("--trusted-proxy=10.0.0.1") == 1


@pytest.mark.parametrize("flags", [["--port=0"], ["--port=65535", "--processes=2"]])
def test_a_deployment_needs_certain_ports(flags: list[str]) -> None:
    with pytest.raises(ConfigError):
        plan(*flags)


def test_processes_without_a_deployment_are_a_fault() -> None:
    with pytest.raises(ConfigError, match="--gendeploy"):
        read(["--processes=2"], {})


@pytest.mark.parametrize("name", ["gendeploy", "gen-config", "processes"])
def test_a_file_cannot_say_what_to_do_instead_of_serving(name: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(f"devpi-server:\n  {name}: '1'\n")

    with pytest.raises(ConfigError, match=f'unknown option "{name}"'):
        read(["-c", str(path)], {})


# --gen-config


def test_each_file_is_written_and_said(generate: Callable[..., dict[str, str]]) -> None:
    made = generate()

    assert made.keys() - {"said"} == FILES
    for name in FILES:
        assert f"gen-config/{name}" in made["said"]


def test_the_options_are_in_every_file_that_starts_a_server(
    generate: Callable[..., dict[str, str]],
) -> None:
    made = generate("--port=4123", "--datadir=/srv/my data", "--offline-mode", "--threads=7")

    for name in ("supervisor-devpi.conf", "crontab", "net.devpi.plist", "devpi.service"):
        for word in ("--port=4123", "--datadir=/srv/my data", "--offline-mode", "--threads=7"):
            assert word in made[name], name


def test_no_file_and_no_line_has_a_password(generate: Callable[..., dict[str, str]]) -> None:
    made = generate(PASSWORD)

    assert not [name for name, text in made.items() if "geheim" in text]
    assert "DEVPISERVER_MIRROR_URL" in made["said"]


def test_launchd_gets_the_words_one_by_one(generate: Callable[..., dict[str, str]]) -> None:
    words = plistlib.loads(generate("--datadir=/a & b")["net.devpi.plist"].encode())

    assert "--datadir=/a & b" in words["ProgramArguments"]


def test_prometheus_asks_every_process(generate: Callable[..., dict[str, str]]) -> None:
    jobs = yaml.safe_load(generate("--processes=2", "--port=4000")["prometheus.yml"])

    assert jobs["scrape_configs"][0]["static_configs"][0]["targets"] == [
        "127.0.0.1:4000",
        "127.0.0.1:4001",
    ]


def test_cron_does_not_take_a_percent_sign_for_a_line_end() -> None:
    assert render.for_cron(["a", "b%20 c"]) == r"a 'b\%20 c'"


def test_systemd_does_not_expand_what_is_in_an_option() -> None:
    assert render.for_systemd(["a%b", "$HOME x"]) == 'a%%b "$$HOME x"'


def test_supervisor_does_not_expand_what_is_in_an_option() -> None:
    word = render.for_supervisor(["--outside-url=http://h/a%20'b"])

    assert shlex.split(word % {}) == ["--outside-url=http://h/a%20'b"]


def test_what_supervisor_would_cut_off_is_refused() -> None:
    with pytest.raises(Refused):
        render.for_supervisor(["--title=a ;b"])


def test_nginx_serves_the_place_that_clients_know() -> None:
    text = render.nginx(plan("--outside-url=https://pypi.example/devpi"), None)

    assert "server_name pypi.example;" in text
    assert "location /devpi/ {" in text
    assert "X-Outside-URL https://pypi.example/devpi;" in text


@pytest.mark.parametrize(
    ("host", "listener"),
    [("localhost", "127.0.0.1:3141"), ("0.0.0.0", "127.0.0.1:3141"), ("::", "[::1]:3141")],
)
def test_nginx_asks_where_the_server_listens(host: str, listener: str) -> None:
    assert f"server {listener};" in render.nginx(plan(f"--host={host}"), None)


def test_logrotate_knows_where_cron_and_launchd_let_the_log_go(
    generate: Callable[..., dict[str, str]],
) -> None:
    made = generate("--datadir=/srv/my data")
    launched = plistlib.loads(made["net.devpi.plist"].encode())["StandardOutPath"]

    (line,) = [line for line in made["logrotate"].splitlines() if line.endswith("{")]
    logs = shlex.split(line)[:-1]

    assert launched in logs
    assert [log for log in logs if f">>'{log}'" in made["crontab"]]


# --unix-socket


def test_nginx_asks_at_the_socket(generate: Callable[..., dict[str, str]]) -> None:
    made = generate("--unix-socket=/run/devpi.sock")

    assert 'server "unix:/run/devpi.sock";' in made["nginx-devpi.conf"]
    for name in ("supervisor-devpi.conf", "crontab", "net.devpi.plist", "devpi.service"):
        assert "--unix-socket=/run/devpi.sock" in made[name], name
        assert "--trusted-proxy=" in made[name], name
        assert "--port" not in made[name], name
    assert 'ReadWritePaths="/run"' in made["devpi.service"]


def test_each_process_has_a_socket_of_its_own(generate: Callable[..., dict[str, str]]) -> None:
    made = generate("--unix-socket=/my run/devpi.sock", "--processes=2", "--port=4000")

    assert 'server "unix:/my run/devpi-4000.sock" max_fails=0;' in made["nginx-devpi.conf"]
    assert 'server "unix:/my run/devpi-4001.sock" max_fails=0;' in made["nginx-devpi.conf"]
    assert "'--unix-socket=/my run/devpi-%(process_num)d.sock'" in made["supervisor-devpi.conf"]
    assert made["crontab"].count("/my run/devpi-4001.sock") == 1


def test_who_may_open_the_socket_is_believed_unless_told_otherwise() -> None:
    assert "--trusted-proxy=*" in plan("--unix-socket=/s").words
    assert "--trusted-proxy=*" not in plan("--unix-socket=/s", "--trusted-proxy=1.2.3.4").words


def test_prometheus_asks_nginx_where_there_is_no_port() -> None:
    assert plan("--unix-socket=/s", "--outside-url=https://pypi.example").monitored == [
        "pypi.example:80"
    ]


def test_a_socket_that_nginx_cannot_name_is_refused() -> None:
    with pytest.raises(Refused):
        render.nginx(plan('--unix-socket=/a"b'), None)


# Servers of another make


def test_gunicorn_gets_the_options_as_variables(generate: Callable[..., dict[str, str]]) -> None:
    made = generate(
        *("--host=::1", "--port=4000", "--datadir=/my data", "--threads=7", "--offline-mode"),
        *("--mirror-url=http://a/", "--mirror-url=http://b/", "--processes=3"),
    )
    config: dict[str, object] = {}
    exec(made["gunicorn.conf.py"], config)

    assert config["bind"] == "[::1]:4000"
    assert (config["workers"], config["threads"]) == (3, 7)
    assert config["raw_env"] == [
        "DEVPISERVER_DATADIR=/my data",
        "DEVPISERVER_THREADS=7",
        "DEVPISERVER_MIRROR_URL=http://a/ http://b/",
        "DEVPISERVER_OFFLINE_MODE=yes",
        "DEVPISERVER_TRUSTED_PROXY=::1",
        "DEVPISERVER_PUBLISH=yes",
    ]


def test_uwsgi_gets_the_options_as_variables(generate: Callable[..., dict[str, str]]) -> None:
    made = generate("--datadir=/100% data", "--processes=3", "--threads=7")

    lines = made["uwsgi.ini"].splitlines()
    (code,) = [line.partition(" = ")[2] for line in lines if line.startswith("eval")]
    code = code.replace("%%", "%")
    variables = json.loads(code[code.index("{") : code.index("}") + 1])
    assert variables["DEVPISERVER_DATADIR"] == "/100% data"
    assert {"http-socket = 127.0.0.1:3141", "processes = 3", "threads = 7"} <= set(lines)


def test_both_listen_at_the_socket_with_its_permissions(
    generate: Callable[..., dict[str, str]],
) -> None:
    made = generate("--unix-socket=/run/s", "--unix-socket-perms=660")
    config: dict[str, object] = {}
    exec(made["gunicorn.conf.py"], config)

    assert (config["bind"], config["umask"]) == ("unix:/run/s", 0o117)
    assert "http-socket = /run/s\nchmod-socket = 660\n" in made["uwsgi.ini"]
    assert "UNIX_SOCKET" not in made["gunicorn.conf.py"] + made["uwsgi.ini"]


@pytest.mark.parametrize("path", ["/a$(b)", "/a@(b)"])
def test_what_uwsgi_would_expand_is_refused(path: str) -> None:
    with pytest.raises(Refused):
        render.for_uwsgi(path)
