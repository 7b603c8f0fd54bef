"""The scriptable index: content, sockets, request log and faults in one object."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from .answers import Answer, Headers, Request
from .faults import Fault
from .index import Index
from .pages import Mode
from .rules import Pattern, Rule, matches
from .sockets import Server

if TYPE_CHECKING:
    from typing_extensions import Self

_CONDITIONS = ("if-none-match", "if-modified-since")


class Upstream(Index):
    """An index on loopback.

    The address is known, and kept from others, from construction until ``close``;
    between ``start`` and ``stop`` it answers, otherwise it refuses connections.

    :param port: 0 for any that is free.
    :param tls: speak https, with its certificates.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        mode: Mode = Mode.WAREHOUSE,
        serial: int = 1000,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(mode=mode, serial=serial, clock=clock)
        self.latency = 0.0  # seconds before each answer
        self.logging = True  # False: requests are not kept
        self.connections = 0
        self._requests: list[Request] = []
        self._rules: list[Rule] = []
        self._arrival = threading.Condition()
        self._server: Server | None = None
        # Bound but not listening: connections are refused, and the port stays ours.
        self._claim = socket.socket()
        self._claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._claim.bind((host, port))
        self._address: tuple[str, int] = self._claim.getsockname()
        self.port = self._address[1]
        self._tls = tls
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}/"
        self.simple_url = f"{self.url}simple/"

    # Life

    def start(self) -> None:
        if self._server is None:
            self._server = Server(self._address, self._respond, self._admit, self._tls)

    def stop(self) -> None:
        """The network is gone: every connection ends, new ones are refused."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def close(self) -> None:
        """Stop, and give the port back."""
        self.stop()
        self._claim.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Log

    @property
    def requests(self) -> list[Request]:
        """All requests that have arrived, oldest first."""
        with self._arrival:
            return list(self._requests)

    def count(self, pattern: Pattern, method: str | None = "GET") -> int:
        """How many requests have matched; ``method`` None: any."""
        return sum(
            1
            for request in self.requests
            if method in {None, request.method} and matches(pattern, request)
        )

    def wait_for(
        self,
        pattern: Pattern,
        times: int = 1,
        *,
        method: str | None = "GET",
        timeout: float = 30.0,
    ) -> None:
        """Wait until so many requests have matched; TimeoutError if they do not come."""
        with self._arrival:
            if not self._arrival.wait_for(lambda: self.count(pattern, method) >= times, timeout):
                seen = self.count(pattern, method)
                raise TimeoutError(f"{seen} of {times} requests {method} {pattern}")

    def clear(self) -> None:
        """Forget the requests, not the rules."""
        with self._arrival:
            self._requests.clear()

    # Faults

    def fail(self, pattern: Pattern, *faults: Fault, times: int | None = None) -> Rule:
        """Answer what matches with these faults, at most so many times; see ``faults``.

        :param pattern: a prefix of the path with its query, a compiled expression to
            search in it, or a function of the request.
        """
        rule = Rule(pattern, faults, times, self._forget)
        with self._arrival:
            self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """Remove all rules."""
        with self._arrival:
            rules = list(self._rules)
        for rule in rules:
            rule.remove()

    def _forget(self, rule: Rule) -> None:
        with self._arrival:
            if rule in self._rules:
                self._rules.remove(rule)

    # Serving

    def _admit(self) -> int | None:
        with self._arrival:
            self.connections += 1
            for rule in self._rules:
                if rule.closes_at_accept:
                    rule.hits += 1
                    return None
            return self.connections

    def _respond(self, request: Request) -> Answer:
        with self._arrival:
            if self.logging:
                self._requests.append(request)
                self._arrival.notify_all()
            rule = next((rule for rule in self._rules if rule.takes(request)), None)
            if rule is not None:
                rule.hits += 1
        if rule is None:
            answer = self.answer(request)
        else:
            asked = _unconditional(request) if rule.needs_body else request
            answer = rule.apply(self.answer(asked, serial=rule.serial), request)
        if self.latency:
            delivery = answer.delivery
            delivery = replace(delivery, delay=delivery.delay + self.latency)
            answer = replace(answer, delivery=delivery)
        return answer


def _unconditional(request: Request) -> Request:
    kept = {name: value for name, value in request.headers.items() if name not in _CONDITIONS}
    return replace(request, headers=Headers(kept))
