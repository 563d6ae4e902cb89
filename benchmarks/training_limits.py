"""What is wanted of the training benchmark, and whether its results hold it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.training_shapes import OPTIMIZERS, TITLES, step_flops

# The shape that each peer feeds numbers in: ratios are taken on equal shapes.
PEER_SHAPES = {"DeepCTR": "scalars", "FuxiCTR": "embedded"}
SMALL, MIDDLE, LARGE = 10_000, 1_000_000, 10_000_000
AT_LARGE = {"deepfm": 6.0, "nfm": 6.0, "dcn_v2": 3.0, "autoint": 3.0, "ipnn": 3.0, "xdeepfm": 1.6}
AT_SMALL, AT_MIDDLE, BFLOAT16, GROWTH, FLOOR, BESIDE_TABLES, PREDICTION = 1.0, 1.5, 1.3, 1.25, 1.25, 1.2e9, 1.2

Cell = Mapping[str, Any]
Cells = Mapping[tuple[str, int], Cell]  # by model and rows; by optimizer and 0


@dataclass(frozen=True)
class Limit:
    """One thing that is wanted.

    Attributes:
        what: In words.
        found: As measured.
        wanted: The limit.
        is_least: Whether it is the least that is wanted, or the most.
        unit: Written after both numbers.
        note: On what stands in the way, where it is missed.
    """

    what: str
    found: float
    wanted: float
    is_least: bool = True
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is met."""
        return self.found >= self.wanted if self.is_least else self.found <= self.wanted


def median_ms(cell: Cell, contender: str) -> float | None:
    """Returns the milliseconds of a step, or None where the contender failed."""
    taken = cell["milliseconds"].get(contender)
    return statistics.median(taken) if taken else None


def ratio(cell: Cell, peer: str, precision: str = "float32") -> float | None:
    """Returns how many of our steps go into one of a peer, on the peer's shape."""
    ours, theirs = median_ms(cell, f"ours {PEER_SHAPES[peer]} {precision}"), median_ms(cell, peer)
    return theirs / ours if ours and theirs else None


def lower_ratio(cell: Cell, precision: str = "float32") -> float | None:
    """Returns the lower of the ratios to the two peers: the faster peer, each compared on its own shape."""
    found = [each for peer in PEER_SHAPES if (each := ratio(cell, peer, precision)) is not None]
    return min(found, default=None)


def gain(cells: Cells) -> float | None:
    """Returns how much faster our steps are in bfloat16 than in float32 at the small size: geometric mean over models and shapes."""
    gains = []
    for model in TITLES:
        cell = cells.get((model, SMALL))
        for shape in PEER_SHAPES.values() if cell else ():
            full, half = (median_ms(cell, f"ours {shape} {precision}") for precision in ("float32", "bfloat16"))
            if full and half:
                gains.append(full / half)
    return statistics.geometric_mean(gains) if gains else None


def matrix_rate(cell: Cell, shape: str, precision: str) -> float | None:
    """Returns the GFLOP/s of matrix products, measured between the turns of a shape's contenders."""
    taken = [rates[precision] for rates in cell["rates"].get(shape, ())]
    return statistics.median(taken) if taken else None


def floor_ms(cell: Cell, shape: str, precision: str) -> float | None:
    """Returns the milliseconds that a step's matrix products alone take at the rate measured in this cell."""
    gigaflops = matrix_rate(cell, shape, precision)
    return step_flops(cell["subject"], shape) / gigaflops / 1e6 if gigaflops else None


def best_rate(cell: Cell, contender: str) -> float | None:
    """Returns the median of the examples a second that a contender scores, in its better batch size."""
    taken = cell["scores"].get(contender)
    return max(statistics.median(each[size] for each in taken) for size in taken[0]) if taken else None


def limits(cells: Cells) -> list[Limit]:
    """Returns all limits of which the results are there."""
    return [*_against_peers(cells), *_bfloat16(cells), *_growth(cells), *_floor(cells), *_memory(cells), *_prediction(cells)]


def _against_peers(cells: Cells) -> Iterator[Limit]:
    for rows in (SMALL, MIDDLE, LARGE):
        for model, title in TITLES.items():
            found = lower_ratio(cells[model, rows]) if (model, rows) in cells else None
            if found is not None:
                wanted = {SMALL: AT_SMALL, MIDDLE: AT_MIDDLE, LARGE: AT_LARGE[model]}[rows]
                note = _in_the_way(cells[model, rows]) if found < wanted else ""
                yield Limit(f"{title}, {rows:,} rows: times as fast as the faster peer", found, wanted, note=note)


def _in_the_way(cell: Cell) -> str:
    """Returns how far a float32 step of matrix products alone would come, and ours in bfloat16."""
    ratios = {peer: found for peer in PEER_SHAPES if (found := ratio(cell, peer)) is not None}
    peer = min(ratios, key=lambda name: ratios[name])
    theirs, floor, half = median_ms(cell, peer), floor_ms(cell, PEER_SHAPES[peer], "float32"), ratio(cell, peer, "bfloat16")
    found = [f"its products alone would be {theirs / floor:.2f} times as fast as {peer}"] if theirs and floor else []
    return "; ".join([*found, *([f"ours in bfloat16 is {half:.2f} times"] if half else [])])


def _bfloat16(cells: Cells) -> Iterator[Limit]:
    pays = (gain(cells) or 0.0) > 1
    chosen = "bfloat16" if pays else "float32"
    found = [each for model in TITLES if (model, SMALL) in cells and (each := lower_ratio(cells[model, SMALL], chosen)) is not None]
    if found:
        how = "bfloat16" if pays else "float32, since bfloat16 does not pay on this machine"
        what = f"Geometric mean over {len(found)} models, {SMALL:,} rows, {how}: times as fast as the faster peer"
        yield Limit(what, statistics.geometric_mean(found), BFLOAT16)


def _growth(cells: Cells) -> Iterator[Limit]:
    for model, title in TITLES.items():
        if (model, SMALL) in cells and (model, LARGE) in cells:
            for shape in PEER_SHAPES.values():
                small, large = (median_ms(cells[model, rows], f"ours {shape} float32") for rows in (SMALL, LARGE))
                if small and large:
                    what = f"{title}, {shape}: our step at {LARGE:,} rows to that at {SMALL:,}"
                    yield Limit(what, large / small, GROWTH, False, note=f"{large:.1f} ms for {small:.1f}")
    for optimizer in OPTIMIZERS:
        if (optimizer, 0) in cells:
            small, large = (median_ms(cells[optimizer, 0], str(rows)) for rows in (SMALL, LARGE))
            if small and large:
                what = f"{optimizer} ({OPTIMIZERS[optimizer][0]}, embedded): our step at {LARGE:,} rows to that at {SMALL:,}"
                yield Limit(what, large / small, GROWTH, False, note=f"{large:.1f} ms for {small:.1f}")


def _floor(cells: Cells) -> Iterator[Limit]:
    for shape in PEER_SHAPES.values():
        cell = cells.get(("deepfm", SMALL))
        floor, ours = (floor_ms(cell, shape, "float32"), median_ms(cell, f"ours {shape} float32")) if cell else (None, None)
        if floor and ours:
            what = f"DeepFM, {shape}, {SMALL:,} rows, float32: our step to its matrix products alone"
            yield Limit(what, ours / floor, FLOOR, False, note=f"{ours:.1f} ms for {floor:.1f}; {ours - FLOOR * floor:.1f} ms too many")


def _memory(cells: Cells) -> Iterator[Limit]:
    for model, title in TITLES.items():
        cell = cells.get((model, LARGE), {"memory": {}, "table_bytes": {}})
        beside = {name: peak - cell["table_bytes"][name] for name, peak in cell["memory"].items() if name in cell["table_bytes"]}
        if beside:
            most = max(beside, key=lambda name: beside[name])
            what = f"{title}, {LARGE:,} rows: our peak memory beyond tables and slots"
            yield Limit(what, beside[most] / 1e9, BESIDE_TABLES / 1e9, False, " GB", note=most.removeprefix("ours "))
    for optimizer, (model, _) in OPTIMIZERS.items():
        cell = cells.get((optimizer, 0), {"memory": {}, "table_bytes": {}})
        if (rows := str(LARGE)) in cell["memory"]:
            what = f"{optimizer} ({model}, embedded), {LARGE:,} rows: our peak memory beyond tables and slots"
            yield Limit(what, (cell["memory"][rows] - cell["table_bytes"][rows]) / 1e9, BESIDE_TABLES / 1e9, False, " GB")


def _prediction(cells: Cells) -> Iterator[Limit]:
    cell = cells.get(("deepfm", MIDDLE))
    found = []
    for peer, shape in PEER_SHAPES.items() if cell else ():
        ours, theirs = best_rate(cell, f"ours {shape} float32"), best_rate(cell, peer)
        if ours and theirs:
            found.append(ours / theirs)
    if found:
        yield Limit(f"Prediction, DeepFM, {MIDDLE:,} rows: times as fast as the faster peer", min(found), PREDICTION)
