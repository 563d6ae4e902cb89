"""Where the boxes of a picture lie, and the lanes between them through which arrows pass the rows that they skip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# A box, or its lane in a row below it: the number of the box, and the row.
Place = tuple[int, int]
_SWEEPS = 12


def across(levels: Sequence[int], sources: Sequence[set[int]], box: float, lane: float) -> dict[Place, float]:
    """Returns the middle of every box in its row, and of every lane in each row that an arrow of its box passes.

    The rows are ordered and shifted to and fro, so that arrows are short and straight, and neighbours in a row keep their distance: what
    lies in a lane is behind no box.

    Args:
        levels: The row of each box.
        sources: The boxes that arrows to each box come from, all of them in rows above.
        box: Width of a box with the space around it.
        lane: Width of a lane.
    """
    parents = {(number, level): [(source, level - 1) for source in sorted(sources[number])] for number, level in enumerate(levels)}
    for number, level in enumerate(levels):
        below = [levels[other] for other in range(len(levels)) if number in sources[other]]
        parents |= {(number, row): [(number, row - 1)] for row in range(level + 1, max(below, default=level))}
    children: dict[Place, list[Place]] = {place: [] for place in parents}
    for place, above in parents.items():
        for each in above:
            children[each].append(place)
    rows: dict[int, list[Place]] = {}
    for place in sorted(parents):
        rows.setdefault(place[1], []).append(place)

    def half(place: Place) -> float:
        return (box if levels[place[0]] == place[1] else lane) / 2

    found: dict[Place, float] = {}
    for row in rows.values():
        found |= zip(row, _apart([0.0] * len(row), [half(place) for place in row]), strict=True)
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        wanted = _mean_of(found, parents if downwards else children)
        for number in sorted(rows, reverse=not downwards):
            if sweep < _SWEEPS // 2:
                rows[number].sort(key=wanted)
            row = rows[number]
            found |= zip(row, _apart([wanted(place) for place in row], [half(place) for place in row]), strict=True)
    first = min(x - half(place) for place, x in found.items())
    return {place: x - first for place, x in found.items()}


def _mean_of(found: dict[Place, float], neighbours: dict[Place, list[Place]]) -> Callable[[Place], float]:
    """Returns the function from a place to the middle of its neighbours; its own where it has none."""

    def mean(place: Place) -> float:
        around = [found[each] for each in neighbours[place]] or [found[place]]
        return sum(around) / len(around)

    return mean


def _apart(wanted: Sequence[float], halves: Sequence[float]) -> list[float]:
    """Returns places near the wanted ones, in order, and so far from each other as the halves of neighbours need."""
    right, left = list(wanted), list(wanted)
    for i in range(1, len(wanted)):
        right[i] = max(wanted[i], right[i - 1] + halves[i - 1] + halves[i])
    for i in reversed(range(len(wanted) - 1)):
        left[i] = min(wanted[i], left[i + 1] - halves[i + 1] - halves[i])
    return [(a + b) / 2 for a, b in zip(right, left, strict=True)]
