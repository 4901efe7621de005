"""Fuzzy search over paths: which match a query, how well, and where. Pure.

A query matches a path that holds its characters in order, upper and lower case alike; blanks
separate terms that must all match. Matches in the name count more than matches in the directories,
and runs of characters more than scattered ones.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator

from attrs import field, frozen

from bbhost.workspace.files.walking import FoundPath

NAME_WEIGHT = 0.65
PATH_WEIGHT = 0.25
WHOLE_WEIGHT = 0.10
"""Shares of the score: best part of the name, best part of the path, likeness of the whole name."""


@frozen
class RankedPath:
    """A path that matches."""

    found: FoundPath
    score: float
    """0 to 100; higher is better."""
    positions: tuple[int, ...] = field(default=())
    """Matched characters of the path, ascending, counted in UTF-16 units as browsers do."""


def best_matches(
    paths: Iterable[FoundPath], query: str, limit: int
) -> tuple[list[RankedPath], bool]:
    """The ``limit`` best matches, best first, and whether there were more.

    Memory stays at ``limit`` paths however many are looked at. Equal scores are in order of length,
    then of the alphabet.
    """
    terms = [_fold(term) for term in query.split()]
    score_of = _scorer(terms)
    matches = 0

    def scored() -> Iterator[tuple[float, int, str, FoundPath]]:
        nonlocal matches
        for found in paths:
            score = score_of(found)
            if score is not None:
                matches += 1
                yield (-score, len(found.path), found.path, found)

    best = heapq.nsmallest(limit, scored(), key=lambda match: match[:3])
    ranked = [
        RankedPath(found, round(-negative, 3), match_positions(found.path, terms))
        for negative, _, _, found in best
    ]
    return ranked, matches > limit


def _scorer(terms: list[str]) -> Callable[[FoundPath], float | None]:
    # Imported on first use: a search is rare, the module costs memory.
    from rapidfuzz.distance import LCSseq
    from rapidfuzz.fuzz import partial_ratio, ratio

    def holds(term: str, text: str) -> bool:
        return term in text or LCSseq.similarity(term, text) == len(term)

    def score_term(term: str, path: str, name: str) -> float | None:
        if not holds(term, path):
            return None
        score = PATH_WEIGHT * partial_ratio(term, path)
        if holds(term, name):
            score += NAME_WEIGHT * partial_ratio(term, name) + WHOLE_WEIGHT * ratio(term, name)
        return score

    def score(found: FoundPath) -> float | None:
        path = _fold(found.path)
        name = path.rpartition("/")[2]
        total = 0.0
        for term in terms:
            part = score_term(term, path, name)
            if part is None:
                return None
            total += part
        return total / len(terms)

    return score


def match_positions(path: str, terms: list[str]) -> tuple[int, ...]:
    """Where folded ``terms`` match in ``path``, in UTF-16 units.

    A run in the name is preferred, then a run in the path, then any characters in order.
    """
    folded = _fold(path)
    name_start = folded.rfind("/") + 1
    points: set[int] = set()
    for term in terms:
        start = folded.find(term, name_start)
        if start < 0:
            start = folded.find(term)
        if start >= 0:
            points.update(range(start, start + len(term)))
        else:
            points.update(_scattered(term, folded, name_start))
    return _utf16_positions(path, sorted(points))


def _scattered(term: str, folded: str, name_start: int) -> Iterator[int]:
    from rapidfuzz.distance import LCSseq

    in_name = LCSseq.similarity(term, folded[name_start:]) == len(term)
    start = name_start if in_name else 0
    for block in LCSseq.opcodes(term, folded[start:]):
        if block.tag == "equal":
            yield from range(start + block.dest_start, start + block.dest_end)


def _fold(text: str) -> str:
    """Lower case, character by character, so that positions stay what they are."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := character.lower()) == 1 else character for character in text)


def _utf16_positions(path: str, points: list[int]) -> tuple[int, ...]:
    if path.isascii():
        return tuple(points)
    starts: list[int] = []
    unit = 0
    for character in path:
        starts.append(unit)
        unit += 2 if ord(character) > 0xFFFF else 1
    return tuple(starts[point] for point in points)
