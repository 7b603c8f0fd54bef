"""The real pypiserver and ours on folders with the same files: where their answers differ."""

from __future__ import annotations

import html
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest
from foldering import put
from server import Http, ServerProcess, until
from uploading import basic, encoded
from upstream import artefacts

from .clients import Clients, free_port, is_served

_FILES = (
    "Some.Thing-1.0.zip", "a-b-c-2.0a1.tar.gz", "legacy-1.0.win32-py2.7.exe", "pkg-1.0-py2.7.egg",
    "A100-200-XYZ-1.2.3.zip", "numpy-1.0.tar.bz2", "z-1.0.tgz", "sub/deep/w-1.0.zip",
    "noversion.zip", "foo-1.10.tar.gz", "foo-1.9rc1.tar.gz", "mt-2.0.tar.xz", ".hidden-1.0.zip",
    ".dot/q-1.0.zip", "notes.txt",
)  # fmt: skip
_PATHS = """
    / /simple /simple/ /simple/foo /simple/foo/ /simple/Foo/ /simple/foo_bar/ /simple/foo-bar/
    /simple/missing/ /simple/some-thing/ /simple/Some.Thing/ /simple/a-b-c/ /simple/legacy/
    /simple/pkg/ /simple/a100-200-xyz/ /simple/numpy/ /simple/z/ /simple/w/ /simple/noversion/
    /simple/mt/ /simple/a/b/ /simple/foo/x /packages /packages/ /packages/foo-1.10.tar.gz
    /packages/sub/deep/w-1.0.zip /packages/sub /packages/sub/ /packages/notes.txt
    /packages/.hidden-1.0.zip /packages/.dot/q-1.0.zip /packages/%2e%2e/x /packages/missing /foo
    /foo/ /Foo /Some.Thing/ /missing /foo/json /Foo/json /foo_bar/json /missing/json /a-b-c/json
    /noversion/json /pypi/foo/json /health /health/ /RPC2 /a/b/c /json /simple/json /simple//
    /simple/foo/?x=1 /simple?x=1 /foo?x=1 /index.html
"""
_UPLOAD = {":action": "file_upload"}
_NEW = {"content": ("new-1.0.zip", b"x")}
_FORMS: tuple[tuple[dict[str, str], dict[str, tuple[str, bytes]]], ...] = (
    ({}, {}),
    ({":action": "BAD"}, {}),
    ({":action": "submit", "name": "foo"}, {}),
    ({":action": "verify"}, {}),
    ({":action": "doc_upload"}, {}),
    ({":action": "remove_pkg"}, {}),
    ({":action": "remove_pkg", "name": "foo"}, {}),
    ({":action": "remove_pkg", "name": "foo", "version": "77"}, {}),
    ({":action": "remove_pkg", "name": "foo", "version": "1.10"}, {}),
    (_UPLOAD, {}),
    (_UPLOAD, _NEW),
    (_UPLOAD, _NEW),
    (_UPLOAD, {**_NEW, "gpg_signature": ("other-1.0.zip.asc", b"sig")}),
    (_UPLOAD, {"content": ("s-1.0.zip", b"x"), "gpg_signature": ("s-1.0.zip.asc", b"sig")}),
    (_UPLOAD, {"content": ("w-1.0.zip", b"it is in a folder")}),
    *(
        (_UPLOAD, {"content": (name, b"x")})
        for name in ("foo", "a b-1.0.zip", "../e-1.0.zip", "e-1.0.whl", "e-1.0.rpm", "e-1+x.zip",
                     "e-1!1.zip", "e-1.0.win32-py2.7.exe", "noversion2.zip")
    ),
)  # fmt: skip
# Both say no: in other words, because ours says why.
_OTHER_WORDS = re.compile(r"already exists!|^Unrelated signature|needs a user|user or the password")


@dataclass(frozen=True)
class Question:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None


def questions(headers: Mapping[str, str]) -> Iterator[Question]:
    for path in _PATHS.split():
        yield Question("GET", path, headers)
    for path in ("/simple/foo/", "/packages/foo-1.10.tar.gz", "/simple"):
        yield Question("HEAD", path, headers)
    for method, path in (("DELETE", "/simple/foo/"), ("PUT", "/"), ("POST", "/packages/")):
        yield Question(method, path, headers, b"")
    for fields, files in _FORMS:
        content_type, body = encoded(fields, files)
        yield Question("POST", "/", {"Content-Type": content_type, **headers}, body)
        twine = {"Content-Type": content_type, "User-Agent": "twine/6.2.0", **headers}
        yield Question("POST", "/", twine, body)


def said(server: Http, question: Question) -> dict[str, object]:
    """What matters of an answer, without the address of the server."""
    answer = server(question.path, question.headers, method=question.method, body=question.body)
    text = answer.body.decode(errors="replace").replace(f"127.0.0.1:{server.port}", "host")
    location = answer.headers.get("Location") or ""
    found: dict[str, object] = {
        "status": f"{answer.status} {answer.reason}",
        "location": re.sub(r"\Ahttp://127\.0\.0\.1:\d+(?=/)", "", location),
        "challenge": answer.headers.get("WWW-Authenticate"),
    }
    if "json" in (answer.headers.get("Content-Type") or ""):
        found["json"] = text.replace(" ", "")
    elif answer.status >= 400 and question.method != "HEAD":
        page = re.search(r"<pre>(.*?)</pre>", text, re.DOTALL)
        words = html.unescape(page[1] if page else text).strip()
        found["words"] = "no" if words == "None" or _OTHER_WORDS.search(words) else words
    elif question.path.partition("?")[0].endswith("/") and question.path != "/":
        found["links"] = sorted(map(unquote, re.findall(r'href="([^"]*)"', text)))
    return found


@pytest.fixture(scope="module")
def real_program(clients: Clients) -> Path:
    return clients("pypiserver==2.4.*", "passlib", "waitress", "setuptools<81") / "pypi-server"


@pytest.mark.parametrize(
    "words",
    [
        ("-P", ".", "-a", "."),
        ("-P", ".", "-a", ".", "--overwrite", "--disable-fallback", "--hash-algo", "md5"),
        ("-P", "htpasswd", "-a", "update,download,list"),
    ],
)
def test_both_answer_alike(words: tuple[str, ...], real_program: Path, tmp_path: Path) -> None:
    wheel, sdist = artefacts.wheel("foo", "1.0"), artefacts.sdist("foo_bar", "1.1")
    for name in ("real", "ours"):
        put(tmp_path / name, wheel, sdist)
        for path in _FILES:
            place = tmp_path / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.encode())
    (tmp_path / "htpasswd").write_text("user:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")  # secret
    words = tuple(str(tmp_path / word) if word == "htpasswd" else word for word in words)
    port = free_port()
    process = subprocess.Popen(
        [real_program, "run", "-p", str(port), "-i", "127.0.0.1", *words, str(tmp_path / "real")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    try:
        options = (*words, "--datadir", str(tmp_path / "data"), str(tmp_path / "ours"))
        program = ("-m", "devpi_server.pypiserver")
        with ServerProcess(*options, log=tmp_path / "log", program=program) as ours:
            until(lambda: is_served(port))
            real = Http(f"http://127.0.0.1:{port}/")
            is_closed = "." not in words
            for headers in ({}, basic("user", "secret")) if is_closed else ({},):
                for question in questions(headers):
                    assert said(ours, question) == said(real, question), question
    finally:
        process.terminate()
        process.wait(60)
    assert files(tmp_path / "ours") == files(tmp_path / "real")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
