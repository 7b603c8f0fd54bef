"""Whatever people publish with, and install with from an index that is not for everybody."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from upstream import artefacts

from .clients import TOOLS, UV, Clients, Desk
from .company import PASSWORD, Company, Member

_PROJECT = """\
[project]
name = "acme-tools"
version = "1.0"
description = "Größer und schöner"
readme = "README.md"
requires-python = ">=3.9"
license = "MIT"
authors = [{ name = "Zoë", email = "zoe@acme.example" }]
keywords = ["one", "two"]
classifiers = ["Programming Language :: Python :: 3"]
dependencies = ["demo>=1"]

[project.urls]
Source = "https://acme.example/source"

"""
_BACKENDS = {
    "flit": '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n',
    "hatch": '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
    "poetry": '[build-system]\nrequires = ["poetry-core"]\n'
    'build-backend = "poetry.core.masonry.api"\n',
}
_FILES = {"acme_tools-1.0-py3-none-any.whl", "acme_tools-1.0.tar.gz"}
_INSTALLED = {"acme_tools-1.0.dist-info", "demo-1.0.dist-info"}
_WHEEL = "acme_tools-1.0-py3-none-any.whl"


def write_project(desk: Desk, backend: str) -> None:
    desk.write("pyproject.toml", _PROJECT + _BACKENDS[backend])
    desk.write("README.md", "# Acme\n\nÜberschrift, 日本語\n")
    desk.write("acme_tools/__init__.py", '"""Tools."""\n\n__version__ = "1.0"\n')


@pytest.fixture(scope="session")
def tools(clients: Clients) -> Path:
    return clients(*TOOLS)


@pytest.fixture(scope="module")
def built(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and a source distribution of one project."""
    desk = Desk(tmp_path_factory.mktemp("built"))
    write_project(desk, "hatch")
    desk(tools / "python", "-m", "build", "--no-isolation", "--outdir", "dist")
    return desk.folder / "dist"


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another wheel of the same name."""
    path = tmp_path_factory.mktemp("changed") / _WHEEL
    path.write_bytes(artefacts.wheel("acme-tools", "1.0").data)
    return path


@pytest.fixture
def alice(company: Company) -> Member:
    return company.hire("alice")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said that had to fail, without colours, in one line."""
    assert done.returncode != 0, done
    return " ".join((done.stdout + done.stderr).split())


# twine


def twine(tools: Path, desk: Desk, url: str, user: str, password: str) -> Callable[..., object]:
    """``twine upload`` with a ~/.pypirc."""
    desk.write(
        "~/.pypirc",
        f"[distutils]\nindex-servers = devpi\n\n[devpi]\nrepository = {url}\n"
        f"username = {user}\npassword = {password}\n",
    )
    words = (tools / "twine", "--no-color", "upload", "-r", "devpi", "--non-interactive")
    return lambda *more: desk.attempt(*words, *more)


def test_twine_uploads_and_may_do_so_again(
    company: Company, alice: Member, tools: Path, built: Path, desk: Desk
) -> None:
    """What it sends is on the page with its hash and its metadata; the same again is fine."""
    index = alice.index(volatile=False)
    upload = twine(tools, desk, f"{company.url}{index}/", alice.name, PASSWORD)

    for _ in range(2):
        done = upload(*built.iterdir())
        assert done.returncode == 0, done

    files = alice.files(index, "acme-tools")
    assert files.keys() == _FILES
    for name, file in files.items():
        data = (built / name).read_bytes()
        assert file["hashes"] == {"sha256": hashlib.sha256(data).hexdigest()}
        assert (file["size"], file["requires-python"]) == (len(data), ">=3.9")
    assert files[_WHEEL]["core-metadata"]


def test_twine_is_told_that_the_file_is_there(
    company: Company, alice: Member, tools: Path, built: Path, changed: Path, desk: Desk
) -> None:
    index = alice.index(volatile=False)
    upload = twine(tools, desk, f"{company.url}{index}/", alice.name, PASSWORD)
    upload(built / _WHEEL)
    before = alice.files(index, "acme-tools")

    said = refused(upload(changed))

    assert "409" in said
    assert f"File already exists: {_WHEEL}" in said
    assert alice.files(index, "acme-tools") == before


def test_twine_replaces_what_is_volatile(
    company: Company, alice: Member, tools: Path, built: Path, changed: Path, desk: Desk
) -> None:
    index = alice.index()
    upload = twine(tools, desk, f"{company.url}{index}/", alice.name, PASSWORD)
    upload(built / _WHEEL)

    done = upload(changed)

    assert done.returncode == 0, done
    digest = hashlib.sha256(changed.read_bytes()).hexdigest()
    assert alice.files(index, "acme-tools")[_WHEEL]["hashes"] == {"sha256": digest}


def test_twine_leaves_out_what_is_there_for_pypi_only(
    company: Company, alice: Member, tools: Path, built: Path, desk: Desk
) -> None:
    """It knows by itself where ``--skip-existing`` works; here it is not needed."""
    index = alice.index(volatile=False)
    upload = twine(tools, desk, f"{company.url}{index}/", alice.name, PASSWORD)

    said = refused(upload("--skip-existing", built / _WHEEL))

    assert "UnsupportedConfiguration" in said
    assert alice.files(index, "acme-tools") == {}


@pytest.mark.parametrize(
    ("password", "acl", "words"),
    [
        ("wrong", "alice", ("401", "the user name, password or token is wrong")),
        (PASSWORD, "root", ("403", "no permission to submit")),
    ],
)
def test_twine_is_told_why_it_may_not(
    company: Company,
    alice: Member,
    tools: Path,
    built: Path,
    desk: Desk,
    password: str,
    acl: str,
    words: tuple[str, ...],
) -> None:
    index = alice.index(acl_upload=[alice.name if acl == "alice" else acl])
    upload = twine(tools, desk, f"{company.url}{index}/", alice.name, password)

    said = refused(upload(built / _WHEEL))

    for word in words:
        assert word in said
    assert alice.files(index, "acme-tools") == {}


def test_twine_sends_signature_and_attestations(
    company: Company, alice: Member, tools: Path, desk: Desk, changed: Path
) -> None:
    index = alice.index()
    attestation = {"version": 1, "verification_material": {}, "envelope": {}}
    wheel = desk.folder / _WHEEL
    wheel.write_bytes(changed.read_bytes())
    desk.write(f"{_WHEEL}.publish.attestation", json.dumps(attestation))
    desk.write(f"{_WHEEL}.asc", "-----BEGIN PGP SIGNATURE-----\n")

    upload = twine(tools, desk, f"{company.url}{index}/", alice.name, PASSWORD)
    done = upload("--attestations", *desk.folder.glob(f"{_WHEEL}*"))

    assert done.returncode == 0, done
    found = company.server.links("acme-tools", f"/{index}/+simple/")[_WHEEL]
    sent = company.server(f"{found['url']}.provenance").json
    assert sent["attestation_bundles"][0]["attestations"] == [attestation]
    assert found["gpg-sig"] is True
    assert company.server(f"{found['url']}.asc").body == b"-----BEGIN PGP SIGNATURE-----\n"


# Tokens


@pytest.mark.parametrize("user", ["__token__", "alice"])
def test_a_token_uploads_where_it_may(
    company: Company, alice: Member, tools: Path, built: Path, desk: Desk, user: str
) -> None:
    index, other = alice.index(), alice.index("other")
    token = alice.token(actions=["upload"], indexes=[index], projects=["Acme_Tools"])
    name = alice.name if user == "alice" else user

    done = twine(tools, desk, f"{company.url}{index}/", name, token)(built / _WHEEL)
    said = refused(twine(tools, desk, f"{company.url}{other}/", name, token)(built / _WHEEL))

    assert done.returncode == 0, done
    assert alice.files(index, "acme-tools").keys() == {_WHEEL}
    assert "403" in said
    assert alice.files(other, "acme-tools") == {}


def test_a_token_is_good_as_a_bearer(
    company: Company, alice: Member, built: Path, desk: Desk, need: Callable[[str], str]
) -> None:
    """With curl: it sees what it may read, and uploads what it may upload."""
    index = alice.index(acl_read=[alice.name])
    token = alice.token(actions=["read", "upload"])
    page = f"{company.url}{index}/+simple/acme-tools/"
    wheel = built / _WHEEL
    curl = (need("curl"), "-sS", "-o", "answer", "-w", "%{http_code}")
    fields = {":action": "file_upload", "name": "acme-tools", "version": "1.0"}
    form = [word for key, value in fields.items() for word in ("-F", f"{key}={value}")]
    bearer = ("-H", f"Authorization: Bearer {token}")

    said = desk(*curl, *bearer, *form, "-F", f"content=@{wheel}", f"{company.url}{index}/")
    seen = desk(*curl, *bearer, page)
    listed = (desk.folder / "answer").read_text()
    unknown = desk(*curl, page)

    assert (said, seen, unknown) == ("200", "200", "401")
    assert _WHEEL in listed


# uv


def uv_publish(desk: Desk, *words: str | Path, **environment: str) -> object:
    return desk.attempt(UV, "publish", "--color", "never", *words, **environment)


def test_uv_publishes_and_may_do_so_again(
    company: Company, alice: Member, built: Path, desk: Desk
) -> None:
    index = alice.index(volatile=False)
    url = f"{company.url}{index}/"
    words = ("--publish-url", url, "-u", alice.name, "-p", PASSWORD, *sorted(built.iterdir()))

    for _ in range(2):
        done = uv_publish(desk, *words)
        assert done.returncode == 0, done
    skipped = uv_publish(desk, "--check-url", f"{url}+simple/", *words)

    assert alice.files(index, "acme-tools").keys() == _FILES
    assert skipped.returncode == 0, skipped
    assert skipped.stderr.count("already exists, skipping") == 2


def test_uv_is_told_why_it_may_not(
    company: Company, alice: Member, built: Path, changed: Path, desk: Desk
) -> None:
    """In our words, where the file is another one, and where the password is wrong."""
    index = alice.index(volatile=False)
    url = f"{company.url}{index}/"
    right = ("--publish-url", url, "-u", alice.name, "-p", PASSWORD)
    wrong = ("--publish-url", url, "-u", alice.name, "-p", "wrong")
    assert uv_publish(desk, *right, built / _WHEEL).returncode == 0

    said = refused(uv_publish(desk, *right, changed))
    assert f"File already exists: {_WHEEL}" in said
    said = refused(uv_publish(desk, "--check-url", f"{url}+simple/", *right, changed))
    assert "Local file and index file do not match" in said
    said = refused(uv_publish(desk, *wrong, changed))
    assert "the user name, password or token is wrong" in said


def test_uv_publishes_with_a_token(
    company: Company, alice: Member, built: Path, desk: Desk
) -> None:
    index = alice.index(acl_read=[alice.name])
    token = alice.token(actions=["upload"], indexes=[index])

    done = uv_publish(
        desk,
        *("--publish-url", f"{company.url}{index}/", *sorted(built.iterdir())),
        UV_PUBLISH_TOKEN=token,
    )

    assert done.returncode == 0, done
    assert alice.files(index, "acme-tools").keys() == _FILES


# Poetry, flit, Hatch


def test_poetry_publishes(company: Company, alice: Member, tools: Path, desk: Desk) -> None:
    """It builds and publishes, may do so again, and leaves out what is there as another file."""
    index = alice.index(volatile=False)
    write_project(desk, "poetry")
    poetry = tools / "poetry"
    desk(poetry, "config", "keyring.enabled", "false")
    desk(poetry, "config", "repositories.devpi", f"{company.url}{index}/")
    desk(poetry, "config", "http-basic.devpi", alice.name, PASSWORD)

    desk(poetry, "publish", "--build", "-r", "devpi")
    assert alice.files(index, "acme-tools").keys() == _FILES
    desk(poetry, "publish", "-r", "devpi")
    (desk.folder / "dist" / _WHEEL).write_bytes(artefacts.wheel("acme-tools", "1.0").data)
    said = refused(desk.attempt(poetry, "publish", "-r", "devpi"))
    assert f"HTTP Error 409: File already exists: {_WHEEL}" in said
    desk(poetry, "publish", "-r", "devpi", "--skip-existing")


def test_flit_publishes(company: Company, alice: Member, tools: Path, desk: Desk) -> None:
    index = alice.index(volatile=False)
    write_project(desk, "flit")
    flit = (tools / "flit", "publish")
    into = {
        "FLIT_INDEX_URL": f"{company.url}{index}/",
        "FLIT_USERNAME": alice.name,
        "FLIT_PASSWORD": PASSWORD,
    }

    desk(*flit, SOURCE_DATE_EPOCH="1600000000", **into)
    desk(*flit, SOURCE_DATE_EPOCH="1600000000", **into)

    files = alice.files(index, "acme-tools")
    assert files.keys() == _FILES
    desk.write("acme_tools/__init__.py", '"""Other tools."""\n\n__version__ = "1.0"\n')
    said = refused(desk.attempt(*flit, SOURCE_DATE_EPOCH="1600000000", **into))
    assert "File already exists: acme_tools-1.0" in said
    assert alice.files(index, "acme-tools") == files


def test_hatch_publishes(
    company: Company, alice: Member, tools: Path, built: Path, desk: Desk
) -> None:
    """It looks at the page first, with the password, and takes every index for one of devpi."""
    index = alice.index(volatile=False, acl_read=[alice.name])
    write_project(desk, "hatch")
    hatch = (
        *(tools / "hatch", "--no-color", "publish", "--no-prompt"),
        *("-r", f"{company.url}{index}/", "-u", alice.name, "-a", PASSWORD),
    )

    said = desk.attempt(*hatch, built).stderr
    assert said.count("success") == 2
    assert alice.files(index, "acme-tools").keys() == _FILES
    said = desk.attempt(*hatch, built).stderr
    assert said.count("already exists") == 2


def test_hatch_is_told_why_it_may_not(
    company: Company, alice: Member, tools: Path, built: Path, desk: Desk
) -> None:
    index = alice.index()
    write_project(desk, "hatch")

    said = refused(
        desk.attempt(
            *(tools / "hatch", "--no-color", "publish", "--no-prompt", built / _WHEEL),
            *("-r", f"{company.url}{index}/", "-u", alice.name, "-a", "another"),
        )
    )

    assert "the user name, password or token is wrong" in said
    assert alice.files(index, "acme-tools") == {}


# Installing from an index that is not for everybody


@pytest.fixture(scope="module")
def closed(company: Company, built: Path) -> tuple[Member, str]:
    """Its owner, and an index of which only this one knows."""
    owner = company.hire("owner")
    index = owner.index("closed", acl_read=[owner.name], bases=["root/pypi"])
    desk = built.parent
    done = subprocess.run(
        [
            *(UV, "publish", "--publish-url", f"{company.url}{index}/"),
            *("-u", owner.name, "-p", PASSWORD, *sorted(built.iterdir())),
        ],
        cwd=desk,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done
    return owner, index


def with_password(url: str, member: Member) -> str:
    return url.replace("://", f"://{member.name}:{PASSWORD.replace(' ', '%20')}@")


@pytest.mark.parametrize("by", ["url", "netrc", "token"])
def test_pip_installs_from_a_closed_index(
    by: str, company: Company, closed: tuple[Member, str], clients: Clients, desk: Desk
) -> None:
    """With the password in the URL or in a netrc file, or a token in its place."""
    owner, index = closed
    url = f"{company.url}{index}/+simple/"
    if by == "url":
        url = with_password(url, owner)
    elif by == "netrc":
        owner.write_netrc(desk)
    else:
        url = url.replace("://", f"://__token__:{owner.token(indexes=[index])}@")

    desk(clients.pip(), "install", "--no-input", "-i", url, "--target", "target", "acme-tools")

    assert {path.name for path in (desk.folder / "target").glob("*-info")} == _INSTALLED


def test_pip_without_a_password_finds_nothing_in_a_closed_index(
    company: Company, closed: tuple[Member, str], clients: Clients, desk: Desk
) -> None:
    _, index = closed
    url = f"{company.url}{index}/+simple/"

    said = refused(
        desk.attempt(
            *(clients.pip(), "install", "--no-input", "-i", url, "--target", "target"),
            "acme-tools",
        )
    )

    assert "No matching distribution found for acme-tools" in said


@pytest.mark.parametrize("by", ["variables", "url", "netrc"])
def test_uv_installs_from_a_closed_index(
    by: str, company: Company, closed: tuple[Member, str], desk: Desk
) -> None:
    owner, index = closed
    url = f"{company.url}{index}/+simple/"
    environment = {}
    if by == "variables":
        environment = {"UV_INDEX_ACME_USERNAME": owner.name, "UV_INDEX_ACME_PASSWORD": PASSWORD}
    elif by == "url":
        url = with_password(url, owner)
    else:
        owner.write_netrc(desk)

    desk(
        *(UV, "pip", "install", "--target", "target", "acme-tools"),
        UV_DEFAULT_INDEX=f"acme={url}",
        **environment,
    )

    assert {path.name for path in (desk.folder / "target").glob("*-info")} == _INSTALLED
