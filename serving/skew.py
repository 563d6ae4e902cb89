"""Is what is served what was trained? The same rows on two independent paths, compared feature by feature and score by score.

Path A: the preprocessing job's transformed values into the model itself. Path B: the raw values through an exported version, by each of
its signatures.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec
from serving.module import Scorer, live_scores, output_names
from serving.signatures import RawExamples, to_examples, to_scorer_inputs, to_tensors
from serving.versions import load_model, load_spec

_BATCH_ROWS = 4096
_WORST_ROWS = 5


@dataclass(frozen=True)
class RowSkew:
    """One row that differs.

    Attributes:
        score: The largest difference of its scores.
        features: The largest difference of its features.
        row: Its number in the files, from 1.
        raw: Its raw values.
        trained: Path A: transformed values and scores.
        served: Path B: the same; scores by "<signature> <score>".
    """

    score: float
    features: float
    row: int
    raw: Mapping[str, Any]
    trained: Mapping[str, Any]
    served: Mapping[str, Any]


@dataclass
class Skew:
    """Largest absolute differences between the two paths; infinite where one of them gives no number.

    Attributes:
        rows: How many rows were compared.
        per_feature: By transformed column: features, and what comes beside them.
        per_score: By "<signature> <score>", such as "predict logits".
        worst: The rows that differ most.
    """

    rows: int = 0
    per_feature: dict[str, float] = field(default_factory=dict)
    per_score: dict[str, float] = field(default_factory=dict)
    worst: list[RowSkew] = field(default_factory=list)

    @property
    def features(self) -> float:
        """The largest difference of any feature."""
        return max(self.per_feature.values(), default=0.0)

    @property
    def score(self) -> float:
        """The largest difference of any score."""
        return max(self.per_score.values(), default=0.0)


def raw_rows(spec: FeatureSpec, sample_parquet: str | Path) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns the raw examples of a sample, at most 4096 rows, for the check of an export before it is published."""
    batch = next(_batches([Path(sample_parquet)]), None)
    if batch is None:
        raise ColonnadeError(f"Sample {str(sample_parquet)!r} has no rows. Preprocess again.")
    return _raw(spec, batch)


def compare_sample(export_path: str | Path, sample_parquet: str | Path, scorer: Scorer) -> Skew:
    """Compares an exported version with the model it was made of, on the rows that the preprocessing job kept for this.

    Args:
        export_path: The version's folder.
        sample_parquet: Holds, for each row, `raw.<column>` of the raw columns, and what the job made of them.
        scorer: The model: transformed features to logits `[B]`.

    Raises:
        ColonnadeError: The sample is missing, has no rows or is of another spec.
    """
    return compare_files(export_path, [Path(sample_parquet)], scorer)


def compare_files(export_path: str | Path, files: Sequence[Path], scorer: Scorer) -> Skew:
    """Does the same for the rows of several such files."""
    version = Path(export_path)
    spec, exported = load_spec(version), load_model(version)
    score = live_scores(spec, scorer)
    skew = Skew()
    for batch in _batches(files):
        raw = _raw(spec, batch)
        trained = to_scorer_inputs(spec, {c.name: _tensor(_column(batch, c.name)) for c in spec.outputs})
        tensors = to_tensors(raw)
        outputs = {
            "predict": exported.signatures["predict"](**tensors),
            "serving_default": exported.signatures["serving_default"](examples=to_examples(raw)),
        }
        served_scores = {f"{signature} {name}": outputs[signature][name] for signature in outputs for name in output_names(spec)}
        _add(skew, raw, (trained, score(trained)), (exported.transform(**tensors), served_scores), spec.paddings)
    if not skew.rows:
        raise ColonnadeError("There is no row to compare the export with. Preprocess again, or give a file with rows.")
    return skew


def _batches(files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(_BATCH_ROWS)
        except (OSError, pa.ArrowException) as error:
            problem = " ".join(str(error).split()).rstrip(".")
            raise ColonnadeError(f"Sample {str(path)!r} cannot be read: {problem}. Preprocess again.") from error


def _raw(spec: FeatureSpec, batch: pa.RecordBatch) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    return {c.name: _tensor(_column(batch, f"raw.{c.name}")) for c in spec.raw_inputs}


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise ColonnadeError(f"The sample has no column {name!r}: it was made with another spec than the export. Preprocess again.")
    return batch.column(name)


def _tensor(column: pa.Array) -> tf.Tensor | tf.RaggedTensor:
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        return tf.constant(column.flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size))
    if not pa.types.is_list(kind):
        return tf.constant(column.to_numpy(zero_copy_only=False))
    flat = column.flatten().to_numpy(zero_copy_only=False)
    # Without a value NumPy's objects have no type that TensorFlow knows.
    values = tf.constant(flat, tf.string if pa.types.is_binary(kind.value_type) else flat.dtype)
    return tf.RaggedTensor.from_row_lengths(values, column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64))


_Side = tuple[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]]  # transformed features, scores


def _add(skew: Skew, raw: RawExamples, trained: _Side, served: _Side, padding: Mapping[str, float]) -> None:
    """Counts a batch: of both paths the transformed features and the scores."""
    by_feature = {name: _differences(values, served[0][name], padding.get(name, 0)) for name, values in trained[0].items()}
    by_score = {name: _differences(trained[1][name.split()[-1]], values) for name, values in served[1].items()}
    for largest, found in ((skew.per_feature, by_feature), (skew.per_score, by_score)):
        for name, differences in found.items():
            largest[name] = max(largest.get(name, 0.0), float(differences.max(initial=0.0)))
    score, features = (np.max(np.stack(list(found.values())), axis=0) for found in (by_score, by_feature))
    for row in np.lexsort((-features, -score))[:_WORST_ROWS].tolist():
        if score[row] > 0 or features[row] > 0:
            shown = [{**_row(side[0], row), **_row(side[1], row)} for side in (trained, served)]
            skew.worst.append(RowSkew(float(score[row]), float(features[row]), skew.rows + row + 1, _row(raw, row), *shown))
    skew.worst = heapq.nlargest(_WORST_ROWS, skew.worst, key=lambda worst: (worst.score, worst.features))
    skew.rows += len(score)


def _differences(left: tf.Tensor, right: tf.Tensor, padding: float = 0) -> NDArray[np.float64]:
    """Returns the largest absolute difference of each row, `[B]`; lists may be padded to different lengths."""
    arrays = [np.asarray(values, np.float64).reshape(len(values), -1) for values in (left, right)]
    longest = max(array.shape[1] for array in arrays)
    padded = [np.pad(array, [(0, 0), (0, longest - array.shape[1])], constant_values=padding) for array in arrays]
    differences = np.nan_to_num(np.abs(padded[0] - padded[1]), nan=np.inf)
    if np.isnan(padding):
        differences[np.isnan(padded[0]) & np.isnan(padded[1])] = 0
    return differences.max(axis=1, initial=0.0)


def _row(tensors: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {name: np.asarray(values[row]).tolist() for name, values in tensors.items()}
