"""Every command of devpi-client, of which a person sees what it says, and the server what it did.

What ``devpi push`` does is in ``test_push``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from server import ServerProcess, mirror_of
from upstream import artefacts

from devpi_server import __version__

from .clients import TOOLS, Clients, Desk, Shell, index_of, readme
from .company import PASSWORD, Company, Member

_TOX_RESULT = {
    "reportversion": "1",
    "toxversion": "4.23.0",
    "host": "builder",
    "platform": "linux",
    "testenvs": {
        "py311": {
            "setup": [{"retcode": 0, "command": ["pip", "install"], "output": ""}],
            "test": [{"retcode": 1, "command": ["pytest"], "output": "größer\n"}],
            "python": {"version": "3.11.9"},
        }
    },
}


@pytest.fixture(scope="module")
def tools(clients: Clients) -> Path:
    return clients(*TOOLS)


@pytest.fixture
def shell(tools: Path, desk: Desk) -> Shell:
    """Of somebody who has devpi-client."""
    return Shell(desk, tools)


@pytest.fixture
def alice(company: Company, shell: Shell) -> Member:
    """She has logged in at the shell, and nothing else."""
    alice = company.hire("alice")
    shell(f"devpi use {company.url}")
    shell(f"devpi login {alice.name} --password '{PASSWORD}'")
    return alice


@pytest.fixture
def dev(alice: Member, shell: Shell) -> str:
    """An index of hers, which she uses."""
    index = alice.index("dev", bases=["root/pypi"])
    shell(f"devpi use {index}")
    return index


def write(shell: Shell, *files: artefacts.Artefact) -> str:
    """Distribution files at the desk; their names, as words of a command."""
    for each in files:
        path = shell.desk.folder / "dist" / each.filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(each.data)
    return " ".join(f"dist/{each.filename}" for each in files)


def test_the_readme(company: Company, live: ServerProcess, shell: Shell, tmp_path: Path) -> None:
    """Its commands as they stand, on a new server: a user, an index, uploads by three clients."""
    options = mirror_of(company.up, tmp_path / "data")
    with ServerProcess("--host", "localhost", *options, log=tmp_path / "log") as server:
        said = shell(readme("devpi use http", server))
        assert f"current devpi index: {server.url}alice/dev (logged in as alice)" in said

        write_project(shell)
        variables = (
            f"TWINE_PASSWORD=SECRET UV_PUBLISH_PASSWORD=SECRET PIP_INDEX_URL={index_of(live)}"
        )
        shell(f"export {variables}; {readme('devpi upload', server)}")

        found = server.links("acme-tools", "/alice/dev/+simple/")
    assert found.keys() == {"acme_tools-1.0.tar.gz", "acme_tools-1.0-py3-none-any.whl"}


# use


def test_use_a_server_and_an_index(company: Company, alice: Member, shell: Shell) -> None:
    index = alice.index()

    said = shell(f"devpi use {company.url}")
    assert f"using server: {company.url} (logged in as {alice.name})" in said
    assert "no current index: type 'devpi use -l' to discover indices" in said
    said = shell(f"devpi use {index}")
    assert f"current devpi index: {company.url}{index} (logged in as {alice.name})" in said
    features = "push-no-docs, push-only-docs, push-register-project, server-keyvalue-parsing"
    assert f"supported features: {features}" in said
    assert "unversioned" not in said
    said = shell.refused(f"devpi use {alice.name}/nothing")
    assert f"404 The stage {alice.name}/nothing could not be found" in said
    assert f"{company.url}{index} " in shell("devpi use")


def test_use_lists_the_indexes_that_one_may_see(
    company: Company, alice: Member, shell: Shell
) -> None:
    index = alice.index(bases=["root/pypi"], volatile=False)
    hidden = company.hire("bob").index("hidden", acl_read=["root"])

    said = shell("devpi use -l")

    assert re.search(rf"^{index} +bases=root/pypi +volatile=False$", said, re.MULTILINE)
    assert re.search(r"^root/pypi +bases= +volatile=False$", said, re.MULTILINE)
    assert hidden not in said
    assert shell(f"devpi use -l --user {alice.name}").splitlines()[-1].startswith(index)


def test_use_shows_the_addresses(company: Company, shell: Shell, dev: str) -> None:
    said = shell("devpi use --urls")

    assert f"simpleindex: {company.url}{dev}/+simple/" in said
    assert f"pypisubmit: {company.url}{dev}/" in said
    assert f"login: {company.url}+login" in said


def test_use_writes_the_files_of_installers(
    company: Company, dev: str, tools: Path, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "other", pip_is_configured=True)
    shell = Shell(desk, tools)
    at = f"{company.url}{dev}"

    shell(f"devpi use --set-cfg {at}")
    shell("devpi use --always-set-cfg=yes --pip-set-trusted=yes root/pypi")

    files = [".pydistutils.cfg", ".config/pip/pip.conf", ".buildout/default.cfg",
             ".config/uv/uv.toml"]  # fmt: skip
    for name in files:
        assert f"{company.url}root/pypi/+simple/" in (desk.home / name).read_text()
        assert dev not in (desk.home / name).read_text()
    assert "trusted-host = localhost" in (desk.home / ".config/pip/pip.conf").read_text()


def test_a_variable_names_the_index(company: Company, alice: Member, shell: Shell) -> None:
    index = alice.index()

    said = shell(f"DEVPI_INDEX={index} devpi index")

    assert f"Using DEVPI_INDEX from environment: {index}" in said
    assert f"{company.url}{index}:" in said


def test_a_password_in_the_address_opens_a_closed_index(
    company: Company, tools: Path, shell: Shell
) -> None:
    """It is sent as Basic authentication, without a login."""
    alice = company.hire("alice", password="plain")  # the client does not unquote it
    index = alice.index(acl_read=[alice.name])
    at = company.url.replace("://", f"://{alice.name}:{alice.password}@")

    assert "401" in shell.refused(f"devpi use {company.url}{index}")
    said = shell(f"devpi use {at}{index}")
    assert f"current devpi index: {company.url}{index} (not logged in)" in said
    assert f"  acl_read={alice.name}\n" in shell("devpi index")


# login, logoff


def test_login_and_logoff(company: Company, shell: Shell) -> None:
    alice = company.hire("alice")
    shell(f"devpi use {company.url}")

    said = shell.refused(f"devpi login {alice.name} --password wrong")
    assert f"401 user '{alice.name}' could not be authenticated" in said
    said = shell(f"devpi login {alice.name}", typed=f"{PASSWORD}\n")
    assert f"logged in '{alice.name}', credentials valid for 10.00 hours" in said
    assert "200" not in shell("devpi index -c one")
    assert "login information deleted" in shell("devpi logoff")
    assert "you need to be logged in" in shell.refused(f"devpi index -c {alice.name}/two")
    assert "(not logged in)" in shell("devpi use")
    assert set(alice.ask("GET", f"/{alice.name}").json["result"]["indexes"]) == {"one"}


def test_a_login_that_is_dead_is_thrown_away(
    company: Company, alice: Member, shell: Shell, dev: str
) -> None:
    """The client is told, and says so; it does not go on with it for ever."""
    assert alice.ask("PATCH", f"/{alice.name}", {"password": "another"}).status == 200

    said = shell.refused("devpi index -y --delete dev")

    assert "401" in said
    assert "removed expired authentication information" in said
    assert "(not logged in)" in shell("devpi use")


# user, passwd


def test_users_come_change_and_go(company: Company, shell: Shell) -> None:
    name = f"{company.hire('bob').name}.new-one@corp"
    root = company.root()
    shell(f"devpi use {company.url}")

    said = shell(f"devpi user -c {name} password=1234 email=bob@acme.example")
    assert f"user created: {name}" in said
    assert "409 user already exists" in shell.refused(f"devpi user -c {name} password=1")
    assert name in shell("devpi user -l").splitlines()
    shell(f"devpi login {name} --password 1234")
    said = shell(f"devpi user -m {name} email=other@acme.example title='Größer'")
    assert f"user modified: {name}" in said
    said = shell(f"devpi user {name}")
    assert "  email=other@acme.example\n" in said
    assert "  title=Größer\n" in said
    shell(f"devpi login {name} --password 1234")
    said = shell(f"devpi user -y --delete {name}")
    assert f"user deleted: {name}" in said
    assert root.ask("GET", f"/{name}").status == 404
    assert "404" in shell.refused(f"devpi user {name}")


def test_a_user_is_created_with_a_password_that_is_asked_for(
    company: Company, shell: Shell
) -> None:
    name = f"{company.hire('bob').name}-typed"
    shell(f"devpi use {company.url}")

    shell(f"devpi user -c {name}", typed="long enough\nlong enough\n")

    assert "logged in" in shell(f"devpi login {name} --password 'long enough'")


def test_a_user_is_not_for_others_to_change(company: Company, alice: Member, shell: Shell) -> None:
    bob = company.hire("bob")

    assert "403" in shell.refused(f"devpi user -m {bob.name} email=x@acme.example")
    assert "403" in shell.refused(f"devpi user -y --delete {bob.name}")


def test_passwd(company: Company, alice: Member, shell: Shell) -> None:
    said = shell("devpi passwd", typed="battery staple\nbattery staple\n")

    assert f"user modified: {alice.name}" in said
    shell.refused(f"devpi login {alice.name} --password '{PASSWORD}'")
    assert "logged in" in shell(f"devpi login {alice.name} --password 'battery staple'")


# index


def test_indexes_come_change_and_go(company: Company, alice: Member, shell: Shell) -> None:
    name = f"{alice.name}/dev"

    said = shell("devpi index -c dev bases=root/pypi")
    assert f"{company.url}{name}?no_projects=:" in said
    lines = ["type=stage", "bases=root/pypi", "volatile=True", f"acl_upload={alice.name}"]
    for line in (*lines, "acl_toxresult_upload=:ANONYMOUS:", "mirror_whitelist="):
        assert f"  {line}\n" in said
    assert "409 index" in shell.refused("devpi index -c dev")
    said = shell("devpi index dev volatile=False acl_upload+=bob title='Größer'")
    assert "  volatile=False\n" in said
    assert f"  acl_upload={alice.name},bob\n" in said
    said = shell("devpi index dev acl_upload-=bob bases= volatile=true")
    assert f"  acl_upload={alice.name}\n" in said
    assert "  bases=\n" in said
    assert shell("devpi index -l").splitlines()[-1] == name
    said = shell("devpi index -y --delete dev")
    assert f"index deleted: {company.url}{name}" in said
    assert alice.ask("GET", f"/{name}").status == 404


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("dev bases=nobody/nothing", "base index 'nobody/nothing' does not exist"),
        ("dev colour=red", "colour"),
        ("dev volatile=perhaps", "Unknown boolean value 'perhaps'."),
        ("-c new bases=nonsense", "invalid base index spec"),
        ("-c root/mine", "no permission to create index"),
        ("dev type=mirror", "the 'type' of an index can't be changed"),
    ],
)
def test_what_cannot_be_an_index_is_told(shell: Shell, dev: str, words: str, reason: str) -> None:
    assert reason in shell.refused(f"devpi index {words}")


def test_a_mirror_is_made_used_and_deleted(
    company: Company, shell: Shell, clients: Clients
) -> None:
    """By root, who may name machines of the own network."""
    company.up.release("mirrored", "1.0")
    root = company.root()
    shell(f"devpi use {company.url} && devpi login root --password '{PASSWORD}'")
    url = company.up.simple_url

    said = shell(f"devpi index -c again type=mirror mirror_url={url} mirror_cache_expiry=60")
    assert f"  mirror_url={url}\n" in said
    said = shell("devpi use root/again && devpi list mirrored")
    assert f"{company.url}root/again/+f/" in said
    assert "The current index" in shell.refused("devpi upload nothing.whl")
    said = shell("devpi index -y --delete root/again")
    assert root.ask("GET", "/root/again").status == 404


# upload


def write_project(shell: Shell) -> None:
    """One that setuptools builds, with tests and documentation."""
    desk = shell.desk
    desk.write(
        "pyproject.toml",
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
        '[project]\nname = "acme-tools"\nversion = "1.0"\ndependencies = ["demo"]\n\n'
        '[tool.setuptools]\npy-modules = ["acme_tools"]\n',
    )
    desk.write("acme_tools.py", "import demo\n")
    desk.write("MANIFEST.in", "include tox.ini\n")
    desk.write("tox.ini", '[testenv]\ncommands = python -c "import acme_tools"\n')
    desk.write("docs/conf.py", 'project = "Acme"\n')
    desk.write("docs/index.rst", "Acme\n====\n\nGrößer.\n")


def test_upload_builds_and_uploads_files_and_documentation(
    company: Company, alice: Member, shell: Shell, dev: str
) -> None:
    write_project(shell)

    said = shell("devpi upload --no-isolation --with-docs")

    for name in ("acme_tools-1.0.tar.gz", "acme_tools-1.0-py3-none-any.whl"):
        assert f"file_upload of {name} to {company.url}{dev}/" in said
        assert name in alice.files(dev, "acme-tools")
    assert f"doc_upload of acme-tools-1.0.doc.zip to {company.url}{dev}/" in said
    page = company.server(f"/{dev}/acme-tools/1.0/+doc/index.html")
    assert "Größer." in page.body.decode()


def test_upload_only_shows_what_it_would_do(alice: Member, shell: Shell, dev: str) -> None:
    words = write(shell, artefacts.wheel("own", "2.0"))

    said = shell(f"devpi upload --dry-run {words}")

    assert "skipped: file_upload of own-2.0-py3-none-any.whl" in said
    assert alice.files(dev, "own") == {}


def test_upload_of_a_folder_and_of_the_latest(alice: Member, shell: Shell, dev: str) -> None:
    write(shell, *(artefacts.wheel("shelf", version) for version in ("1.0", "1.1", "1.10")))
    other = alice.index("other")

    shell("devpi upload --from-dir --only-latest dist")
    shell(f"devpi upload --from-dir --index {other} dist")

    assert alice.files(dev, "shelf").keys() == {"shelf-1.10-py3-none-any.whl"}
    assert len(alice.files(other, "shelf")) == 3


def test_upload_is_told_why_it_may_not(company: Company, alice: Member, shell: Shell) -> None:
    prod = alice.index("prod", volatile=False)
    bobs = company.hire("bob").index("dev")
    first, second = artefacts.wheel("demo", "1.0"), artefacts.wheel("demo", "1.0", requires=["x"])
    shell(f"devpi use {prod} && devpi upload {write(shell, first)}")
    assert shell(f"devpi upload {write(shell, first)}")

    said = shell.refused(f"devpi upload {write(shell, second)}")
    assert "409 FAIL file_upload of demo-1.0-py3-none-any.whl" in said
    assert "File already exists: demo-1.0-py3-none-any.whl" in said
    said = shell.refused(f"devpi upload --index {bobs} {write(shell, first)}")
    assert "403 FAIL" in said
    assert "no permission to submit" in said


# test


def test_test_runs_tox_and_hands_in_the_result(
    company: Company, alice: Member, shell: Shell, live: ServerProcess
) -> None:
    """Of a closed index, out of which tox installs what the project needs, to build it, too."""
    root, url = company.root(), f"{live.url}root/pypi/+simple/"
    root.index(f"{alice.name}-tools", type="mirror", mirror_url=url, mirror_no_project_list=True)
    bases = ["root/pypi", f"root/{alice.name}-tools"]
    index = alice.index("dev", bases=bases, acl_read=[alice.name])
    write_project(shell)
    shell(f"devpi use {index} && devpi upload --no-isolation")

    assert "would test:" in shell("devpi test --list acme-tools")
    said = shell("devpi test acme-tools")

    assert "posting tox result data to" in said
    assert "success" in said
    # For results, and for nothing else, the client asks without its login.
    alice.write_netrc(shell.desk)
    assert "tests passed" in shell("devpi list --toxresults acme-tools")


# install


def test_install_into_an_environment(company: Company, alice: Member, shell: Shell) -> None:
    """From a closed index, with the login."""
    index = alice.index("dev", bases=["root/pypi"], acl_read=[alice.name])
    words = write(shell, artefacts.wheel("own", "1.0a1", requires=["demo"]))
    shell(f"devpi use {index} && devpi upload {words}")
    shell("virtualenv --quiet env")

    said = shell("devpi install --venv env own")

    assert "Successfully installed demo-1.0 own-1.0a1" in said
    assert "own" in shell("devpi install --venv env -l")


# list, remove, refresh


@pytest.fixture
def shelf(alice: Member, shell: Shell, dev: str) -> str:
    """An index with two projects, one of which has four releases."""
    versions = ("1.0", "1.1", "1.2", "2.0")
    files = [artefacts.wheel("shelf", version) for version in versions]
    shell(f"devpi upload {write(shell, *files, artefacts.sdist('Other_One', '1.0'))}")
    return dev


def test_list_projects_and_releases(company: Company, shell: Shell, shelf: str) -> None:
    assert shell("devpi list").split() == ["other-one", "shelf"]
    assert shell("devpi list -v").count("==") == 2
    said = shell("devpi list shelf")
    assert said.count(f"{company.url}{shelf}/+f/") == 3
    assert "1 older versions not shown, use --all to see" in said
    assert shell("devpi list --all shelf").count("/+f/") == 4
    assert shell("devpi list 'shelf<1.2'").count("/+f/") == 2
    assert "404" in shell.refused("devpi list nothing")


def test_list_shows_the_results_of_tests(
    company: Company, alice: Member, shell: Shell, shelf: str
) -> None:
    file = alice.files(shelf, "shelf")["shelf-2.0-py3-none-any.whl"]
    path = str(file["url"]).replace("../../", f"/{shelf}/").partition("#")[0]
    assert alice.ask("POST", path, _TOX_RESULT).status == 200

    assert "builder    linux   py311      3.11.9 tests failed" in shell("devpi list -t shelf")
    said = shell("devpi list --failures shelf")
    assert "FAIL: " in said
    assert "größer" in said


def test_list_of_what_is_in_the_bases_too(
    company: Company, alice: Member, shell: Shell, shelf: str
) -> None:
    top = alice.index("top", bases=[shelf])
    shell(f"devpi use {top} && devpi upload {write(shell, artefacts.sdist('shelf', '2.0'))}")

    said = shell("devpi list shelf")
    assert f"{company.url}{top}/+f/" in said
    assert f"{company.url}{shelf}/+f/" in said
    said = shell("devpi list --ignore-bases shelf")
    assert f"{company.url}{shelf}/+f/" not in said


def test_remove_a_release_a_file_and_a_project(
    company: Company, alice: Member, shell: Shell, shelf: str
) -> None:
    said = shell("devpi remove -y shelf==1.0")
    assert "deleting release 1.0 of shelf" in said
    assert "shelf-1.0-py3-none-any.whl" not in alice.files(shelf, "shelf")
    file = next(url for url in shell("devpi list shelf").split() if "shelf-1.1-" in url)
    shell(f"devpi remove -y {file}")
    assert alice.files(shelf, "shelf").keys() == {
        "shelf-1.2-py3-none-any.whl",
        "shelf-2.0-py3-none-any.whl",
    }
    shell("devpi remove -y shelf")
    assert alice.files(shelf, "shelf") == {}
    assert shell("devpi list").split() == ["other-one"]
    assert "404" in shell.refused("devpi remove -y shelf")


def test_nothing_is_removed_from_what_is_not_volatile_but_by_force(
    alice: Member, shell: Shell, shelf: str
) -> None:
    assert alice.ask("PATCH", f"/{shelf}", {"volatile": False}).status == 200
    before = alice.files(shelf, "shelf")

    assert "403" in shell.refused("devpi remove -y shelf==1.0")
    assert "403" in shell.refused("devpi remove -y shelf")
    assert alice.files(shelf, "shelf") == before
    shell("devpi remove -y -f shelf==1.0")
    assert len(alice.files(shelf, "shelf")) == 3


def test_refresh_makes_new_releases_of_a_mirror_known(
    company: Company, alice: Member, shell: Shell, dev: str
) -> None:
    company.up.release("growing", "1.0")
    assert "growing-1.0-" in shell("devpi list growing")
    company.up.release("growing", "2.0")

    said = shell("devpi refresh growing")

    assert "Refreshed growing" in said
    assert "Couldn't" not in said
    assert "growing-2.0-" in shell("devpi list growing")
    assert "Couldn't" not in shell("devpi refresh --index root/pypi growing")


# getjson, patchjson, --version


def test_getjson_and_patchjson(company: Company, alice: Member, shell: Shell, dev: str) -> None:
    described = json.loads(shell("devpi getjson ''"))
    assert described["type"] == "indexconfig"
    assert described["result"]["bases"] == ["root/pypi"]
    said = shell(f"devpi getjson -v {company.url}{dev}")
    assert "X-DEVPI-API-VERSION: 2" in said
    described["result"]["bases"] = []
    shell.desk.write("index.json", json.dumps(described))

    said = shell(f"devpi patchjson /{dev} index.json")

    assert f"PATCH REQUEST sent to {company.url}{dev}" in said
    assert alice.ask("GET", f"/{dev}").json["result"]["bases"] == []


def test_version(company: Company, shell: Shell, dev: str) -> None:
    said = shell("devpi --version")

    assert "devpi-client 7." in said
    assert f"current devpi server: {company.url}" in said
    assert f"devpi-server {__version__}" in said
