"""XML-RPC as change feeds and old pips speak it: values to bytes, hostile bytes to values. Pure.

``xmlrpc.client`` only lends its table of value types: the XML goes through a
parser of our own that refuses declarations (entities, external subsets), deep
nesting and masses of elements before they cost anything.
"""

from __future__ import annotations

import re
import xmlrpc.client
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from devpi_server.errors import (
    BadRequest,
    Corrupt,
    Denied,
    Failed,
    Unsupported,
    UpstreamError,
)

CONTENT_TYPE = "text/xml"
_DEEPEST = 24  # a row of the journal is 11 elements deep
_ELEMENTS = 1_000_000  # 50,000 rows have 650,000
_NO_SUCH_METHOD = -32601
_METHOD, _STRING = "methodName", "string"
_GONE = re.compile(r"not supported|no longer supports?|deprecated|no such method", re.IGNORECASE)
_RATE_LIMIT = re.compile(r"TooManyRequests|too many requests|rate.?limit", re.IGNORECASE)
# XML 1.0, 2.2
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The table of types converts what it is given, and fails in as many ways.
_NONE_OF_IT = (expat.ExpatError, xmlrpc.client.ResponseError, ArithmeticError, LookupError,
               TypeError, ValueError, AttributeError)  # fmt: skip
_RESET = re.compile(r"reset in ([0-9]{1,6}) second", re.IGNORECASE)


def request(method: str, *arguments: int | str) -> bytes:
    """A call.

    :raises Corrupt: a number that XML-RPC has no type for, so upstream cannot have said it.
    """
    try:
        return xmlrpc.client.dumps(arguments, method).encode()
    except OverflowError:
        raise Corrupt("upstream's serial is beyond what XML-RPC can say") from None


def result(document: bytes, host: str) -> object:
    """What the call returned.

    :param host: for the messages.
    :raises Unsupported: the fault says that there is no such call, or the answer is a web page.
    :raises Denied: the fault is about too many requests; carries ``retry_after`` where told.
    :raises Failed: any other fault.
    :raises Corrupt: no XML-RPC, or beyond our limits.
    """
    try:
        found = _read(document, "methodResponse").result()
    except xmlrpc.client.Fault as fault:
        raise _meaning(fault, host) from None
    except _WebPage:
        raise Unsupported(f"{host} answers XML-RPC with a web page") from None
    except _Excess as excess:
        raise Corrupt(f"{host} sends XML with {excess}") from None
    except _NONE_OF_IT:
        raise Corrupt(f"{host} answers with something that is not XML-RPC") from None
    if len(found) != 1:
        raise Corrupt(f"{host} answers with something that is not XML-RPC")
    return found[0]


def question(document: bytes) -> tuple[str, tuple[object, ...]]:
    """What a client calls: the method and its arguments.

    :raises BadRequest: no XML-RPC, or beyond our limits.
    """
    try:
        values = _read(document, "methodCall")
        method, arguments = values.method(), values.result()
    except (_WebPage, *_NONE_OF_IT, xmlrpc.client.Fault):
        raise BadRequest("the request is not XML-RPC") from None
    except _Excess as excess:
        raise BadRequest(f"the request has XML with {excess}") from None
    return method, arguments


def loose_question(document: bytes) -> tuple[str, str]:
    """The method, and the first text among the arguments, whatever stands around them.

    :raises BadRequest: no such XML, or beyond our limits.
    """
    found = _Texts()
    try:
        _parse(document, found)
    except expat.ExpatError:
        raise BadRequest("the request is not XML") from None
    except _Excess as excess:
        raise BadRequest(f"the request has XML with {excess}") from None
    if found.texts.keys() < {_METHOD, _STRING}:
        raise BadRequest("the request is not XML-RPC")
    return found.texts[_METHOD].strip(), found.texts[_STRING].strip()


def answer(value: object, method: str | None = None) -> bytes:
    """What a call returns.

    :param value: of lists, mappings, short whole numbers and texts.
    :param method: is named in it, which no standard asks for and who expects it finds.
    """
    made = xmlrpc.client.dumps((_sayable(value),), methodresponse=True)
    if method is not None:
        head = "<methodResponse>\n"
        made = made.replace(head, f"{head}<methodName>{escape(method)}</methodName>\n", 1)
    return made.encode()


def fault(text: str, code: int = 1) -> bytes:
    """A call that cannot be answered."""
    said = xmlrpc.client.Fault(code, _sayable(text))
    return xmlrpc.client.dumps(said, methodresponse=True).encode()


def _sayable(value: Any) -> Any:
    """The value without the characters that XML cannot have."""
    if isinstance(value, str):
        return _NOT_XML.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {key: _sayable(each) for key, each in value.items()}
    return [_sayable(each) for each in value] if isinstance(value, list) else value


def _read(document: bytes, root: str) -> _Values:
    values = _Values(root)
    _parse(document, values)
    return values


def _parse(document: bytes, handler: _Values | _Texts) -> None:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = handler.declaration
    parser.EntityDeclHandler = handler.declaration
    parser.Parse(document, True)  # noqa: FBT003 - takes no keyword


def _meaning(fault: xmlrpc.client.Fault, host: str) -> UpstreamError:
    text = " ".join(str(fault.faultString).split())[:200]
    if _RATE_LIMIT.search(text):
        reset = _RESET.search(text)
        seconds = int(reset[1]) if reset else None
        return Denied(f"{host} limits the rate of its changelog", retry_after=seconds)
    if fault.faultCode == _NO_SUCH_METHOD or _GONE.search(text):
        return Unsupported(f"{host} has no changelog: {text!a}")
    return Failed(f"{host} answers the changelog with a fault: {text!a}")


class _Excess(Exception):
    """The document is beyond a limit; the message says which."""


class _WebPage(Exception):
    """The document begins as HTML does."""


class _Values:
    """Builds values while the document is read, as long as it stays within the limits."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._types = xmlrpc.client.Unmarshaller(use_builtin_types=True)
        self._types.xml("", None)  # text comes decoded
        self._depth = 0
        self._elements = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._elements == 0 and tag != self._root:
            raise _WebPage if tag.lower() == "html" else ValueError
        self._depth += 1
        self._elements += 1
        if self._depth > _DEEPEST:
            raise _Excess("elements in elements without end")
        if self._elements > _ELEMENTS:
            raise _Excess("masses of elements")
        self._types.start(tag, dict(attributes))

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._types.end(tag)

    def text(self, text: str) -> None:
        self._types.data(text)

    def declaration(self, name: str, *_: object) -> None:
        if name.lower() == "html" and self._elements == 0:
            raise _WebPage
        raise _Excess("declarations")

    def method(self) -> str:
        return str(self._types.getmethodname() or "")

    def result(self) -> tuple[object, ...]:
        return tuple(self._types.close())


class _Texts:
    """The first text of each element that tells something, as long as the limits hold."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._elements = 0
        self._open = ""  # the element whose text is gathered

    def start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        self._elements += 1
        if self._elements > _ELEMENTS:
            raise _Excess("masses of elements")
        if tag in (_METHOD, _STRING) and tag not in self.texts:
            self._open = tag
            self.texts[tag] = ""

    def end(self, _tag: str) -> None:
        self._open = ""

    def text(self, text: str) -> None:
        if self._open:
            self.texts[self._open] += text

    def declaration(self, _name: str, *_: object) -> None:
        raise _Excess("declarations")
