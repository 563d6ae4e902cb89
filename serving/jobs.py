"""The two things that are done to whole files with an export: scoring rows, and finding the best items for users.

Both are plain records, so that a worker process on another machine can be told what to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from feature_specs.errors import ColonnadeError
from feature_specs.sources import Source
from feature_specs.spec import FeatureSpec
from serving.files import Answer, FileJob
from serving.sides import asking_side, seen_name
from serving.versions import load_spec, output_names

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from serving.signatures import RawExamples

SCORED_AT_ONCE, SERVED_AT_ONCE = 8192, 1024
_IDS, _SCORES = "item_ids", "scores"
_LONG = (".csv", ".tsv")


class Work(Protocol):
    """What is done to files."""

    @property
    def version(self) -> Path:
        """The export."""
        ...

    def job(self, suffix: str) -> FileJob:
        """Returns what becomes of a file whose output has this suffix."""
        ...

    def settings(self) -> dict[str, Any]:
        """Returns what tells this work apart from other work, as JSON."""
        ...


@dataclass(frozen=True)
class Scoring:
    """Scores rows.

    Attributes:
        version: The export.
        like_source: Whether the rows are in the layout of the data set's own files.
    """

    version: Path
    like_source: bool = False

    def job(self, suffix: str) -> FileJob:
        """See `Work`."""
        del suffix
        spec = load_spec(self.version)
        names = output_names(spec)
        # Side tables and histories are the preprocessing job's to join: in its own layout they are absent.
        return FileJob(
            spec,
            names,
            lambda model: by_signature(model, "predict", names),
            "scored",
            SCORED_AT_ONCE,
            tells_absent=True,
            like_source=self.like_source,
        )

    def settings(self) -> dict[str, Any]:
        """See `Work`."""
        return {"done": "scored", "export": fingerprint(self.version), "source_layout": self.like_source}


@dataclass(frozen=True)
class Retrieving:
    """Finds the best items for users.

    Attributes:
        version: The export of a matching model.
        k: Items a user.
        include_seen: Whether items of the history may be among them.
        batch_size: Users at a time.
        index: "exact" scores all items; "approximate" those that an index finds.
    """

    version: Path
    k: int = 10
    include_seen: bool = False
    batch_size: int = SERVED_AT_ONCE
    index: Literal["exact", "approximate"] = "exact"

    def job(self, suffix: str) -> FileJob:
        """See `Work`."""
        spec = load_spec(self.version)

        def answer(model: Any) -> Answer:  # noqa: ANN401 (TensorFlow gives what it restores no type)
            check_k(model, spec, self.k)
            if self.index == "exact":
                # More than there are would be padding, which is not written.
                return retrieved(model, min(self.k, model.item_ids.shape[0]), self.include_seen)
            from serving.approximate import ApproximateIndex

            return ApproximateIndex(self.version, model, seen_name(spec), self.k, self.include_seen)

        return retrieving_job(spec, suffix, answer, self.batch_size)

    def settings(self) -> dict[str, Any]:
        """See `Work`."""
        flags = {"k": self.k, "include_seen": self.include_seen, "index": self.index}
        return {"done": "served", "export": fingerprint(self.version), **flags}


def retrieving_job(spec: FeatureSpec, suffix: str, answer: Callable[[Any], Answer], batch_size: int, in_flight: int = 1) -> FileJob:
    """Returns what becomes of a file of users: in delimited text a row an item, else their lists, without the histories."""
    # Users are in no layout of the data set's own.
    side = asking_side(spec).model_copy(update={"source": Source()})
    read = next(feature for feature in side.features if feature.name == seen_name(spec))
    is_long = suffix in _LONG
    return FileJob(
        side,
        ("rank", "item_id", "score") if is_long else (_IDS, _SCORES),
        answer,
        "served",
        batch_size,
        dropped=(read.name, read.raw_column),
        finish=_an_item_a_row if is_long else lambda table: table,
        tells_absent=True,
        in_flight=in_flight,
        fits=_has_items if is_long else None,
        unfit="no item is left to recommend: the user has seen all of them",
    )


def _has_items(table: pa.Table) -> NDArray[np.bool_]:
    """Returns which rows have a line of their own."""
    import pyarrow.compute as pc

    return pc.list_value_length(table[_IDS]).to_numpy() > 0


def fingerprint(version: Path) -> dict[str, str]:
    """Returns where an export is, and a digest of its graph and of the checksums of its weights."""
    digest = hashlib.sha256()
    for part in ("saved_model.pb", "variables/variables.index"):
        if (version / part).is_file():
            digest.update((version / part).read_bytes())
    return {"path": str(version.resolve()), "digest": digest.hexdigest()[:16]}


def by_signature(
    model: Any,  # noqa: ANN401 (TensorFlow gives what it restores no type)
    signature: str,
    names: tuple[str, ...],
    argument: str | None = None,
) -> Answer:
    """Returns what gives the outputs `names` of a signature as columns.

    Args:
        model: A loaded version, or one that is served.
        signature: Its name.
        names: Of outputs `[B]` or `[B, n]`.
        argument: Takes serialized tf.Examples; not given where each raw column is an argument.
    """
    from serving.signatures import to_examples, to_tensors

    def answer(raw: RawExamples) -> Mapping[str, pa.Array]:
        # The whole model is held here, for its functions hold its variables weakly.
        found = model.signatures[signature](**(to_tensors(raw) if argument is None else {argument: to_examples(raw)}))
        return {name: _column(found[name].numpy()) for name in names}

    return answer


def check_k(model: Any, spec: FeatureSpec, k: int) -> None:  # noqa: ANN401
    """Raises ColonnadeError where a model, loaded or served, gives no user so many items: else it would refuse each row, one by one."""
    import tensorflow as tf

    from serving.refusals import reason_of
    from serving.signatures import missing_tensors

    try:
        model.signatures["retrieve"](**missing_tensors(asking_side(spec)), k=tf.constant(k), exclude_seen=tf.constant(True))
    except tf.errors.InvalidArgumentError as error:
        # A user of whom nothing is known may be refused; that is no matter here.
        if (reason := reason_of(error)).startswith("k should"):
            raise ColonnadeError(f"--k is refused: {reason}.") from error


def retrieved(model: Any, k: int, include_seen: bool) -> Answer:  # noqa: ANN401
    """Returns what gives the lists of the signature `retrieve` as columns."""
    import tensorflow as tf

    from serving.signatures import to_tensors

    arguments = {"k": tf.constant(k), "exclude_seen": tf.constant(not include_seen)}

    def answer(raw: RawExamples) -> Mapping[str, pa.Array]:
        found = model.signatures["retrieve"](**to_tensors(raw), **arguments)
        return as_lists(found[_IDS].numpy(), found[_SCORES].numpy())

    return answer


def as_lists(ids: Any, scores: Any) -> dict[str, pa.Array]:  # noqa: ANN401 (arrays; NumPy comes with TensorFlow, late)
    """Returns items and scores `[B, k]`, padded where the score is minus infinity, as columns of lists without padding."""
    import numpy as np

    present = ~np.isneginf(scores)
    lengths = present.sum(axis=1)
    return {_IDS: _lists(ids[present], lengths), _SCORES: _lists(scores[present], lengths)}


def _column(values: Any) -> pa.Array:  # noqa: ANN401
    """Returns an output `[B]` or `[B, n]`."""
    import numpy as np

    return _flat(values) if values.ndim == 1 else _lists(values.reshape(-1), np.full(len(values), values.shape[1]))


def _lists(flat: Any, lengths: Any) -> pa.Array:  # noqa: ANN401
    import numpy as np
    import pyarrow as pa

    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, _flat(flat))


def _flat(values: Any) -> pa.Array:  # noqa: ANN401
    import pyarrow as pa

    if values.dtype != object:
        return pa.array(values)
    try:
        return pa.array(values, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([value.decode(errors="replace") for value in values], pa.string())


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
