"""Training anew on training and validation interactions together, for as many epochs as were best on validation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_specs.errors import ColonnadeError
from trainer.data import Lists, to_numpy
from trainer.fitting import train_epoch
from trainer.progress import EpochProgress
from trainer.warm_start import warm_up

if TYPE_CHECKING:
    from trainer.estimator import Estimator


def refit(estimator: Estimator) -> None:
    """Leaves an estimator whose training has ended with weights that have seen the validation interactions too.

    Killed and called again it goes on, and ends with the same numbers.
    """
    run, side = estimator.run, estimator.matching
    if side is None or not estimator.config.training.refit or (run.refitted / "checkpoint").is_file():
        return
    config = estimator.config
    loop = type(estimator).load(run.path).loop
    shards = merged_shards(estimator.data.shards("train"), estimator.data.shards("valid"), run.path / "refit")
    if loop.model.closed_form:
        side.fit_closed_form(shards, loop.model)
    else:
        epochs = estimator.loop.position.best_epoch
        folder = run.path / "checkpoints" / "refit"
        if not loop.restore(folder):
            warm_up(loop.model, [type(estimator).load(path) for path in config.warm_start], config, refitted=True)
        train = side.batches(shards, loop.model, config.training.batch_size)
        print(f"Trains anew on training and validation together, {epochs} epochs.", flush=True)
        while loop.position.epoch < epochs:
            progress = EpochProgress(loop.position.epoch + 1, epochs, train, loop.position.batch)
            train_epoch(loop, train, folder, train.num_batches, progress)
            loop.position.epoch, loop.position.batch = loop.position.epoch + 1, 0
            loop.finish_rows()
            loop.save(folder)
    loop.save_weights(run.refitted)
    shutil.rmtree(run.path / "refit", ignore_errors=True)


def merged_shards(train: list[Path], valid: list[Path], folder: Path) -> list[Path]:
    """Writes, for each training shard, one whose sequences go on with the validation targets of its users; users of validation alone too.

    A user is in the shards of one number, whatever the split.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    numbered = {path.name.removeprefix("valid-"): path for path in valid}
    written = []
    for path in train:
        more = numbered.pop(path.name.removeprefix("train-"), None)
        table = pq.read_table(path)
        pq.write_table(table if more is None else _merged(table, pq.read_table(more)), folder / path.name, row_group_size=8192)
        written.append(folder / path.name)
    for name, path in numbered.items():
        table = pq.read_table(path)
        alone = _renamed(table, table.drop_columns(["_items", "_targets"]).column_names)
        pq.write_table(alone, folder / f"train-{name}", row_group_size=8192)
        written.append(folder / f"train-{name}")
    return sorted(written)


def _renamed(valid: pa.Table, columns: list[str]) -> pa.Table:
    return valid.select(columns).append_column("_items", valid["_targets"])


def _merged(train: pa.Table, valid: pa.Table) -> pa.Table:
    known = valid["_user"].combine_chunks()
    place = pc.fill_null(pc.index_in(train["_user"].combine_chunks(), value_set=known), -1).to_numpy()
    sequences, targets = _lists(train["_items"]), _lists(valid["_targets"])
    there = np.flatnonzero(place >= 0)
    added = targets.take(place[there])
    more = np.zeros(len(train), np.int64)
    more[there] = added.lengths
    offsets = np.concatenate([[0], np.cumsum(sequences.lengths + more)])
    values = np.empty(offsets[-1], np.int32)
    is_new = np.zeros(offsets[-1], bool)
    ends = np.repeat(offsets[1:][there] - added.lengths, added.lengths)
    within = np.arange(len(ends)) - np.repeat(np.cumsum(added.lengths) - added.lengths, added.lengths)
    is_new[ends + within] = True
    values[is_new], values[~is_new] = added.values, sequences.take(np.arange(len(train))).values
    items = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
    longer = train.set_column(train.column_names.index("_items"), "_items", items)
    alone = valid.filter(pc.invert(pc.is_in(known, value_set=train["_user"].combine_chunks())))
    return pa.concat_tables(
        [longer, _renamed(alone, [n for n in train.column_names if n != "_items"]).select(train.column_names).cast(longer.schema)]
    )


def _lists(column: pa.ChunkedArray) -> Lists:
    lists = to_numpy(column)
    if not isinstance(lists, Lists):
        raise ColonnadeError("A column of item numbers should be a list. Preprocess again.")
    return lists
