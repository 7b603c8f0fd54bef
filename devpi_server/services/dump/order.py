"""The order in which indexes can be made: each after all that it builds on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence


def bases_first(
    bases: Mapping[str, Sequence[str]],
    known: Collection[str],
    warn: Callable[[str], None],
) -> dict[str, tuple[str, ...]]:
    """The indexes in this order, each with the bases that it keeps.

    A base that is not there is left out, and so is one that closes a circle: an
    index cannot build on itself.

    :param known: indexes that are there without being in ``bases``.
    :param warn: is told what was left out, in a sentence.
    """
    ordered: dict[str, tuple[str, ...]] = {}
    kept: dict[str, list[str]] = {}
    rest: dict[str, Iterator[str]] = {}
    for first in bases:
        way = [first]  # each builds on the next; what is in kept and not in ordered is here
        while way:
            name = way[-1]
            if name in ordered:
                way.pop()
                continue
            if name not in rest:
                rest[name] = iter(dict.fromkeys(bases[name]))
                kept[name] = []
            for base in rest[name]:
                if base not in bases and base not in known:
                    warn(f"index {name}: its base {base} is not there, and was left out")
                elif base in kept and base not in ordered:
                    warn(f"index {name}: its base {base} builds on it in turn, and was left out")
                else:
                    kept[name].append(base)
                    if base in bases and base not in ordered:
                        way.append(base)
                        break
            else:
                ordered[name] = tuple(kept[name])
                way.pop()
    return ordered
