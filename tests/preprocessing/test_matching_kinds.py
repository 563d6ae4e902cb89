"""Features of every kind on both sides of an interaction: the columns of items and users are those of the rows they come from."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from library import by_user, table_of

from feature_specs import FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.pipeline import build, transform_only

SIDE = """
- {kind: categorical, name: NAME_word, encoding: {type: vocabulary, min_count: 2}}
- {kind: categorical, name: NAME_hidden, encoding: {type: hash, num_buckets: 5}, only_crossed: true}
- {kind: crossed, name: NAME_cross, inputs: [NAME_hidden, NAME_word], num_buckets: 20}
- {kind: numeric, name: NAME_number, missing_indicator: true}
- {kind: numeric, name: NAME_vector, size: 2, delimiter: ' '}
- {kind: bucketized, name: NAME_bucket, column: NAME_number, quantiles: 3}
- {kind: multi_valued, name: NAME_tags, weights: NAME_weights, encoding: {type: vocabulary}}
- {kind: numeric_sequence, name: NAME_amounts, max_length: 2}
- {kind: sequence, name: NAME_steps, value_delimiter: ' ', encoding: {type: hash, num_buckets: 9}}
"""
COLUMNS = ("word", "hidden", "number", "vector", "tags", "weights", "amounts", "steps")
SIDES = [SIDE.replace("NAME", name).strip() for name in ("of_user", "of_item")]
SPEC = "\n".join(
    [
        "name: kinds",
        "features:",
        "- {kind: categorical, name: user, encoding: {type: vocabulary}}",
        SIDES[0],
        "- {kind: categorical, name: item, encoding: {type: vocabulary, min_count: 2}}",
        SIDES[1],
        "- {kind: sequence, name: history, history_of: item, table: item, max_length: 3}",
        "- {kind: categorical, name: hour, column: at, dtype: int64, derive: {type: hour}, encoding: {type: identity, num_buckets: 24}}",
        "item_features: [of_item_word, of_item_hidden, of_item_cross, of_item_number, of_item_vector, of_item_bucket, of_item_tags, "
        "of_item_amounts, of_item_steps]",
        "label: {implicit: true, task: matching}",
        "keys: {user: user, item: item, time: at}",
        "split: {type: leave_last_out}",
    ]
)


def _described(dice: random.Random) -> str:
    tags = dice.sample("pqr", dice.randrange(4))
    return ",".join(
        [
            dice.choice(["one", "two", "rare", ""]),
            dice.choice("xyz"),
            dice.choice(["", "1", "2.5", "7"]),
            dice.choice(["", "1 2", "3 5"]),
            "|".join(tags),
            "|".join("2" for _ in tags),
            dice.choice(["", "1", "1|2|3"]),
            dice.choice(["", "s", "s t|u", "v|s|t u"]),
        ]
    )


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataDirectory, str]:
    """The data, and the file of its rows: what a row says of its user and item is the same in all of their rows."""
    folder, dice = tmp_path_factory.mktemp("kinds"), random.Random(0)
    users, items = ({f"{name}{n}": _described(dice) for n in range(count)} for name, count in (("u", 12), ("i", 20)))
    header = ["user", *(f"of_user_{name}" for name in COLUMNS), "item", *(f"of_item_{name}" for name in COLUMNS), "at"]
    lines = [",".join(header)]
    for at in range(150):
        user, item = dice.choice([*users]), dice.choice([*items])
        lines.append(f"{user},{users[user]},{item},{items[item]},{3600 * at}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return build(FeatureSpec.from_yaml(SPEC), folder / "data", [str(folder / "rows.csv")], show_progress=False), str(folder / "rows.csv")


def _same(left: Any, right: Any) -> bool:
    both_nan = isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return all(map(_same, left, right))
    return both_nan or left == right


def test_items_and_users_have_the_columns_of_their_rows(kinds: tuple[DataDirectory, str], tmp_path: Path) -> None:
    data, rows = kinds
    spec = data.spec
    sides = {
        name: {c.name for f in spec.features if f.name in names for c in f.outputs}
        for name, names in (("items", spec.item_names), ("users", spec.user_names))
    }
    assert "of_item_number_missing" in sides["items"]
    assert "of_item_steps_steps" in sides["items"]
    assert "of_item_hidden" not in sides["items"]
    assert "hour" in sides["users"]
    pairs = [row for path in transform_only(spec, [rows], data.transform_fn, tmp_path) for row in pq.read_table(path).to_pylist()]
    of_item = {row["raw.item"]: row for row in pairs}
    items = pq.read_table(data.items)
    raw = {f"raw.{column.name}" for f in spec.features if f.name in spec.item_names for column in f.raw_inputs}
    assert set(items.column_names) == {"_item", "_count", *sides["items"], *raw}
    for row in items.to_pylist():
        assert all(_same(row[name], of_item[row["_item"]][name]) for name in (*sides["items"], *raw))
    for split in ("train", "valid", "test"):
        lists = {"_user", "_items"} | ({"_targets"} if split != "train" else set())
        assert set(table_of(data, split).column_names) == sides["users"] | lists
    # The moment is that of the target, or of the last training row: the 150 rows are an hour apart.
    at = {split: by_user(data, split, "hour") for split in ("train", "valid", "test")}
    for user in at["test"]:
        hours = [row["hour"] for row in pairs if row["raw.user"] == user.encode()]
        assert [at[split][user] for split in ("train", "valid", "test")] == hours[-3:]
    for row in table_of(data, "test").to_pylist():
        last = [pair for pair in pairs if pair["raw.user"] == row["_user"]][-1]
        assert all(_same(row[name], last[name]) for name in sides["users"])


def test_the_sample_is_what_the_graph_makes_of_its_raw_values(kinds: tuple[DataDirectory, str], tmp_path: Path) -> None:
    data, _ = kinds
    sample = pq.read_table(data.path / "sample.parquet")
    flat = sample.select([f"raw.{c.name}" for c in data.spec.raw_inputs]).rename_columns([c.name for c in data.spec.raw_inputs])
    again = pq.read_table(transform_only(data.spec, flat, data.transform_fn, tmp_path)[0])
    for column in data.spec.outputs:
        assert _same(again[column.name].to_pylist(), sample[column.name].to_pylist())
    assert max(map(len, sample["raw.history"].to_pylist())) == 3
