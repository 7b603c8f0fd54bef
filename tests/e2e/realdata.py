"""What years leave behind on a devpi-server: the plain cases and the odd ones.

``fill`` tells the story with devpi-client, a paragraph a kind of thing;
``everything`` is what a server shows of it, to compare one with another.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from server import Http
from upstream import Upstream

from .clients import Clients, Desk
from .realdevpi import Person, RealDevpi

PASSWORDS = {
    "root": "root's own",
    "alice": "wonderland 1865",
    "bob": "das Paßwort: 日本",
    "c.i-runner_1@corp": "nothing to see",
}
DOCS = {"index.html": b"<h1>Demo</h1>", "guide/one.html": "<p>größer</p>".encode()}
_DESCRIPTION = """# Demo

Ein *größeres* Beispiel — 日本語, עברית.

    indented code

Last line without an end."""
_FULL = """Summary: A größeres example — 日本語
Home-page: https://demo.example/?a=1&b=<2>
Author: Zoë Ångström
Author-email: zoe@demo.example
Maintainer: Somebody Else
Keywords: one,two,three
License-Expression: MIT OR Apache-2.0
License-File: LICENSE
Classifier: Development Status :: 4 - Beta
Classifier: Programming Language :: Python :: 3
Platform: any
Requires-Python: >=3.8,!=3.9.1
Requires-Dist: upstairs>=1
Requires-Dist: tomli; python_version < "3.11"
Provides-Extra: fast
Project-URL: Source, https://demo.example/source
Project-URL: Issues, https://demo.example/issues
Dynamic: classifier
Description-Content-Type: text/markdown
"""


def fill(real: RealDevpi, up: Upstream, clients: Clients, desk: Desk) -> None:
    """Users, indexes, releases, documentation, test results and their history.

    :param up: what the mirror mirrors; it must answer until this returns.
    """

    def person(name: str) -> Person:
        return Person(name, PASSWORDS[name], real, clients, desk)

    root = person("root")
    _users(root)
    alice, bob = person("alice"), person("bob")
    up.release("upstairs", "1.0")
    _indexes(root, alice, bob, up)
    _releases(alice, desk)
    _odd_names(alice, desk)
    _history(real, alice, bob, desk)
    _left_behind(real, bob, desk)


def everything(server: Http) -> dict[str, Any]:
    """All that devpi's protocol says of a server, with every file that it links to."""
    users = _result(server, "/")
    indexes = {
        f"{user}/{index}": _result(server, f"/{user}/{index}")
        for user, config in users.items()
        for index in config["indexes"]
    }
    projects = [
        (index, project)
        for index, config in indexes.items()
        if config["type"] != "mirror"
        for project in config["projects"]
    ]
    versions = {
        f"{index}/{project}": _result(server, f"/{index}/{project}?ignore_bases=")
        for index, project in projects
    }
    paths = set()
    for releases in versions.values():
        for release in releases.values():
            links = release.get("+links", [])
            for link in links:  # some servers quote what others do not
                link.update((key, unquote(link[key])) for key in ("href", "for_href") & link.keys())
            links.sort(key=itemgetter("href"))  # their order means nothing
            paths.update(map(itemgetter("href"), links))
    return {
        "users": {name: config | {"indexes": None} for name, config in users.items()},
        "indexes": indexes,
        "versions": versions,
        "pages": {
            f"{index}/{project}": _page(server, project, f"/{index}/+simple/")
            for index, project in projects
        },
        "files": {path: _file(server, path) for path in paths},
    }


def _result(server: Http, path: str) -> Any:
    """What the JSON says, with addresses that do not depend on the server's."""
    answer = server(path, {"Accept": "application/json"})
    assert answer.status == 200, (path, answer)
    return json.loads(answer.body.replace(server.url.encode(), b"/"))["result"]


def _page(server: Http, project: str, index: str) -> dict[str, Any]:
    links = server.links(project, index)
    return {name: {**link, "url": unquote(link["url"])} for name, link in links.items()}


def _file(server: Http, path: str) -> tuple[str, str]:
    """When it came, if its head says it, and its digest."""
    answer = server(quote(path, safe="/+"))
    assert answer.status == 200, (path, answer)
    return answer.headers.get("Last-Modified", ""), hashlib.sha256(answer.body).hexdigest()


def _users(root: Person) -> None:
    root(
        *("user", "-c", "alice", f"password={PASSWORDS['alice']}", "email=alice@demo.example"),
        *("title=Alice & <Co>", "description=Größen,\nand a second line"),
    )
    root("user", "-c", "bob", "password=the first one")
    root("user", "-m", "bob", f"password={PASSWORDS['bob']}", "custom_data=cost centre 17")
    runner = "c.i-runner_1@corp"
    root("user", "-c", runner, f"password={PASSWORDS[runner]}")


def _indexes(root: Person, alice: Person, bob: Person, up: Upstream) -> None:
    root(
        *("index", "-c", "root/pypi", "type=mirror", f"mirror_url={up.simple_url}"),
        *("volatile=False", "title=PyPI", "mirror_cache_expiry=600"),
        "mirror_web_url_fmt=https://pypi.example/project/{name}/",
    )
    alice("index", "-c", "alice/prod", "volatile=False", "title=Production, größer")
    alice(
        *("index", "-c", "alice/dev", "bases=alice/prod,root/pypi", "acl_upload=alice,bob"),
        *("mirror_whitelist=Foo_Bar,demo", "mirror_whitelist_inheritance=union"),
        "acl_toxresult_upload=:AUTHENTICATED:",
    )
    bob("index", "-c", "bob/team", "bases=alice/dev", "acl_upload=:AUTHENTICATED:")
    bob("index", "-c", "bob/empty", "mirror_whitelist=*", "custom_data=kept")
    # A base that is gone, and two that build on each other.
    bob("index", "-c", "bob/gone")
    bob("index", "-c", "bob/widow", "bases=bob/gone,alice/prod")
    bob("index", "-y", "--delete", "bob/gone")
    bob("index", "-c", "bob/egg")
    bob("index", "-c", "bob/hen", "bases=bob/egg")
    bob("index", "bob/egg", "bases=bob/hen")


def _releases(alice: Person, desk: Desk) -> None:
    folder = _shelf(desk, "releases")
    _put(folder, "demo-1.0-py3-none-any.whl", _wheel("demo", "1.0", _FULL, _DESCRIPTION))
    _put(folder, "demo-1.0.tar.gz", _sdist("demo", "1.0", _FULL, _DESCRIPTION))
    _put(folder, "demo-1.0-py3.11.egg", _egg("demo", "1.0"))
    _put(folder, "demo-1.1.tar.gz", _sdist("demo", "1.1"))
    _put(folder, "demo-1.0.doc.zip", _zip(DOCS))
    alice("upload", "--index", "alice/dev", "--from-dir", folder)


def _odd_names(alice: Person, desk: Desk) -> None:
    """Twins of one name, twins of one version, and versions of other ages."""
    folder = _shelf(desk, "odd")
    for name, version in (
        ("Foo_Bar", "1.0"),
        ("foo-bar", "1.1"),
        ("foo.bar", "1.2"),
        ("twins", "2.0"),
        ("twins", "2.0.0"),
        ("local", "1.0+ubuntu.1"),
        ("early", "1!0.5rc1"),
        ("early", "0.5.dev3"),
    ):
        _put(folder, f"{name}-{version}.tar.gz", _sdist(name, version))
    alice("upload", "--index", "alice/dev", "--from-dir", folder)


def _history(real: RealDevpi, alice: Person, bob: Person, desk: Desk) -> None:
    """Files that were replaced, tested, pushed on, from private and mirrored indexes."""
    for turn in range(2):
        folder = _shelf(desk, f"again{turn}")
        changed = _sdist("demo", "1.1", f"Summary: turn {turn}\n")
        bob("upload", "--index", "alice/dev", _put(folder, "demo-1.1.tar.gz", changed))
    paths = _paths(real, "demo", "alice/dev")
    for who, filename, code in (
        (alice, "demo-1.0-py3-none-any.whl", 0),
        (bob, "demo-1.0-py3-none-any.whl", 1),
        (bob, "demo-1.0.tar.gz", 0),
    ):
        who.tested(paths[filename], _tox_result(code))
    alice("push", "demo==1.0", "alice/prod", "--index", "alice/dev")
    alice("push", "demo==1.0", "bob/team", "--index", "alice/prod", "--no-docs")
    bob("push", "upstairs==1.0", "bob/team", "--index", "root/pypi")


def _left_behind(real: RealDevpi, bob: Person, desk: Desk) -> None:
    """A file that was removed, metadata without a file, and documentation without either."""
    egg = _paths(real, "demo", "bob/team")["demo-1.0-py3.11.egg"]
    bob("use", "bob/team")
    bob("remove", "-y", f"{real.url}{egg.lstrip('/')}")
    bob.registered("bob/team", name="paper", version="0.9", summary="größer", license="MIT")
    folder = _shelf(desk, "left")
    bob("upload", "--index", "bob/team", _put(folder, "words-3.0.doc.zip", _zip(DOCS)))


def _paths(real: RealDevpi, project: str, index: str) -> dict[str, str]:
    links = real.links(project, f"/{index}/+simple/")
    return {name: link["url"].partition("#")[0] for name, link in links.items()}


def _shelf(desk: Desk, name: str) -> Path:
    folder = desk.folder / name
    folder.mkdir()
    return folder


def _put(folder: Path, filename: str, data: bytes) -> Path:
    path = folder / filename
    path.write_bytes(data)
    return path


def _metadata(name: str, version: str, fields: str = "", description: str = "") -> bytes:
    head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{fields}"
    return f"{head}\n{description}".encode()


def _sdist(name: str, version: str, fields: str = "", description: str = "") -> bytes:
    metadata = _metadata(name, version, fields, description)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(f"{name}-{version}/PKG-INFO")
        member.size = len(metadata)
        archive.addfile(member, io.BytesIO(metadata))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _wheel(name: str, version: str, fields: str = "", description: str = "") -> bytes:
    info = f"{name}-{version}.dist-info"
    return _zip(
        {
            f"{name}.py": b"",
            f"{info}/METADATA": _metadata(name, version, fields, description),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
        }
    )


def _egg(name: str, version: str) -> bytes:
    return _zip({f"{name}.py": b"", "EGG-INFO/PKG-INFO": _metadata(name, version)})


def _zip(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _tox_result(code: int) -> object:
    """In the form of tox 4."""
    run = {"retcode": code, "command": ["python", "-c", "pass"], "output": "größer\n"}
    return {
        "reportversion": "1",
        "toxversion": "4.23.0",
        "host": "builder",
        "platform": "linux",
        "testenvs": {"py311": {"setup": [], "test": [run], "python": {"version": "3.11.9"}}},
    }
