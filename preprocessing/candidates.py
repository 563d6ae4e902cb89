"""Fixed candidates of the users in test, from a file as the NCF paper has it: `(user,item)`, a tab, then other items, separated by tabs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_specs import ColonnadeError, FeatureSpec, FilesSplit, TextTable
from preprocessing.catalogue import lists_of, numbers_of
from preprocessing.partitions import dealt_by_user
from preprocessing.sources.ranges import ParsedRange, Range
from preprocessing.sources.streams import InputFile
from preprocessing.sources.tables import read
from preprocessing.staging import opened

# A line is one value: what separates its parts is no delimiter of columns.
TABLE = TextTable(delimiter="\x01", header=False, columns=("line",), quoting=False)
_PAIR = r"^\((?P<user>[^,]+),\s*(?P<item>[^,]+)\)$"
_SHOWN_ITEMS = 5


@dataclass(frozen=True)
class FixedCandidates:
    """Where the candidates are.

    Attributes:
        ranges: Of the files; none where the split names no file.
        num_partitions: Among how many partitions users are dealt.
    """

    ranges: tuple[Range, ...]
    num_partitions: int


@dataclass(frozen=True)
class CandidatesPlan:
    """What a worker has to know.

    Attributes:
        items: The Parquet file of the catalogue.
        num_partitions: Among how many partitions users are dealt.
        folder: Where the files go.
    """

    items: str
    num_partitions: int
    folder: str


def check_given(spec: FeatureSpec, found: Sequence[InputFile]) -> None:
    """Refuses inputs without the candidates that the split names.

    Raises:
        ColonnadeError: They are not there.
    """
    if spec.is_matching and isinstance(spec.split, FilesSplit) and spec.split.candidates is not None and not found:
        raise ColonnadeError(
            f"No input file is called {spec.split.candidates!r}, which holds the candidates of the split. Give it with --input, or leave "
            "`candidates` out."
        )


def read_candidates(plan: CandidatesPlan, source: Range) -> dict[str, Any]:
    """Reads a range of a candidates file; writes `_user`, `_target` and `_candidates` (item numbers), a batch a partition of the users.

    Raises:
        ColonnadeError: A line is of another form, or names an item that the data set does not have.
    """
    parsed = read(source, TABLE.columns or ())
    if parsed.ragged:
        number, reason = min(parsed.ragged.items())
        raise ColonnadeError(f"{_where(parsed, number)}: {reason}. Mend the line.")
    parts = pc.split_pattern(pc.fill_null(parsed.table["line"].combine_chunks(), b""), "\t")
    pairs = pc.extract_regex(pc.list_element(parts, 0), _PAIR)
    counts = pc.list_value_length(parts).to_numpy() - 1
    bad = np.flatnonzero(pc.is_null(pairs).to_numpy(zero_copy_only=False) | (counts < 1))
    if len(bad):
        number = int(parsed.numbers()[bad[0]])
        raise ColonnadeError(
            f"{_where(parsed, number)} should be `(user,item)`, a tab, then items separated by tabs. Received: "
            f"{next(parsed.locate([number]))[1][:80]!r}. Mend the line."
        )
    keys = pq.read_table(plan.items, columns=["_item"])["_item"].combine_chunks()
    others = np.ones(len(parts.flatten()), bool)
    others[np.cumsum(counts + 1) - counts - 1] = False
    named = parts.flatten().filter(pa.array(others))
    targets, numbers = (_numbered(parsed, keys, cells, rows) for cells, rows in _cells(pairs, named, counts))
    table = pa.table({"_user": pairs.field("user"), "_target": pa.array(targets), "_candidates": lists_of(numbers, counts)})
    path = f"{plan.folder}/candidates-{source.index:05d}.arrow"
    dealt_by_user(table, plan.num_partitions, source.index, path)
    return {"path": path}


def _cells(pairs: pa.StructArray, named: pa.Array, counts: np.ndarray) -> list[tuple[pa.Array, np.ndarray]]:
    rows = np.arange(len(counts))
    return [(pairs.field("item"), rows), (named, np.repeat(rows, counts))]


def _numbered(parsed: ParsedRange, keys: pa.Array, cells: pa.Array, rows: np.ndarray) -> np.ndarray:
    """Returns the number of each item; `rows` says on which line each of them is."""
    numbers = numbers_of(keys, cells)
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        names = pc.unique(cells.take(pa.array(unknown)))
        shown = ", ".join(repr(name.decode("utf-8", errors="replace")) for name in names[:_SHOWN_ITEMS].to_pylist())
        more = f" and {len(names) - _SHOWN_ITEMS:,} more" if len(names) > _SHOWN_ITEMS else ""
        raise ColonnadeError(
            f"{_where(parsed, int(parsed.numbers()[rows[unknown[0]]]))}: no interaction has the items {shown}{more}. Give candidates with "
            "the raw ids of the data set, or all files that the items are in."
        )
    return numbers


def _where(parsed: ParsedRange, number: int) -> str:
    return f"Candidates file {parsed.source.path!r}, line {next(parsed.locate([number]))[0]}"


def candidates_of(users: pa.Array, targets: pa.ListArray, files: Sequence[str], partition: int) -> pa.ListArray:
    """Returns the candidates of each user in test, lists [N] of item numbers, as the file has them.

    Args:
        users: Keys of the users of a partition that are in test, binary [N].
        targets: Their item numbers in test, lists [N].
        files: What `read_candidates` wrote.
        partition: Its number.

    Raises:
        ColonnadeError: A user has no line, several, or one that is about another item; or a line is about a user who is not in test.
    """
    batches = []
    for path in files:
        with opened(path) as reader:
            batches.append(reader.get_batch(partition))
    lines = pa.Table.from_batches(batches).combine_chunks()
    owners = lines["_user"].combine_chunks()
    twice = pc.value_counts(owners)
    _refuse(twice.field("values").filter(pc.greater(twice.field("counts"), 1)), "several lines in the candidates file. Keep one")
    place = pc.index_in(users, value_set=owners)
    _refuse(users.filter(pc.is_null(place)), "rows in test and no line in the candidates file. Add one")
    _refuse(owners.filter(pc.is_null(pc.index_in(owners, value_set=users))), "a line in the candidates file and no row in test. Remove it")
    own = lines["_target"].combine_chunks().take(place).to_numpy()
    row = pc.list_parent_indices(targets).to_numpy()
    hit = np.zeros(len(users), bool)
    hit[row[targets.flatten().to_numpy() == own[row]]] = True
    _refuse(users.filter(pa.array(~hit)), "another item in the candidates file than in test. Give files that belong together")
    return lines["_candidates"].combine_chunks().take(place)


def _refuse(users: pa.Array, what: str) -> None:
    if len(users):
        more = f" and {len(users) - 1:,} more" if len(users) > 1 else ""
        raise ColonnadeError(f"User {users[0].as_py().decode('utf-8', errors='replace')!r}{more}: {what}.")
