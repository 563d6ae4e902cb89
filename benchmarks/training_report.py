"""Writes the page and the picture of the training benchmark from its cells."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.training_limits import LARGE, MIDDLE, PEER_SHAPES, SMALL, Cell, Cells, floor_ms, gain, limits, matrix_rate, median_ms, ratio
from benchmarks.training_shapes import BATCHES, OPTIMIZERS, SIZES, TITLES, step_flops

CONTENDERS = (
    "ours scalars float32",
    "ours scalars bfloat16",
    "DeepCTR",
    "ours embedded float32",
    "ours embedded bfloat16",
    "FuxiCTR",
)
_HEADS = ("ours, scalars", "ours, scalars, bfloat16", "DeepCTR, scalars", "ours, embedded", "ours, embedded, bfloat16", "FuxiCTR, embedded")
_HOW = f"""Batch {SIZES["batch_size"]}, 26 tokens and 13 numbers, width {SIZES["embedding_dim"]}, MLP 400-400-400 (in NFM over the pooled
vector), Adam (ours: lazy Adam on the rows of the tables), no L2, no dropout, no batch normalisation, {BATCHES} batches in memory, the same
for all. DCN-V2: three full crosses beside the MLP; AutoInt: three layers of two heads of 32 beside the MLP; xDeepFM: CIN 128, 128, all
maps handed on. Rows are those of all 26 tables together. **Two shapes:** DeepCTR feeds numbers as scalars (429 inputs of an MLP), FuxiCTR
embeds them (624): each peer is compared with our model of its own shape, and "the faster peer" is the one against which this ratio is
lower.

Each contender is a process of its own. For either shape ours in float32, the peer and ours in bfloat16 are alive at once and take turns of
about a second (at least a step), one at a time: 5 turns, 3 where a step takes seconds, after two that do not count. A turn's time is the
mean of its steps; tables show the median of the turns and, in brackets, their range. Ours: `Loop.train`, several steps a call, no clipping,
huge pages asked for as `trainer.task` asks. DeepCTR: `model.fit` on dicts of arrays, between the ends of its steps, the first of each turn
left out. FuxiCTR: `train_step`, which clips gradients at a norm of 10 as its trainer does, and its loss as a number, over batches
made beforehand; models are put together of its package's layers as in its repository, whose model classes the package leaves out.
Memory is the largest resident set of a process (VmHWM)."""

_TRIED = """What is missed, where the time goes, and what was tried. **DCN-V2 against FuxiCTR in float32:** three quarters of our step
are products of matrices, which FuxiCTR does at about the same rate; the rest was brought down with that of all models (below), and
nothing that is special to it was found. **Growth with lazy Adam:** with ids by Zipf's law a batch has ten times as many distinct rows at
the larger size, and they come from memory with their state. 1.42 before a row's state became one row of one variable, two passes less,
and huge pages. **DeepFM's floor:** the best of four products sets the rate; the products of a step take 49 ms of it at their own rates,
and the rest is look-ups, sums over equal rows, the optimizer and what is done element by element (`docs/training.md`). Brought down by
one look-up for vectors and first-order weights, state in one variable, huge pages, a gradient of its own for sums over pairs, and zeroing
padding in the few rows that were read; each was worth one to eight milliseconds. **Memory of AutoInt and xDeepFM:** what the layers of
one batch keep for their gradients. AutoInt's attention (three layers, 39 fields), made again in the gradient for 256 examples at a time,
peaked at 1.04 GB for 1.62 but took 534 ms for 492 (26 fields: .95 GB for 1.28, 328 ms for 297): that would meet this limit, or nearly,
and lose the one at 10^6 rows, so it stays whole. xDeepFM keeps the sums of its last layer's products, after 6.5 GB when it held those of
all its layers; these too in pieces gave .04 GB back. What made a difference: **xDeepFM** took 1,346 ms with scalars until the products of
its last layer were summed over the vectors' elements before their matrix; those of the others are made in pieces, for the memory.
**AutoInt** took a tenth more: where vectors are no wider than a head, scores and sums are of the vectors themselves, without queries and
keys. **Prediction** took .63 s for some calls, .38 s for others: an iterator that ends may wait for tf.data's tuner, which is off now."""

Results = Mapping[tuple[str, str, int], Mapping[str, Any]]


def cells_of(results: Results, table: str) -> dict[tuple[str, int], Cell]:
    """Returns the cells of an exponent by model and rows, or by optimizer and 0."""
    return {(cell["subject"], cell["rows"]): cell for cell in results.values() if cell["table"] == table}


def report(results: Results) -> str:
    """Returns the page as Markdown."""
    lines = ["# Training speed", "", *_introduction(list(results.values()))]
    for table in _tables(results):
        cells = cells_of(results, table)
        kind = "uniform: nearly every id is another row" if float(table) == 0 else f"by Zipf's law, exponent {table}"
        lines += ["", f"## Ids {kind}", "", *_limits(cells)]
        lines += [*_steps(cells), *_optimizers(cells), *_floors(cells), *_memory(cells), *_scores(cells)]
    return "\n".join(lines) + "\n"


def _tables(results: Results) -> list[str]:
    return sorted({table for table, *_ in results}, key=float, reverse=True)


def _introduction(cells: Sequence[Cell]) -> list[str]:
    if not cells:
        return []
    dates = sorted({cell["date"] for cell in cells})
    ours = {f"{name} {version}" for cell in cells for name, version in cell["versions"].items()}
    peers = {name: found for cell in cells for name, found in cell["peers"].items()}
    versions = [f"ours: {', '.join(sorted(ours))}"]
    versions += [f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())}" for name, found in sorted(peers.items())]
    machines = " or ".join(sorted({cell["machine"] for cell in cells}))
    when = f"{dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}"
    made = f"`make benchmark-training`, {when}, {machines}. Versions of {'; '.join(versions)}."
    return [made, "", *_HOW.splitlines(), "", "![step time over table rows](training.png)"]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *body] if body else []


def _section(title: str, text: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = _table(heads, rows)
    return ["", f"### {title}", "", *([text, ""] if text else []), *table] if table else []


def _limits(cells: Cells) -> list[str]:
    found = limits(cells)
    missed = [limit for limit in found if not limit.holds]
    lines = [f"**{len(found) - len(missed)} of {len(found)} limits hold.**"]
    if (gained := gain(cells)) is not None:
        pays = "pays" if gained > 1 else "does not pay"
        lines[0] += f" bfloat16 {pays} on this machine: at 10,000 rows our steps take {1 / gained:.2f} of their time in float32."
    rows = [
        [
            limit.what,
            f"{limit.found:.2f}{limit.unit}",
            f"{'at least' if limit.is_least else 'at most'} {limit.wanted:g}{limit.unit}",
            "holds" if limit.holds else f"**missed**{f': {limit.note}' if limit.note else ''}",
        ]
        for limit in found
    ]
    wanted_cells = [*itertools.product(TITLES, (SMALL, MIDDLE, LARGE)), *((name, 0) for name in OPTIMIZERS)]
    if left := [key for key in wanted_cells if key not in cells]:
        lines[0] += f" **{len(left)} of {len(wanted_cells)} cells are still to be measured.**"
    failed = [f"{cell['row']}, {name}: {why}" for cell in cells.values() for name, why in cell["failed"].items()]
    return [
        *lines,
        "",
        *_table(["what", "found", "wanted", ""], rows),
        "",
        *_TRIED.splitlines(),
        *(["", f"Failed: {'; '.join(failed)}."] if failed else []),
    ]


def _by_model(cells: Cells) -> list[tuple[str, Cell]]:
    """Returns the cells of models with their titles, by model and size."""
    order = list(TITLES)
    kept = sorted((key for key in cells if key[0] in TITLES), key=lambda key: (order.index(key[0]), key[1]))
    return [(TITLES[model], cells[model, rows]) for model, rows in kept]


def _spread(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    digits = 0 if min(values) >= 1000 else 1
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} - {max(values):,.{digits}f})"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _steps(cells: Cells) -> list[str]:
    rows = []
    for title, cell in _by_model(cells):
        times = [_spread(cell["milliseconds"].get(name)) for name in CONTENDERS]
        rows.append([title, f"{cell['rows']:,}", *times, *(_times(ratio(cell, peer)) for peer in PEER_SHAPES)])
    return _section("Milliseconds a step", "", ["model", "table rows", *_HEADS, "DeepCTR / ours", "FuxiCTR / ours"], rows)


def _optimizers(cells: Cells) -> list[str]:
    rows = []
    for optimizer, (model, _) in OPTIMIZERS.items():
        if (cell := cells.get((optimizer, 0))) is not None:
            sizes = sorted(cell["milliseconds"], key=int)
            base = median_ms(cell, sizes[0]) if sizes else None
            for size in sizes:
                grown = (median_ms(cell, size) or 0.0) / base if base else None
                rows.append([optimizer, model, f"{int(size):,}", _spread(cell["milliseconds"][size]), _times(grown)])
    text = "Ours alone, numbers embedded, float32. FTRL is that of the wide side; the deep side's tables are trained by SGD meanwhile."
    return _section("Optimizers of the tables", text, ["optimizer", "model", "table rows", "ms a step", "to the first"], rows)


def _floors(cells: Cells) -> list[str]:
    rows = []
    for title, cell in _by_model(cells):
        for shape in PEER_SHAPES.values():
            row = [title, f"{cell['rows']:,}", shape, f"{step_flops(cell['subject'], shape) / 1e9:.1f}"]
            for precision in ("float32", "bfloat16"):
                floor, ours = floor_ms(cell, shape, precision), median_ms(cell, f"ours {shape} {precision}")
                rate = matrix_rate(cell, shape, precision)
                row += [f"{rate:.0f}" if rate else "", f"{floor:.1f}" if floor else "", _times(ours / floor if ours and floor else None)]
            rows.append(row)
    text = (
        "Floating-point operations of all matrix products of a step (forward, and twice that backward), over the rate of the best of four "
        "products as large as the MLP's, by `tf.matmul` on all cores, between the same turns (median of the turns)."
    )
    heads = ["model", "table rows", "shape", "GFLOP a step"]
    for precision in ("float32", "bfloat16"):
        heads += [f"{precision}: GFLOP/s", "floor ms", "ours / floor"]
    return _section("The floor", text, heads, rows)


def _memory(cells: Cells) -> list[str]:
    rows = []
    for title, cell in _by_model(cells):
        peaks = [f"{cell['memory'][name] / 1e9:.2f}" if name in cell["memory"] else "" for name in CONTENDERS]
        tables = [f"{cell['table_bytes'][name] / 1e9:.2f}" if name in cell["table_bytes"] else "" for name in CONTENDERS[:1]]
        rows.append([title, f"{cell['rows']:,}", *peaks, *tables])
    return _section("Peak memory, GB", "", ["model", "table rows", *_HEADS, "our tables and slots"], rows)


def _scores(cells: Cells) -> list[str]:
    rows = []
    for title, cell in _by_model(cells):
        for name, head in zip(CONTENDERS, _HEADS, strict=True):
            for size in cell["scores"].get(name, [{}])[0]:
                taken = [each[size] for each in cell["scores"][name]]
                spread = f"{statistics.median(taken):,.0f} ({min(taken):,.0f} - {max(taken):,.0f})"
                rows.append([title, f"{cell['rows']:,}", head, f"{int(size):,}", spread])
    text = "`Loop.score` in evaluation's batches; both peers' `predict`, DeepCTR's in the batch of its documentation and in a large one."
    return _section("Prediction", text, ["model", "table rows", "", "batch", "examples a second"], rows)


def picture(results: Results, path: Path) -> None:
    """Draws the step time over the rows of the tables, a panel a model; nothing where there is no model's cell yet."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    cells = cells_of(results, _tables(results)[0]) if results else {}
    models = [model for model in TITLES if any(subject == model for subject, _ in cells)]
    if not models:
        return
    styles = {
        "ours scalars float32": ("#1f6f8b", "-", "ours, numbers as scalars"),
        "DeepCTR": ("#e07a3f", "-", "DeepCTR, numbers as scalars"),
        "ours embedded float32": ("#1f6f8b", "--", "ours, numbers embedded"),
        "FuxiCTR": ("#8a8a8a", "--", "FuxiCTR, numbers embedded"),
    }
    columns = min(3, len(models))
    lines = -(-len(models) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.6 * columns + 0.6, 2.9 * lines + 0.9), squeeze=False)
    for axis in axes.flat[len(models) :]:
        axis.set_visible(False)
    for axis, model in zip(axes.flat, models, strict=False):
        sizes = sorted(rows for subject, rows in cells if subject == model)
        for name, (color, style, label) in styles.items():
            points = [(rows, each) for rows in sizes if (each := median_ms(cells[model, rows], name)) is not None]
            axis.plot([rows for rows, _ in points], [each for _, each in points], style, color=color, label=label, marker="o", ms=4)
        axis.set(title=TITLES[model], xscale="log", yscale="log", xlabel="table rows", ylabel="ms a step")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2 if columns > 1 else 1, frameon=False)
    figure.tight_layout(rect=(0, 0.14 if lines == 1 else 0.08, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
