"""Finds the best items for each user of a file, with nothing but an export: `python -m serving.recommend`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from feature_specs.command import CommandParser, run_command
from feature_specs.errors import ColonnadeError
from feature_specs.sources import Source
from serving.files import Answer, FileJob, add_flags, check_files, run_job

if TYPE_CHECKING:
    import pyarrow as pa

    from serving.signatures import RawExamples

_BATCH_SIZE = 1024
_IDS, _SCORES = "item_ids", "scores"
_LONG = (".csv", ".tsv")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = CommandParser("python -m serving.recommend", "Finds the best items for each user of a file with an exported matching model.")
    add_flags(
        parser,
        "--users",
        "one row a user: features and the history, found by a feature's name or its raw column's",
        "gets the input's columns but the history, and the items: lists in .jsonl and .parquet, a row an item in .csv and .tsv",
    )
    parser.add_argument("--k", type=int, default=10, help="items a user")
    parser.add_argument("--include_seen", action="store_true", help="items of a user's history may be recommended again")
    parser.add_argument("--batch_size", type=int, default=_BATCH_SIZE, help="users at a time")
    parser.add_argument(
        "--index",
        choices=("exact", "approximate"),
        default="exact",
        help="score all items, or those that an index of the vectors finds (needs the extra `ann`); its recall is measured and printed",
    )
    flags = parser.parse_all(arguments)
    print(recommend_file(flags.export_dir, flags.users, flags.output, flags.k, flags.include_seen, flags.batch_size, flags.index))


def recommend_file(
    export_dir: str | Path,
    users: Path,
    output: Path,
    k: int = 10,
    include_seen: bool = False,
    batch_size: int = _BATCH_SIZE,
    index: Literal["exact", "approximate"] = "exact",
) -> str:
    """Writes the best items of each row of `users` to `output`; rows that cannot be read or served go to `OUTPUT.rejected.jsonl`.

    Args:
        export_dir: The exports of a run, or one of them.
        users: A row a user.
        output: Gets the rows, without their histories. As lists `item_ids` and `scores`; in delimited text a row an item, with `rank` (from
            1), `item_id` and `score`. There are fewer than k where a user has seen most items.
        k: Items a user.
        include_seen: Whether items of the history may be recommended.
        batch_size: Users at a time.
        index: "exact" scores all items; "approximate" those that an index finds, which lies in the version's folder once it is made.

    Returns:
        One line that says what was done.

    Raises:
        ColonnadeError: There is no export of a matching model, or the input cannot be read, or not one of its rows.
    """
    from serving.sides import asking_side, seen_name
    from serving.versions import find_version, load_spec

    for flag, value in (("k", k), ("batch_size", batch_size)):
        if value < 1:
            raise ColonnadeError(f"--{flag} should be 1 or more. Received: {value}.")
    version = find_version(export_dir)
    spec = load_spec(version)
    if not spec.is_matching:
        raise ColonnadeError(f"Export {str(version)!r} is of a ranking model, which retrieves no items. Score pairs with serving.predict.")
    # Users are in no layout of the data set's own.
    side = asking_side(spec).model_copy(update={"source": Source()})
    check_files(side, users, output, like_source=False)
    if index == "approximate" and find_spec("faiss") is None:
        raise ColonnadeError("--index approximate needs faiss, which is not installed: pip install 'colonnade[ann]'.")

    def answer(model: Any) -> Answer:  # noqa: ANN401 (TensorFlow gives what it restores no type)
        if index == "exact":
            return _exact(model, k, include_seen)
        from serving.approximate import ApproximateIndex

        return ApproximateIndex(version, model, seen_name(spec), k, include_seen)

    is_long = output.suffix in _LONG
    names = ("rank", "item_id", "score") if is_long else (_IDS, _SCORES)
    read = next(feature for feature in side.features if feature.name == seen_name(spec))
    job = FileJob(
        side,
        names,
        answer,
        "served",
        dropped=(read.name, read.raw_column),
        finish=_an_item_a_row if is_long else lambda table: table,
        tells_absent=True,
    )
    return run_job(version, job, users, output, batch_size)


def _exact(model: Any, k: int, include_seen: bool) -> Answer:  # noqa: ANN401
    import tensorflow as tf

    from serving.signatures import to_tensors

    # Padding is not written.
    arguments = {"k": tf.constant(min(k, model.item_ids.shape[0])), "exclude_seen": tf.constant(not include_seen)}

    def answer(raw: RawExamples) -> Mapping[str, pa.Array]:
        found = model.signatures["retrieve"](**to_tensors(raw), **arguments)
        return as_lists(found[_IDS].numpy(), found[_SCORES].numpy())

    return answer


def as_lists(ids: Any, scores: Any) -> dict[str, pa.Array]:  # noqa: ANN401 (arrays; NumPy comes with TensorFlow, late)
    """Returns items and scores `[B, k]`, padded where the score is minus infinity, as columns of lists without padding."""
    import numpy as np
    import pyarrow as pa

    present = ~np.isneginf(scores)
    offsets = pa.array(np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32))
    flat = [v.decode(errors="replace") for v in ids[present]] if ids.dtype == object else ids[present]
    kind = pa.string() if ids.dtype == object else pa.int64()
    return {
        _IDS: pa.ListArray.from_arrays(offsets, pa.array(flat, kind)),
        _SCORES: pa.ListArray.from_arrays(offsets, pa.array(scores[present])),
    }


def _an_item_a_row(table: pa.Table) -> pa.Table:
    """Returns a row for each item of each row: its columns, the item's rank, id and score."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.list_value_length(table[_IDS]).to_numpy()
    rows = np.repeat(np.arange(len(lengths)), lengths)
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    long = table.drop_columns([_IDS, _SCORES]).take(pa.array(rows))
    found = {"rank": pa.array(rank), "item_id": pc.list_flatten(table[_IDS]), "score": pc.list_flatten(table[_SCORES])}
    for name, values in found.items():
        long = long.append_column(name, values)
    return long


if __name__ == "__main__":
    run_command(main)
