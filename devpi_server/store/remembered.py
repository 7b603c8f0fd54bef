"""Answers of the database that are remembered until anybody writes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from devpi_server.store.meta import MetaStore

T = TypeVar("T")

_REMEMBERED = 10_000  # answers; then they are forgotten, because hostile names cost nothing


@dataclass(frozen=True, slots=True)
class _Remembered(Generic[T]):
    generation: int
    answers: dict[str, T]


class UntilWritten(Generic[T]):
    """Key → answer.

    Without a lock: a thread that loses a race asks once more.  The generation is read
    before the question, so an answer can be newer than it is thought to be, never older.
    """

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta
        self._remembered: _Remembered[T] = _Remembered(-1, {})

    def get(self, key: str, ask: Callable[[], T]) -> T:
        """The answer for the key. What ``ask`` raises is not remembered."""
        generation = self._meta.generation()
        remembered = self._remembered
        if remembered.generation != generation or len(remembered.answers) > _REMEMBERED:
            remembered = self._remembered = _Remembered(generation, {})
        if key in remembered.answers:
            return remembered.answers[key]
        answer = remembered.answers[key] = ask()
        return answer
