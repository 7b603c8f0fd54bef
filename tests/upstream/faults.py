"""What can go wrong with an answer, each fault a value; ``rules`` says when."""

from __future__ import annotations

import gzip
import threading
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from .answers import Answer, Bytes, Framing, Hang, Request, read
from .index import rpc_answer


@dataclass(frozen=True)
class Fault:
    """Changes an answer, or the way it is sent."""

    needs_body: ClassVar[bool] = True  # conditions are ignored: never a 304

    def fits(self, request: Request) -> bool:
        """Whether the fault can happen to this request at all."""
        return True

    def apply(self, answer: Answer, request: Request) -> Answer:
        return answer


# Another answer


@dataclass(frozen=True)
class Status(Fault):
    """Another status line, header and body."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    reason: str | None = None

    def apply(self, answer: Answer, request: Request) -> Answer:
        headers = {"Content-Type": "text/plain", **self.headers}
        return replace(
            answer,
            status=self.code,
            headers=headers,
            body=Bytes(self.body),
            reason=self.reason,
        )


@dataclass(frozen=True)
class Redirect(Fault):
    """To another address; ``{path}`` in it stands for the path asked for."""

    url: str
    code: int = 302

    def apply(self, answer: Answer, request: Request) -> Answer:
        location = self.url.replace("{path}", request.path)
        return replace(answer, status=self.code, headers={"Location": location}, body=Bytes(b""))


@dataclass(frozen=True)
class Substitute(Fault):
    """Other bytes under the same header; none given: as many, all of them wrong."""

    body: bytes | None = None
    content_type: str | None = None

    def apply(self, answer: Answer, request: Request) -> Answer:
        body = self.body
        if body is None:
            body = bytes(each ^ 0xFF for each in read(answer.body))
        headers = dict(answer.headers)
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        if self.body is not None:
            headers.pop("Content-Encoding", None)
        return replace(answer, headers=headers, body=Bytes(body))


@dataclass(frozen=True)
class RpcFault(Fault):
    """An XML-RPC fault, which is a 200."""

    message: str = "RuntimeError: This API is not supported."
    code: int = -32500

    @classmethod
    def rate_limited(cls, seconds: int = 1) -> RpcFault:
        return cls(
            "HTTPTooManyRequests: The action could not be performed because there were too "
            f"many requests by the client. Limit may reset in {seconds} seconds."
        )

    def apply(self, answer: Answer, request: Request) -> Answer:
        fault = rpc_answer(xmlrpc.client.Fault(self.code, self.message))
        return replace(fault, delivery=answer.delivery)


@dataclass(frozen=True)
class OldSerial(Fault):
    """A node that stopped at an older serial: the page as it was, with its own serial."""

    serial: int
    needs_body: ClassVar[bool] = False


@dataclass(frozen=True)
class StripHeaders(Fault):
    """Some header fields are missing."""

    names: tuple[str, ...]
    needs_body: ClassVar[bool] = False

    def apply(self, answer: Answer, request: Request) -> Answer:
        gone = {name.lower() for name in self.names}
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in gone}
        return replace(answer, headers=kept)


@dataclass(frozen=True)
class AddHeaders(Fault):
    """Some header fields more, or others."""

    headers: Mapping[str, str]
    needs_body: ClassVar[bool] = False

    def apply(self, answer: Answer, request: Request) -> Answer:
        return replace(answer, headers={**answer.headers, **self.headers})


@dataclass(frozen=True)
class GzipEncoded(Fault):
    """The body compressed although nobody asked, as a badly configured file server does."""

    def apply(self, answer: Answer, request: Request) -> Answer:
        headers = {**answer.headers, "Content-Encoding": "gzip"}
        return replace(answer, headers=headers, body=Bytes(gzip.compress(read(answer.body), 1)))


# A sick way to send the answer


@dataclass(frozen=True)
class Latency(Fault):
    """So many seconds before the answer."""

    seconds: float
    needs_body: ClassVar[bool] = False

    def apply(self, answer: Answer, request: Request) -> Answer:
        delivery = answer.delivery
        return replace(answer, delivery=replace(delivery, delay=delivery.delay + self.seconds))


@dataclass(frozen=True)
class HangBeforeAnswer(Fault):
    """Silence after the request: for a time, until an event, or until the rule is removed."""

    seconds: float | None = None
    until: threading.Event | None = None
    needs_body: ClassVar[bool] = False

    def apply(self, answer: Answer, request: Request) -> Answer:
        hang = Hang(None, self.seconds, self.until)
        return replace(answer, delivery=replace(answer.delivery, hang=hang))


@dataclass(frozen=True)
class HangInBody(Fault):
    """Silence after so many bytes of the body; the rest follows as with HangBeforeAnswer."""

    after_bytes: int
    seconds: float | None = None
    until: threading.Event | None = None

    def apply(self, answer: Answer, request: Request) -> Answer:
        hang = Hang(self.after_bytes, self.seconds, self.until)
        return replace(answer, delivery=replace(answer.delivery, hang=hang))


@dataclass(frozen=True)
class Cut(Fault):
    """The connection ends after so many bytes of the body."""

    after_bytes: int
    reset: bool = False

    def apply(self, answer: Answer, request: Request) -> Answer:
        delivery = replace(answer.delivery, cut=self.after_bytes, reset=self.reset)
        return replace(answer, delivery=delivery)


@dataclass(frozen=True)
class CutHead(Fault):
    """The connection ends after so many lines, the status line being the first."""

    after_lines: int

    def apply(self, answer: Answer, request: Request) -> Answer:
        return replace(answer, delivery=replace(answer.delivery, head_cut=self.after_lines))


@dataclass(frozen=True)
class WrongLength(Fault):
    """Content-Length says so many bytes more (or less) than are sent."""

    delta: int

    def apply(self, answer: Answer, request: Request) -> Answer:
        return replace(answer, delivery=replace(answer.delivery, claim=self.delta))


@dataclass(frozen=True)
class Slow(Fault):
    """The body in small pieces, so many bytes a second."""

    bytes_per_second: int

    def apply(self, answer: Answer, request: Request) -> Answer:
        return replace(answer, delivery=replace(answer.delivery, rate=self.bytes_per_second))


@dataclass(frozen=True)
class SlowHead(Fault):
    """The status line and the header in single bytes, so many a second."""

    bytes_per_second: int
    needs_body: ClassVar[bool] = False

    def apply(self, answer: Answer, request: Request) -> Answer:
        return replace(answer, delivery=replace(answer.delivery, head_rate=self.bytes_per_second))


@dataclass(frozen=True)
class Chunked(Fault):
    """Transfer-Encoding: chunked, and no Content-Length."""

    def apply(self, answer: Answer, request: Request) -> Answer:
        return replace(answer, delivery=replace(answer.delivery, framing=Framing.CHUNKED))


@dataclass(frozen=True)
class NoLength(Fault):
    """No Content-Length: the body ends with the connection."""

    def apply(self, answer: Answer, request: Request) -> Answer:
        return replace(answer, delivery=replace(answer.delivery, framing=Framing.CLOSE))


@dataclass(frozen=True)
class CloseUnanswered(Fault):
    """The connection ends when the request has been read."""

    reset: bool = False
    needs_body: ClassVar[bool] = False

    def apply(self, answer: Answer, request: Request) -> Answer:
        delivery = replace(answer.delivery, answered=False, reset=self.reset)
        return replace(answer, delivery=delivery)


@dataclass(frozen=True)
class ResetKeepAlive(CloseUnanswered):
    """The same, but only on a connection that has carried a request before."""

    reset: bool = True

    def fits(self, request: Request) -> bool:
        return request.nth > 0


@dataclass(frozen=True)
class CloseAtAccept(Fault):
    """The connection ends as soon as it is accepted; the pattern of its rule has no meaning."""

    def fits(self, request: Request) -> bool:
        return False
