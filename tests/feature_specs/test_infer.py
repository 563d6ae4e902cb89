"""A spec proposed for a file: valid at once, with the choice and the reason that the columns call for."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from infer_table import COLUMNS, ROWS, by_column, proposed, write

from feature_specs import BucketizedFeature, FeatureSpec, NumericFeature
from feature_specs.infer import infer, main
from feature_specs.inference.leaks import Judge
from feature_specs.inference.profile import Profile, words_of


def test_each_column_gets_what_it_calls_for(data: Path) -> None:
    spec = proposed(data, "--label", "clicked")
    found = {name: feature.model_dump(exclude_defaults=True) for name, feature in by_column(spec).items()}
    vocabulary = {"type": "vocabulary"}
    # The last feature of a column wins here: of the two of `created_at` that is the weekday.
    assert found == {
        "user_id": {"kind": "categorical", "name": "user_id", "dtype": "int64", "encoding": vocabulary},
        "movie": {"kind": "categorical", "name": "movie", "dtype": "int64", "encoding": vocabulary | {"min_count": 2}},
        "zip code": {"kind": "categorical", "name": "zip_code", "column": "zip code", "encoding": vocabulary},
        "age": {"kind": "numeric", "name": "age"},
        "income": {"kind": "numeric", "name": "income", "scaling": "log1p", "missing_indicator": True, "on_invalid": "missing"},
        "signal": {"kind": "numeric", "name": "signal", "missing_indicator": True},
        "tags": {"kind": "multi_valued", "name": "tags", "encoding": vocabulary},
        "city": {"kind": "categorical", "name": "city", "encoding": vocabulary},
        "created_at": {
            "kind": "categorical",
            "name": "created_at_weekday",
            "column": "created_at",
            "dtype": "int64",
            "derive": {"type": "weekday"},
            "encoding": {"type": "identity", "num_buckets": 7},
        },
        "class": {"kind": "categorical", "name": "class_", "column": "class", "encoding": vocabulary},
        "3d": {"kind": "categorical", "name": "column_3d", "column": "3d", "encoding": vocabulary},
        "embedding": {"kind": "numeric", "name": "embedding", "size": 4},
        "recent_items": {"kind": "sequence", "name": "recent_items", "delimiter": " ", "max_length": 8, "encoding": vocabulary},
        "history": {"kind": "sequence", "name": "history", "dtype": "int64", "history_of": "movie", "table": "movie"},
    }
    assert spec.label.column == "clicked"
    assert (spec.keys.user, spec.keys.item, spec.keys.time) == ("user_id", "movie", "created_at")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("row_id", "names the row"),
        ("uuid", "names the row"),
        ("constant", "every row has the same value, 'x'"),
        ("empty", "it has no value"),
        ("day", "dates as text"),
        ("movie", "the items' key"),
        ("income", "'NA' count as missing"),
        ("age", "a quantity by its name"),
        ("signal", "missing"),
    ],
)
def test_each_choice_has_its_reason(data: Path, column: str, words: str) -> None:
    text = infer([str(data), "--label", "clicked"]).text
    comments = text.split(f"\n# {column}: ")[1].split("\n-")[0].replace("\n# ", " ")
    assert words in comments


def test_columns_that_hold_the_answer_are_left_out_loudly(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(data), "--label", "clicked"]) == 0
    printed = capsys.readouterr()
    # One is known by its numbers, one by its texts.
    assert printed.err.count("SUSPECTED LEAK") == 2
    assert "'dwell' alone predicts the label" in printed.err
    assert "\n# - {kind: numeric, name: dwell" in printed.out
    assert "\n# - {kind: categorical, name: outcome" in printed.out
    assert not {"dwell", "outcome"} & set(by_column(FeatureSpec.from_yaml(printed.out)))


def test_many_distinct_values_fake_no_leak() -> None:
    """A value seen once or twice says nothing about the other half of the rows: by hand the AUC in sample would be 1."""
    dice = random.Random(1)
    labels = [dice.random() < 0.5 for _ in range(2_000)]
    power = Judge(labels).power(Profile.of("token", [f"t{dice.randrange(1_500)}" for _ in labels]))
    assert abs(power.auc - 0.5) < 0.05


def test_auc_by_hand() -> None:
    """Of 10 x 10 pairs, those of 5 and 5 are ties: numbers 0..9 negative, 5..14 positive, 5 * 5 / 2 + ... = 87.5 of 100."""
    values = [str(n) for n in (*range(10), *range(5, 15))]
    power = Judge([False] * 10 + [True] * 10).power(Profile.of("n", values))
    # 50 pairs with a positive of 10..14, then 0+...: positives 5..9 win 5, 6, 7, 8, 9 and tie one each.
    assert power.auc == pytest.approx((50 + 35 + 2.5) / 100)


def test_the_first_lines_are_the_next_commands(data: Path) -> None:
    lines = infer([str(data), "--label", "clicked"]).text.splitlines()
    assert lines[0] == f"# python -m preprocessing.task --spec my.yaml --input '{data}' --output data/my_data"
    assert lines[1] == "# python -m trainer.task --spec my.yaml --data_dir data/my_data --model nfm"


def test_rows_without_a_label_are_allowed_for(tmp_path: Path) -> None:
    rows = "".join(f"{'' if i % 10 == 0 else i % 2},{i % 7}\n" for i in range(200))
    (tmp_path / "d.csv").write_text("y,x\n" + rows)
    text = infer([str(tmp_path / "d.csv"), "--label", "y"]).text
    assert text.splitlines()[0].endswith("--output data/d --max_rejected_fraction 0.11")
    assert "10.00% of the rows have none and are set aside" in text


def test_the_same_file_gives_the_same_spec(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "feature_specs.infer", str(data), "--label", "clicked"]
    code = "import sys; from feature_specs.infer import infer; infer(sys.argv[1:]); print(sorted(sys.modules))"
    with (tmp_path / "own.yaml").open("w") as out:
        subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=True, env={"PYTHONHASHSEED": "7"})
    proposed = (tmp_path / "own.yaml").read_text()
    assert f"--spec {tmp_path / 'own.yaml'} " in proposed
    assert proposed.replace(str(tmp_path / "own.yaml"), "my.yaml") == infer([str(data), "--label", "clicked"]).text
    done = subprocess.run([sys.executable, "-c", code, *command[3:]], capture_output=True, text=True, check=True)
    assert not any(f"'{name}'" in done.stdout for name in ("tensorflow", "pandas", "apache_beam", "keras"))


def test_what_is_proposed_goes_through_the_job(data: Path, tmp_path: Path) -> None:
    from preprocessing.pipeline import build

    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
    for row in rows:
        row["tags"] = str(row["tags"]).split("|")
        row["embedding"] = [float(part) for part in str(row["embedding"]).split("|")]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for path in (data, tmp_path / "d.jsonl"):
        spec = proposed(path, "--label", "clicked")
        made = build(spec, tmp_path / path.suffix, [str(path)], show_progress=False)
        assert made.statistics["rows"]["out"] == ROWS
        assert {"user_id", "zip_code", "class_", "column_3d", "tags", "recent_items"} <= set(made.table_rows)


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (["0", "1"], {"column": "y"}),
        (["0.0", "1.0"], {"column": "y"}),
        (["-1", "1"], {"column": "y", "threshold": 1}),
        (["yes", "no"], {"column": "y", "positive": ("yes",), "negative": ("no",)}),
        (["true", "false", "?"], {"column": "y", "positive": ("true",), "negative": ("false",)}),
        (["ham", "ham", "eggs"], {"column": "y", "positive": ("eggs",), "negative": ("ham",)}),
        (["1", "2", "3", "4", "5"], {"column": "y", "threshold": 3}),
        (["0", "0", "0", "1", "7"], {"column": "y", "threshold": 1}),
        ([f"{i / 3:.4f}" for i in range(100)], {"column": "y", "task": "regression"}),
    ],
)
def test_labels(tmp_path: Path, values: list[str], label: dict[str, object]) -> None:
    columns: dict[str, list[object]] = {"y": [values[i % len(values)] for i in range(200)], "x": [i % 7 for i in range(200)]}
    spec = proposed(write(tmp_path / "d.csv", columns), "--label", "y")
    assert spec.label.model_dump(exclude_defaults=True) == {"column": "y", **label}


def test_positive_values_and_implicit_labels_can_be_said(data: Path) -> None:
    spec = proposed(data, "--label", "city", "--positive", "Rome", "New York")
    assert spec.label.positive == ("Rome", "New York")
    implicit = proposed(data, "--implicit", "--user", "user_id", "--item", "movie")
    assert implicit.label.implicit
    assert implicit.negatives is not None
    assert any(f.kind == "sequence" and f.history_of == "movie" for f in implicit.features)


def test_files_are_split_by_their_names(tmp_path: Path) -> None:
    columns = {name: COLUMNS[name] for name in ("clicked", "user_id", "age")}
    for part in ("train", "test"):
        write(tmp_path / f"{part}.csv", columns)
    spec = proposed(tmp_path / "train.csv", tmp_path / "test.csv", "--label", "clicked", "--name", "mine")
    assert spec.split.model_dump(exclude_defaults=True) == {
        "type": "files",
        "train": "train.csv",
        "test": "test.csv",
        "valid_fraction": 0.1,
    }
    assert spec.name == "mine"
    assert proposed(tmp_path / "*.csv", "--label", "clicked") == proposed(tmp_path, "--label", "clicked")


def test_a_sample_says_that_it_is_one(data: Path) -> None:
    assert "from all 400 rows" in infer([str(data), "--label", "clicked", "--rows", "0"]).text
    text = infer([str(data), "--label", "clicked", "--rows", "100"]).text
    assert "from the first 100 rows of about" in text


def test_integers_whose_values_matter_more_than_their_order_are_names(tmp_path: Path) -> None:
    dice = random.Random(3)
    likes = {n: dice.random() for n in range(1_000, 1_060)}
    codes = [dice.choice([*likes]) for _ in range(3_000)]
    amounts = [dice.randrange(60) for _ in codes]
    columns: dict[str, list[object]] = {
        "y": [int(dice.random() < (likes[code] + amount / 60) / 2) for code, amount in zip(codes, amounts, strict=True)],
        "x1": list(codes),
        "x2": list(amounts),
        "x3": [-(10**18) - dice.randrange(40) for _ in codes],
    }
    spec = proposed(write(tmp_path / "d.csv", columns), "--label", "y")
    assert {f.name: (f.kind, f.dtype) for f in spec.features if f.kind in ("numeric", "categorical")} == {
        "x1": ("categorical", "int64"),
        "x2": ("numeric", "float32"),
        "x3": ("categorical", "string"),
    }


def test_words() -> None:
    assert words_of("userId") == words_of("user_id") == words_of("User ID") == ("user", "id")


def test_features_of_numbers_are_no_buckets(data: Path) -> None:
    spec = proposed(data, "--label", "clicked")
    assert not any(isinstance(f, BucketizedFeature) for f in spec.features)
    assert sum(isinstance(f, NumericFeature) for f in spec.features) == 4
