"""`python -m serving.predict`: what goes in, what comes out, and what a user reads when something is wrong."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError
from serving.predict import main, predict_file

FLAT = """key,user,item,age,price,city,year,zip code,tags,clicks,history,time
r1,u1,i1,30,3,city 1,1990,01234,a|b,1 2 3,i1|i2|nope,880000000
r2,new,,,,,V,,,,,
"r3, odd",u2,i3,old,3,city 1,1990,01234,a,1,i1,880000000
r4,u3,i1
r5,u4,i5,18,0.5,city 2,1995,99999,"d, e|zz",10 11 1 2 3 4 5 6,i3,880000001
"""


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    path = tmp_path / "flat.csv"
    path.write_text(FLAT)
    return path


def by_hand(exported: Path) -> np.ndarray:
    """The three good rows of `FLAT`, as a client would send them."""
    model = tf.saved_model.load(str(exported))
    clicks = tf.constant([[1, 2, 3] + [-1] * 5, [-1] * 8, [10, 11, 1, 2, 3, 4, 5, 6]], tf.int64)
    return model.predict(
        user=tf.constant(["u1", "new", "u4"]),
        item=tf.constant(["i1", "", "i5"]),
        age=tf.constant([30, np.nan, 18]),
        price=tf.constant([3, np.nan, 0.5]),
        city=tf.constant(["city 1", "", "city 2"]),
        year=tf.constant([1990, -1, 1995], tf.int64),
        zip_prefix=tf.constant(["01234", "", "99999"]),
        tags=tf.constant([["a", "b"], ["", ""], ["d, e", "zz"]]),
        clicks=clicks,
        history=tf.constant([["i1", "i2", "nope"], ["", "", ""], ["i3", "", ""]]),
        hour=tf.constant([880000000, -1, 880000001], tf.int64),
        weekday=tf.constant([880000000, -1, 880000001], tf.int64),
    )["logits"].numpy()


def test_csv(exported: Path, flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scored.csv"
    main(["--export_dir", str(exported.parent), "--input", str(flat), "--output", str(output)])
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*FLAT.split("\n", 1)[0].split(","), "logits", "probabilities"]
    assert [row["key"] for row in rows] == ["r1", "r2", "r5"]
    assert rows[0]["zip code"] == "01234"
    assert rows[2]["tags"] == "d, e|zz"
    logits = np.array([float(row["logits"]) for row in rows], np.float32)
    np.testing.assert_allclose(logits, by_hand(exported), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([float(row["probabilities"]) for row in rows], 1 / (1 + np.exp(-logits)), rtol=1e-5)

    rejected = [json.loads(line) for line in (tmp_path / "scored.csv.rejected.jsonl").read_text().splitlines()]
    assert {record["line"]: record["reason"] for record in rejected} == {
        4: "column 'age': expected float32, received 'old'",
        5: "expected 12 values, received 3",
    }
    said = capsys.readouterr().out
    assert said.startswith("scored 3 rows in ")
    assert f"with {exported}: {output}; 2 rows set aside: see {output}.rejected.jsonl" in said


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_formats_score_the_same(exported: Path, flat: Path, tmp_path: Path, kind: str) -> None:
    good = (
        pd.read_csv(flat, dtype=str, on_bad_lines="skip", keep_default_na=False).drop(index=[2]).query("key != 'r4'").reset_index(drop=True)
    )
    frame = good.assign(
        tags=[v.split("|") for v in good["tags"]],
        clicks=[[int(n) for n in v.split()] for v in good["clicks"]],
        age=pd.to_numeric(good["age"]),
        time=pd.to_numeric(good["time"]),
    )
    source, output = tmp_path / f"rows.{kind}", tmp_path / f"scored.{kind}"
    if kind == "jsonl":
        frame.to_json(source, orient="records", lines=True)
    else:
        frame.to_parquet(source)
    predict_file(exported, source, output)
    scored: Any = pd.read_json(output, lines=True) if kind == "jsonl" else pd.read_parquet(output)
    assert list(scored.columns) == [*frame.columns, "logits", "probabilities"]
    assert [list(tags) for tags in scored["tags"]] == frame["tags"].tolist()
    np.testing.assert_allclose(scored["logits"].to_numpy(np.float32), by_hand(exported), rtol=1e-5, atol=1e-6)
    assert not (tmp_path / f"scored.{kind}.rejected.jsonl").exists()


def test_another_delimiter_is_found_in_the_header(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('"user";"age";"zip code"\n"u1";30;"0, 1"\nu4;;x\n')
    (tmp_path / "commas.csv").write_text('user,age,zip code\nu1,30,"0, 1"\nu4,,x\n')
    for name in ("rows", "commas"):
        predict_file(exported, tmp_path / f"{name}.csv", tmp_path / f"{name}.out.csv")
    assert (tmp_path / "rows.out.csv").read_bytes() == (tmp_path / "commas.out.csv").read_bytes()


def test_columns_that_are_not_there_are_missing(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("user\nu1\n")
    said = predict_file(exported, tmp_path / "rows.csv", tmp_path / "out.jsonl")
    assert "; no column, so missing: item, age, " in said
    found = json.loads((tmp_path / "out.jsonl").read_text())
    model = tf.saved_model.load(str(exported))
    expected = model.predict(user=tf.constant(["u1"]))["logits"].numpy()
    np.testing.assert_allclose(found["logits"], expected[0], rtol=1e-6)


def test_standard_input_and_output(exported: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b'{"user": "u1"}\n{"user": ["u1", "u2"]}\n'))))
    main(["--export_dir", str(exported), "--input", "-", "--output", "-"])
    said = capsysbinary.readouterr()
    assert list(json.loads(said.out)) == ["user", "logits", "probabilities"]
    rejected, done = said.err.splitlines()
    assert json.loads(rejected)["line"] == 2
    assert done.startswith(b"scored 1 row in ")


def test_an_input_that_has_scores_already_is_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("user,logits\nu1,1\n")
    with pytest.raises(ColonnadeError, match="already has a column 'logits'"):
        predict_file(exported, tmp_path / "rows.csv", tmp_path / "out.csv")


def test_an_input_without_a_good_row(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("user,age\nu1,old\nu2,older\n")
    with pytest.raises(ColonnadeError, match=r"No row of .* can be scored. The first, line 2: column 'age': expected float32"):
        predict_file(exported, tmp_path / "rows.csv", tmp_path / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv.rejected.jsonl", "rows.csv"]


def test_a_broken_export(exported: Path, flat: Path, tmp_path: Path) -> None:
    version = tmp_path / "export" / "1"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(ColonnadeError, match="has no assets.extra/spec.json"):
        predict_file(tmp_path / "export", flat, tmp_path / "out.csv")
    (version / "assets.extra" / "spec.json").write_text((exported / "assets.extra" / "spec.json").read_text())
    with pytest.raises(ColonnadeError, match="cannot be loaded"):
        predict_file(tmp_path / "export", flat, tmp_path / "out.csv")
    shutil.copytree(exported, version, dirs_exist_ok=True)
    for part in (version / "variables").iterdir():
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with pytest.raises(ColonnadeError, match="cannot be loaded: [^\n]*$"):
        predict_file(tmp_path / "export", flat, tmp_path / "out.csv")


def test_an_output_that_cannot_be_is_refused(exported: Path, flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ColonnadeError, match="is a folder. Give the path of a file"):
        predict_file(exported, flat, tmp_path)
    monkeypatch.delattr("serving.batch.load_tensorflow")  # which takes seconds: these are told before
    with pytest.raises(ColonnadeError, match="Received the suffix '.xls'; expected one of .csv"):
        predict_file(exported, flat, tmp_path / "scores.xls")
    with pytest.raises(ColonnadeError, match="folder .* of the output does not exist"):
        predict_file(exported, flat, tmp_path / "gone" / "scores.csv")
    (tmp_path / "link.csv").symlink_to(flat)
    with pytest.raises(ColonnadeError, match="is the input itself"):
        predict_file(exported, flat, tmp_path / "link.csv")
    assert flat.read_text() == FLAT


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--export_dir", "gone"], 1, "error: Export folder 'gone' does not exist. A finished run has them in RUN_DIR/export"),
        (["--export_dir", "."], 1, "error: Export folder '.' has no exported version."),
        (["--export_dir", "run"], 1, "error: Export folder 'run' has no exported version. Did you mean 'run/export'?"),
        (["--input", "gone.csv"], 1, "error: There is no input file 'gone.csv'."),
        (["--input", "empty.csv"], 1, "error: Input file 'empty.csv' is empty."),
        (["--input", "rows.inter"], 1, "error: Input file 'rows.inter' is of no known format. Received the suffix '.inter'"),
        (["--ouput", "x"], 2, "error: unknown argument '--ouput'. Did you mean '--output'? See --help."),
        (["--export", "x"], 2, "error: unknown argument '--export'. Did you mean '--export_dir'?"),
    ],
)
def test_mistakes_are_one_line(exported: Path, flat: Path, tmp_path: Path, flags: list[str], status: int, message: str) -> None:
    (tmp_path / "run" / "export").mkdir(parents=True)
    (tmp_path / "empty.csv").touch()
    (tmp_path / "rows.inter").write_text("a")
    given = ["--export_dir", str(exported), "--input", flat.name, "--output", "out.csv", *flags]
    command = [sys.executable, "-m", "serving.predict", *given]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == status
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "out.csv").exists()
