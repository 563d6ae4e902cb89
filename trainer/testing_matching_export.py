"""Whether an exported matching model retrieves what was evaluated: made-up raw values, behind a made-up transform graph."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from feature_specs.errors import ColonnadeError
from serving.export import export_saved_model
from serving.samples import asking, rows_of
from serving.sides import item_side
from serving.signatures import RawExamples, to_tensors
from trainer.matching.catalogue import FILE, Catalogue
from trainer.matching.rows import read_rows
from trainer.matching.scoring import Scorer
from trainer.models.base import MatchingModel
from trainer.testing_data import close, expect, save_transform
from trainer.testing_matching_data import LARGEST_ID, SPEC, UNSEEN_ITEM

_K = 8
# Raw ids of the items, by number; training has not seen the last two, which share an id.
_ITEMS = [*range(UNSEEN_ITEM), 2 * UNSEEN_ITEM - 1]
# Numbers of what users had before. The spec keeps the last three: none, all or a part of these.
_SEEN = [[], [4], [7, 3, 11], [0, 1, 2, 3, 4, 5, 6], [19, 20, 21, 5], [12, 12, 13, 14, 2]]


def check_retrieval(model: MatchingModel) -> None:
    """Raises an AssertionError unless the signature `retrieve` of an export gives the ranking that is evaluated.

    Users send their whole history. Evaluation reads as much of it as the spec keeps, and leaves out all that is in it.
    """
    raw = _raw()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, raw)
        try:
            version = export_saved_model(model, SPEC, folder / "transform_fn", folder / "export", items=folder / FILE)
        except (ColonnadeError, ValueError, TypeError, tf.errors.OpError) as error:
            raise AssertionError(f"the export should score and retrieve as the trainer does: {' '.join(str(error).split())}") from error
        exported = tf.saved_model.load(str(version))  # kept: its signatures hold their variables weakly
        asked = to_tensors(asking(SPEC, rows_of(raw, np.arange(len(_SEEN)))))
        found = exported.signatures["retrieve"](**asked, k=tf.constant(_K), exclude_seen=tf.constant(True))
        catalogue = Catalogue.load(folder, SPEC)
        rows = read_rows([folder / "test.parquet"], SPEC, catalogue, min(model.max_length, SPEC.histories[0].max_length))
    scorer, users, count = Scorer(model), rows.num_users, catalogue.num_items
    queries = scorer.queries({name: tf.convert_to_tensor(values) for name, values in rows.features(0, users).items()})
    best = scorer.best(queries, scorer.candidates(catalogue.features, count), rows.seen, np.zeros((users, 0), np.int64), count)
    for user in range(users):
        retrieved = [_ITEMS.index(item) for item in found["item_ids"][user].numpy()]
        allowed = {*range(count)} - {*_SEEN[user]}
        expect(len({*retrieved} & allowed) == _K, f"retrieve should give {_K} of the items not seen, gives {retrieved}")
        # By their scores, as two items may differ in the last bit alone.
        there = best.negatives[user] > -np.inf
        evaluated = dict(zip(best.items[user, there].tolist(), best.negatives[user, there].tolist(), strict=True))
        wanted, scores = best.negatives[user, :_K], found["scores"][user].numpy()
        theirs = np.array([evaluated[number] for number in retrieved])
        expect(close(scores, wanted) and close(theirs, wanted), f"retrieve should give the scores of evaluation, {wanted}, gives {scores}")


def _raw() -> RawExamples:
    """Returns raw rows, one an item; the first ones are those of the users."""
    rows, dice = len(_ITEMS), np.random.default_rng(2)

    def lists(values: np.ndarray) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_tensor(values, np.arange(rows) % (values.shape[1] + 1))

    histories = [[_ITEMS[number] for number in seen] for seen in _SEEN] + [[]] * (rows - len(_SEEN))
    return {
        "user": tf.range(rows, dtype=tf.int64),
        "city": tf.constant([f"city {row % 5}" for row in range(rows)]),
        "age": tf.where(tf.range(rows) % 4 == 0, np.float32(np.nan), tf.range(rows, dtype=tf.float32)),
        "words": lists(np.array([["a", "b", "c"]] * rows)),
        "words_weights": lists(dice.integers(1, 4, (rows, 3)).astype(np.float32)),
        "item": tf.constant(_ITEMS, tf.int64),
        "tags": lists(dice.integers(0, 9, (rows, 3))),
        "profile": tf.constant(dice.normal(size=(rows, 3)), tf.float32),
        "price": tf.constant(dice.integers(0, 4, rows), tf.float32),
        "history": tf.ragged.constant(histories, tf.int64, row_splits_dtype=tf.int64),
    }


def _write(folder: Path, raw: RawExamples) -> None:
    """Writes what a run keeps: the transform graph, the items, and the users of a test split."""
    save_transform(folder / "transform_fn", SPEC, LARGEST_ID)
    graph = tf.saved_model.load(str(folder / "transform_fn"))
    made = graph.transform_fn(dict(raw))
    side = item_side(SPEC)
    items = {column.name: made[column.name] for column in side.outputs} | {f"raw.{c.name}": raw[c.name] for c in side.raw_inputs}
    keys = {"_item": pa.array([b"%d" % item for item in _ITEMS]), "_count": pa.array([0] * len(_ITEMS))}
    pq.write_table(pa.table({**keys, **_arrays(items)}), folder / FILE)
    users = rows_of({c.name: made[c.name] for f in SPEC.features if f.name in SPEC.user_names for c in f.outputs}, np.arange(len(_SEEN)))
    lists = {name: pa.array(each, pa.list_(pa.int32())) for name, each in {"_items": _SEEN, "_targets": [[0]] * len(_SEEN)}.items()}
    pq.write_table(pa.table({**_arrays(users), **lists}), folder / "test.parquet")


def _arrays(columns: Mapping[str, tf.Tensor | tf.RaggedTensor]) -> dict[str, pa.Array]:
    found = {}
    for name, values in columns.items():
        if isinstance(values, tf.RaggedTensor):
            offsets = pa.array(values.row_splits.numpy().astype(np.int32))
            found[name] = pa.ListArray.from_arrays(offsets, pa.array(values.flat_values.numpy()))
        else:
            array = values.numpy()
            flat = pa.array(array.reshape(-1))
            found[name] = flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
    return found
