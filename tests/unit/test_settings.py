"""Options: where they come from, what they may be, and what the user is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pip._internal.models.index import PyPI

from devpi_server import __version__
from devpi_server.errors import ConfigError
from devpi_server.mirror_settings import WORDS, MirrorSettings
from devpi_server.settings import (
    OPTIONS,
    Settings,
    _ask_pip,
    default_mirror_url,
    given,
    read,
)

Write = Callable[[str], str]
UPSTREAM = "--mirror-url=http://upstream/simple/"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file and return its path."""

    def write_file(content: str) -> str:
        path = tmp_path / "devpi.yml"
        path.write_text(content)
        return str(path)

    return write_file


def settings(*argv: str, environ: Mapping[str, str] | None = None) -> Settings:
    return read([UPSTREAM, *argv], environ or {})


def faults(*argv: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        settings(*argv, environ=environ)
    return caught.value.faults


def test_folders_of_packages_are_looked_into_in_the_order_in_which_they_are_given(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "b, c", tmp_path / "a"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(tmp_path)
    in_file = write("devpi-server:\n  packages:\n  - b, c\n  - a\n")
    words = ["--packages", "b, c", "--packages", "a"]

    assert settings(*words).packages == (first, second)
    assert settings("-c", in_file).packages == (first, second)
    assert settings(environ={"DEVPISERVER_PACKAGES": "a"}).packages == (second,)
    assert [word.text for word in given(words, {})] == [str(first), str(second)]


def test_a_folder_of_packages_is_there(tmp_path: Path) -> None:
    (fault,) = faults("--packages", str(tmp_path / "none"))

    assert "there is no folder" in fault


def test_there_is_nothing_to_merge_without_a_folder_of_packages() -> None:
    assert faults("--merge-upstream") == ("--merge-upstream: is of use with --packages only",)


def test_the_defaults_are_those_of_the_manual() -> None:
    assert read([], {}) == Settings(
        datadir=Path.home() / ".devpi" / "serverdata",
        host="localhost",
        port=3141,
        unix_socket=None,
        unix_socket_perms=0o600,
        refresh=60.0,
        mirrors=(MirrorSettings("root/pypi", (PyPI.simple_url + "/",), 1800.0),),
        request_timeout=5.0,
        threads=50,
        max_request_body_size=10 * 1024**3,
        offline_mode=False,
        outside_url=None,
        absolute_urls=False,
        trusted_proxy=None,
        bottleserver="waitress",
        debug=False,
        secretfile=None,
        login_lifetime=36000.0,
        restrict_modify=None,
    )


# name, then what stands in file, variable and flag, and the values of these
CHAIN = {
    "port": (["1", "2", "3"], [1, 2, 3]),
    "host": (["a", "b", "c"], ["a", "b", "c"]),
    "refresh": (["1", "2.5", "3e1"], [1.0, 2.5, 30.0]),
    "datadir": (["/a", "/b", "/c"], [Path("/a"), Path("/b"), Path("/c")]),
    "outside-url": (["http://a", "http://b", "http://c"], ["http://a", "http://b", "http://c"]),
    "trusted-proxy": (["::1", "*", "127.0.0.1"], ["::1", "*", "127.0.0.1"]),
    "secretfile": (["/a", "/b", "/c"], [Path("/a"), Path("/b"), Path("/c")]),
    "login-lifetime": (["1", "2.5", "3e5"], [1.0, 2.5, 300000.0]),
    "restrict-modify": (
        ["root", "root,:ops", "root,a"],
        [("root",), ("root", ":ops"), ("root", "a")],
    ),
}


@pytest.mark.parametrize("name", CHAIN)
def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(name: str, write: Write) -> None:
    texts, values = CHAIN[name]
    field = name.replace("-", "_")
    file = ["-c", write(f"devpi-server:\n  {name}: '{texts[0]}'\n")]
    environ = {f"DEVPISERVER_{field.upper()}": texts[1]}
    default = getattr(settings(), field)

    chain = [
        settings(*file, f"--{name}", texts[2], environ=environ),
        settings(*file, environ=environ),
        settings(*file),
    ]

    assert [getattr(each, field) for each in chain] == values[::-1]
    assert default not in values


def test_a_switch_follows_the_same_chain(write: Write) -> None:
    on, off = write("devpi-server:\n  debug: on\n"), {"DEVPISERVER_DEBUG": "off"}

    assert settings("-c", on).debug
    assert not settings("-c", on, environ=off).debug
    assert settings("-c", on, "--debug", environ=off).debug


@pytest.mark.parametrize("text", ["true", "yes", "on", "1", "True", "YES"])
def test_a_switch_can_be_turned_on_in_many_words(text: str, write: Write) -> None:
    assert settings(environ={"DEVPISERVER_OFFLINE_MODE": text}).offline_mode
    assert settings("-c", write(f"devpi-server:\n  offline-mode: {text}\n")).offline_mode


@pytest.mark.parametrize("text", ["false", "no", "off", "0", "False", "NO"])
def test_a_switch_can_be_turned_off_in_many_words(text: str, write: Write) -> None:
    assert not settings(environ={"DEVPISERVER_OFFLINE_MODE": text}).offline_mode
    assert not settings("-c", write(f"devpi-server:\n  offline-mode: {text}\n")).offline_mode


def test_the_file_takes_dashes_and_underscores(write: Write) -> None:
    assert settings("-c", write("devpi-server:\n  request_timeout: 7\n")).request_timeout == 7
    assert settings("-c", write("devpi-server:\n  request-timeout: 8\n")).request_timeout == 8


def test_the_file_can_be_named_by_a_variable(write: Write) -> None:
    path = write("devpi-server:\n  port: 8080\n")

    assert settings(environ={"DEVPISERVER_CONFIGFILE": path}).port == 8080


def test_other_sections_of_the_file_are_for_others(write: Write) -> None:
    assert settings("-c", write("other:\n  x: [1]\ndevpi-server:\n  port: 1\n")).port == 1


def test_a_section_of_comments_says_nothing(write: Write) -> None:
    assert settings("-c", write("devpi-server:\n  # port: 1\n")).port == 3141


def test_serverdir_is_datadir_everywhere(write: Write) -> None:
    file = write("devpi-server:\n  serverdir: /data\n")

    assert settings("--serverdir", "/data").datadir == Path("/data")
    assert settings(environ={"DEVPISERVER_SERVERDIR": "/data"}).datadir == Path("/data")
    assert settings("-c", file).datadir == Path("/data")
    assert settings("--serverdir", "/data", "--datadir", "/data/").datadir == Path("/data")


def test_serverdir_and_datadir_may_not_differ(write: Write) -> None:
    same = "are the same option, with different values"
    file = write("devpi-server:\n  serverdir: /a\n  datadir: /b\n")
    environ = {"DEVPISERVER_DATADIR": "/a", "DEVPISERVER_SERVERDIR": "/b"}

    assert faults("--datadir=/a", "--serverdir=/b") == (f"--datadir and --serverdir {same}",)
    assert faults(environ=environ) == (f"DEVPISERVER_DATADIR and DEVPISERVER_SERVERDIR {same}",)
    assert faults("-c", file) == (f"serverdir in {file} and datadir in {file} {same}",)


def test_the_last_of_one_flag_counts() -> None:
    assert settings("--port", "1", "--port", "2").port == 2


def test_the_data_directory_is_absolute_and_knows_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    assert settings("--datadir=~/x").datadir == Path("/home/me/x")
    assert settings("--datadir=x").datadir == Path.cwd() / "x"


def test_groups_and_users_stand_between_commas_whatever_the_blanks() -> None:
    told = settings("--restrict-modify= :Domain Users ,root,, alice,root,")

    assert told.restrict_modify == (":Domain Users", "root", "alice")


def test_the_last_of_those_who_may_modify_counts_alone() -> None:
    told = settings("--restrict-modify=root,alice", "--restrict-modify=root,bob")

    assert told.restrict_modify == ("root", "bob")


def test_urls_end_as_their_users_need_them() -> None:
    assert read(["--mirror-url=http://u/simple"], {}).mirrors[0].urls == ("http://u/simple/",)
    assert settings("--outside-url=https://me/pypi/").outside_url == "https://me/pypi"


NOT_A_URL = "this is not an http:// or https:// URL with a host name"
WRONG = [
    ("port", "-1", "-1 is not from 0 to 65535"),
    ("port", "65536", "65536 is not from 0 to 65535"),
    ("unix-socket-perms", "rw-------", '"rw-------" is not a mode in octal, as 600 or 660'),
    ("unix-socket-perms", "1777", '"1777" is not a mode in octal, as 600 or 660'),
    ("port", "http", '"http" is not a whole number'),
    ("port", "3141.0", '"3141.0" is not a whole number'),
    ("threads", "0", "0 is not from 1 to 1000"),
    ("threads", "1001", "1001 is not from 1 to 1000"),
    ("refresh", "0.5", "0.5 is not at least 1 seconds"),
    ("refresh", "often", '"often" is not a number of seconds'),
    ("mirror-cache-expiry", "-0.1", "-0.1 is not at least 0 seconds"),
    ("mirror-cache-expiry", "inf", '"inf" is not a number of seconds'),
    ("request-timeout", "0", "0 is not above 0 seconds"),
    ("request-timeout", "nan", '"nan" is not a number of seconds'),
    ("mirror-url", "ftp://host/", NOT_A_URL),
    ("mirror-url", "http://", NOT_A_URL),
    ("mirror-url", "http://host:99999/", NOT_A_URL),
    ("mirror-url", "http://[::1/", NOT_A_URL),
    ("mirror-url", "http://host/a b", NOT_A_URL),
    ("mirror-url", "http://host/?x=y", 'the URL may not have a "?" or "#"'),
    ("outside-url", "host/pypi", NOT_A_URL),
    ("outside-url", "http://host/#x", 'the URL may not have a "?" or "#"'),
    ("trusted-proxy", "nginx", '"nginx" is neither an IP address nor "*"'),
    ("host", "http://localhost", '"http://localhost" is not a name'),
    ("bottleserver", "a b", '"a b" is not a name'),
    ("datadir", "~no-such-user/x", '"~no-such-user/x" has no home directory to start from'),
    ("login-lifetime", "0", "0 is not at least 1 seconds"),
    ("login-lifetime", "forever", '"forever" is not a number of seconds'),
    ("restrict-modify", "alice,:ops", "root is missing"),
    ("restrict-modify", ":root", "root is missing"),
    ("restrict-modify", ",", "root is missing"),
    ("restrict-modify", "root,:", '":" is neither a user nor a :group'),
    ("restrict-modify", "root,a:b", '"a:b" is neither a user nor a :group'),
    ("restrict-modify", "root,a/b", '"a/b" is neither a user nor a :group'),
    ("host", "", "has no value"),
    ("datadir", " ", "has no value"),
]


@pytest.mark.parametrize(("name", "text", "reason"), WRONG)
def test_a_wrong_value_is_told_with_its_place(
    name: str, text: str, reason: str, write: Write
) -> None:
    variable = "DEVPISERVER_" + name.replace("-", "_").upper()
    file = write(f"devpi-server:\n  {name}: '{text}'\n")

    assert faults(f"--{name}={text}") == (f"--{name}: {reason}",)
    assert faults(environ={variable: text}) == (f"{variable}: {reason}",)
    assert faults("-c", file) == (f"{name} in {file}: {reason}",)


def test_a_wrong_switch_is_told() -> None:
    assert faults(environ={"DEVPISERVER_DEBUG": "maybe"}) == (
        'DEVPISERVER_DEBUG: "maybe" is neither yes nor no',
    )


def test_the_ends_of_a_range_belong_to_it() -> None:
    ends = settings("--port=0", "--threads=1", "--refresh=1", "--mirror-cache-expiry=0")

    assert (ends.port, ends.threads, ends.refresh, ends.mirrors[0].cache_expiry) == (0, 1, 1, 0)
    assert settings("--port=65535", "--threads=1000").port == 65535


def test_all_faults_of_all_sources_come_at_once(write: Write) -> None:
    file = write("devpi-server:\n  prot: 1\n  refresh: 0\n")

    told = faults("--port=x", "-c", file, "--bug", environ={"DEVPISERVER_THREADS": "0"})

    assert set(told) == {
        '--port: "x" is not a whole number',
        "unknown option --bug, did you mean --debug?",
        "DEVPISERVER_THREADS: 0 is not from 1 to 1000",
        f'unknown option "prot" in {file}, did you mean port?',
        f"refresh in {file}: 0 is not at least 1 seconds",
    }


def test_a_wrong_value_is_a_fault_even_where_another_overrides_it() -> None:
    assert faults("--port=1", environ={"DEVPISERVER_PORT": "x"}) == (
        'DEVPISERVER_PORT: "x" is not a whole number',
    )


def test_a_fault_does_not_repeat_a_password() -> None:
    assert "hunter2" not in "".join(faults("--mirror-url=ftp://me:hunter2@host/"))
    assert "hunter2" not in repr(settings("--mirror-url=http://me:hunter2@host/"))


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("--prot", "unknown option --prot, did you mean --port?"),
        ("--prot=1", "unknown option --prot, did you mean --port?"),
        ("--por", "unknown option --por, did you mean --port?"),
        ("--xyzzy", "unknown option --xyzzy"),
        ("start", 'unexpected argument "start"'),
    ],
)
def test_an_unknown_word_is_told_with_what_was_meant(word: str, fault: str) -> None:
    assert faults(word) == (fault,)


def test_the_value_of_an_unknown_option_is_no_fault_of_its_own() -> None:
    assert faults("--prot", "1") == ("unknown option --prot, did you mean --port?",)


def test_a_flag_without_its_value_is_told() -> None:
    assert faults("--port") == ("--port: expected one argument",)


def test_an_unknown_variable_is_told_with_what_was_meant() -> None:
    assert faults(environ={"DEVPISERVER_PROT": "1"}) == (
        "unknown variable DEVPISERVER_PROT, did you mean DEVPISERVER_PORT?",
    )


def test_variables_of_others_are_left_alone() -> None:
    assert settings(environ={"DEVPI_SOMETHING": "1", "PORT": "1"}).port == 3141


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yml"

    assert faults("-c", str(missing)) == (f"cannot read {missing}: No such file or directory",)
    assert faults("-c", str(tmp_path)) == (f"cannot read {tmp_path}: Is a directory",)
    assert faults("-c", "") == ("-c: has no value",)


def test_a_file_that_is_not_yaml_is_told_with_the_line(write: Write) -> None:
    file = write("devpi-server:\n  port: [1\n  host: x\n")

    assert faults("-c", file) == (f"{file} is not YAML, see line 3",)


def test_a_binary_file_is_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x00\xff\xfe")

    assert faults("-c", str(tmp_path / "x")) == (f"{tmp_path / 'x'} is not YAML",)


@pytest.mark.parametrize("content", ["", "- port\n", "port: 1\n", "just text\n"])
def test_a_file_without_our_section_is_told(content: str, write: Write) -> None:
    file = write(content)

    assert faults("-c", file) == (f'{file} has no section "devpi-server:"',)


@pytest.mark.parametrize("content", ["devpi-server: 1\n", "devpi-server:\n  - port\n"])
def test_a_section_that_is_not_a_mapping_is_told(content: str, write: Write) -> None:
    file = write(content)

    assert faults("-c", file) == (
        f'the section "devpi-server:" of {file} does not consist of "option: value"',
    )


def test_half_a_line_of_the_file_is_told(write: Write) -> None:
    file = write("devpi-server:\n  port:\n  host: [a, b]\n")

    assert set(faults("-c", file)) == {
        f"port in {file}: has no value",
        f"host in {file}: takes one value",
    }


def test_a_file_cannot_name_another_file(write: Write) -> None:
    file = write("devpi-server:\n  configfile: other.yml\n")

    assert faults("-c", file) == (f'unknown option "configfile" in {file}',)


A, B, C = "http://a/simple/", "http://b/simple/", "http://c/simple/"


def test_an_address_that_is_given_again_stands_in_for_the_first(write: Write) -> None:
    file = write(f"devpi-server:\n  mirror-url: [{A}, {B}]\n")
    environ = {"DEVPISERVER_MIRROR_URL": f"{B} {A},{C}"}

    chain = [
        read(["--mirror-url", C, "--mirror-url", A, "-c", file], environ),
        read(["-c", file], environ),
        read(["-c", file], {}),
    ]

    assert [each.mirrors[0].urls for each in chain] == [(C, A), (B, A, C), (A, B)]


MIRRORS = """
mirrors:
  root/pypi:
    mirror_keep_vanished: yes
  root/pytorch:
    mirror_url: http://me:hunter2@torch/whl/cu130
    mirror-cache-expiry: 600
    mirror_no_project_list: true
    mirror_allow_networks: [10.0.0.0/8, "fd00::/8"]
    title: PyTorch
"""


def test_the_file_declares_mirrors_beside_the_built_in_one(write: Write) -> None:
    assert settings("-c", write(MIRRORS)).mirrors == (
        MirrorSettings("root/pypi", ("http://upstream/simple/",), keep_vanished=True),
        MirrorSettings(
            "root/pytorch",
            ("http://me:hunter2@torch/whl/cu130/",),
            600.0,
            no_project_list=True,
            allow_networks=("10.0.0.0/8", "fd00::/8"),
            title="PyTorch",
        ),
    )


def test_every_word_of_a_mirror_is_a_field_of_its_settings(write: Write, tmp_path: Path) -> None:
    file = tmp_path / "some.pem"
    file.write_text("")
    values = {
        "mirror_url": A,
        "mirror_cache_expiry": "1",
        "mirror_changelog_url": "http://a/pypi",
        "mirror_ca_file": str(file),
        "mirror_client_cert": str(file),
        "mirror_allow_networks": "::1/128",
        "mirror_web_url_fmt": "http://a/{name}/",
        "title": "A",
    }
    lines = [f"    {word.name}: '{values.get(word.name, 'yes')}'\n" for word in WORDS]

    (_, mirror) = settings("-c", write("mirrors:\n  a/b:\n" + "".join(lines))).mirrors

    assert mirror == MirrorSettings(
        "a/b", (A,), 1.0, *[True] * 3, "http://a/pypi", *[True] * 5, file, file, ("::1/128",),
        "A", "http://a/{name}/",
    )  # fmt: skip


def test_the_built_in_mirror_takes_its_address_from_a_flag_before_its_section(
    write: Write,
) -> None:
    file = write(f"mirrors:\n  root/pypi:\n    mirror_url: {A}\n    mirror_cache_expiry: 7\n")

    mirror = read(["-c", file], {}).mirrors[0]
    told = read(["-c", file, "--mirror-url", B], {}).mirrors[0]

    assert (mirror.urls, mirror.cache_expiry) == ((A,), 7)
    assert (told.urls, told.cache_expiry) == ((B,), 7)


def test_the_built_in_mirror_may_not_have_two_addresses_in_one_file(write: Write) -> None:
    file = write(f"devpi-server:\n  mirror-url: {A}\nmirrors:\n  root/pypi:\n    mirror_url: {B}\n")

    assert faults("-c", file) == (
        (
            f"mirror-url in {file} and mirror_url of root/pypi in {file} "
            "are the same option, with different values"
        ),
    )


WRONG_WORDS = [
    ("mirror_urls: x", 'unknown word "mirror_urls" of {place}, did you mean mirror_url?'),
    ("cache_expiry: 1",
     'unknown word "cache_expiry" of {place}, did you mean mirror_cache_expiry?'),
    ("xyzzy: yes", 'unknown word "xyzzy" of {place}'),
    ("mirror_flat: maybe", 'mirror_flat of {place}: "maybe" is neither yes nor no'),
    ("mirror_flat: [yes, no]", "mirror_flat of {place}: takes one value"),
    ("mirror_crawl:", "mirror_crawl of {place}: has no value"),
    ("mirror_changelog_url: ftp://me:x@a/", f"mirror_changelog_url of {{place}}: {NOT_A_URL}"),
    ("mirror_allow_networks: ::1/8",
     'mirror_allow_networks of {place}: "::1/8" is not a network: ::1/8 has host bits set'),
    ("mirror_ca_file: /no/such.pem",
     "mirror_ca_file of {place}: there is no file /no/such.pem, or it may not be read"),
    ("mirror_web_url_fmt: http://a/",
     'mirror_web_url_fmt of {place}: the URL has no "{{name}}" in it'),
]  # fmt: skip


@pytest.mark.parametrize(("line", "fault"), WRONG_WORDS, ids=[line for line, _ in WRONG_WORDS])
def test_a_wrong_word_of_a_mirror_is_told(line: str, fault: str, write: Write) -> None:
    file = write(f"mirrors:\n  a/b:\n    mirror_url: {A}\n    {line}\n")

    assert faults("-c", file) == (fault.format(place=f"a/b in {file}"),)


def test_a_mirror_needs_an_address(write: Write) -> None:
    assert faults("-c", write("mirrors:\n  a/b:\n    title: B\n  c/d:\n")) == (
        "the mirror a/b has no mirror_url",
        "the mirror c/d has no mirror_url",
    )


@pytest.mark.parametrize(
    "name", ["a", "a/b/c", "/b", "a/", "a/+b", "../b", "a/..", "a/.b", '"a/b\\n"', '"a/\\0"']
)
def test_the_name_of_a_mirror_is_user_and_index(name: str, write: Write) -> None:
    told = faults("-c", write(f"mirrors:\n  {name}:\n    mirror_url: {A}\n"))

    assert len(told) == 1
    assert told[0].endswith("is not the name of an index, as user/index")


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("mirrors: x", 'the section "mirrors:" of {file} does not consist of "user/index:"'),
        ("mirrors:\n  a/b: x", 'the mirror a/b in {file} does not consist of "word: value"'),
    ],
)
def test_a_section_of_mirrors_that_is_none_is_told(section: str, fault: str, write: Write) -> None:
    file = write(section + "\n")

    assert faults("-c", file) == (fault.format(file=file),)


def test_the_faults_of_all_mirrors_come_with_all_others(write: Write) -> None:
    file = write("devpi-server:\n  port: x\nmirrors:\n  a:\n  b/c:\n    mirror_url: x\n")

    assert set(faults("-c", file)) == {
        f'port in {file}: "x" is not a whole number',
        f'"a" in {file} is not the name of an index, as user/index',
        f"mirror_url of b/c in {file}: {NOT_A_URL}",
    }


def test_the_settings_of_a_mirror_do_not_show_its_password(write: Write) -> None:
    assert "hunter2" not in repr(settings("-c", write(MIRRORS)))


def test_an_unknown_bottleserver_is_told_with_what_was_meant() -> None:
    with pytest.raises(ConfigError) as caught:
        read([UPSTREAM, "--bottleserver=granain"], {}, servers=("waitress", "granian"))

    assert caught.value.faults == ('no bottleserver is called "granain", did you mean granian?',)


def test_version_ends_with_the_bare_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        settings("--version")

    assert not caught.value.code
    assert capsys.readouterr().out.splitlines()[-1] == __version__


def test_help_shows_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        settings("--help")
    text = " ".join(capsys.readouterr().out.split())

    assert not caught.value.code
    for option in OPTIONS:
        assert all(flag in text for flag in option.flags)
        assert option.description in text
    assert "[3141]" in text


def test_the_default_upstream_is_the_one_that_pip_defaults_to() -> None:
    assert default_mirror_url() == PyPI.simple_url


def test_where_pip_cannot_be_imported_its_help_tells_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pip._internal.models.index", None)

    assert default_mirror_url() == PyPI.simple_url


def test_a_machine_that_installs_from_this_server_does_not_make_it_its_own_upstream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ourselves = {"PIP_INDEX_URL": "http://localhost:3141/ext/pypi/simple/"}
    monkeypatch.setenv(*next(iter(ourselves.items())))

    assert default_mirror_url() == PyPI.simple_url
    assert _ask_pip(ourselves) == PyPI.simple_url


def test_without_pip_the_user_has_to_name_an_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip._internal.models.index", None)
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(ConfigError) as caught:
        read([], {})

    assert caught.value.faults == (
        "--mirror-url: pip does not say which index it installs from, give the URL",
    )


def test_pip_costs_nothing_where_an_upstream_is_named() -> None:
    code = (
        "import sys; from devpi_server.settings import read; "
        f"read([{UPSTREAM!r}], {{}}); print('pip' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert answer.stdout == "False\n"
