"""Many files through an export, one after the other or as a Beam pipeline: every row is answered or set aside, whatever is stopped when."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from feature_specs import ColonnadeError
from serving import predict, recommend
from serving.folders import is_folder, pairs_of, run_folder
from serving.jobs import Scoring

ROWS = {
    "a.csv": "key,user,item,age\n1,u1,i1,30\n2,u2,i2,old\n3,,,\n",
    "b.jsonl": '{"key": 4, "user": "u3", "tags": ["a", "d, e"]}\nno JSON\n{"key": 5, "item": "i3", "clicks": [1, 2]}\n',
    "d.tsv": "key\tuser\tprice\n6\tu1\t3.5\n7\tu2\n",
}
REJECTED = {"a.csv": [3], "b.jsonl": [2], "d.tsv": [3]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three files that each have a bad row, one that is zipped, one without rows, and what is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in ROWS.items():
        (folder / name).write_text(text)
    (folder / "c.csv.gz").write_bytes(gzip.compress(b"key,user\n8,u4\n9,u5\n"))
    (folder / "empty.csv").touch()
    (folder / "header.csv").write_text("key,user\n")
    for other in ("_SUCCESS", ".hidden.csv", "old.csv.rejected.jsonl", "notes.txt"):
        (folder / other).write_text("no rows")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_file_of_scores_for_each_file_of_rows(exported: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    predict.main(["--export_dir", str(exported), "--input", str(source), "--output", str(output)])
    said = capsys.readouterr().out
    assert "scored 7 rows of 6 files in " in said
    assert f"with {exported}: {output}; 3 rows set aside: see {output}/*.rejected.jsonl; 2 files without rows" in said
    # Of the four files with rows; where none has a feature there is no number.
    everywhere = "city, year, zip_prefix, history, hour, weekday"
    absent = said.rstrip().split("; no column, so missing: ")[1].split(", ")
    assert sorted(absent) == sorted(
        [*everywhere.split(", "), "item (2 files)", *(f"{name} (3 files)" for name in ("age", "price", "tags", "clicks"))]
    )
    found = contents(output)
    scored = ["a.csv", "b.jsonl", "c.csv", "d.tsv"]
    assert sorted(found) == sorted([*scored, *(f"{name}.rejected.jsonl" for name in ROWS), "_JOB.json", "_SUCCESS"])
    assert found["c.csv"].startswith(b"key,user,logits,probabilities\n8,u4,")
    for name, lines in REJECTED.items():
        rejected = [json.loads(line) for line in found[f"{name}.rejected.jsonl"].splitlines()]
        assert [(one["file"], one["line"]) for one in rejected] == [(str(source / name), line) for line in lines]
    # One file alone gives the same.
    predict.predict_file(exported, source / "a.csv", tmp_path / "alone.csv")
    assert (tmp_path / "alone.csv").read_bytes() == found["a.csv"]

    before = {name: (output / name).stat().st_mtime_ns for name in scored}
    # As if it had been stopped in the middle: one file is half written under another name, one is not there, one is of an older input.
    (output / ".d.tsv-half").write_bytes(found["d.tsv"][:20])
    (output / "d.tsv").unlink()
    (output / "_SUCCESS").unlink()
    os.utime(source / "a.csv")
    said = run_folder(Scoring(exported), [str(source / "*.*")[:-3] + "[ab].*", str(source / "c.csv.gz"), str(source / "d.tsv")], output)
    assert "scored 3 rows of 2 files in " in said
    assert "2 rows set aside: see " + str(output / "*.rejected.jsonl") + "; 2 files of 4 had been finished before; no column" in said
    (output / ".d.tsv-half").unlink()
    assert contents(output) == {**found, "_SUCCESS": b'{"files": 4}\n'}
    assert {name for name in scored if (output / name).stat().st_mtime_ns != before[name]} == {"a.csv", "d.tsv"}


def test_beam_gives_the_same_files(exported: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, beam = tmp_path / "plain", tmp_path / "beam"
    flags = ["--export_dir", str(exported), "--input", str(source), "--output"]
    predict.main([*flags, str(plain)])
    predict.main([*flags, str(beam), "--runner", "DirectRunner", "--direct_num_workers=1"])
    assert contents(beam) == contents(plain)
    plain_said, beam_said = capsys.readouterr().out.splitlines()
    assert beam_said.split(" in ")[0] == plain_said.split(" in ")[0] == "scored 7 rows of 6 files"
    assert beam_said.split("; ")[-1] == plain_said.split("; ")[-1]
    assert [path.name for path in beam.iterdir() if path.name.startswith(".")] == []


def test_users_as_a_pipeline(matching: Path, tmp_path: Path) -> None:
    folder = tmp_path / "users"
    folder.mkdir()
    (folder / "one.csv").write_text("key,user,history\n1,u1,i1|i2\n2,u2,\n")
    (folder / "two.jsonl").write_text('{"key": 3, "user": "u3", "history": ["i4"]}\n')
    flags = ["--export_dir", str(matching), "--users", str(folder), "--k", "3", "--output"]
    recommend.main([*flags, str(tmp_path / "plain")])
    recommend.main([*flags, str(tmp_path / "beam"), "--runner=FnApiRunner"])
    assert contents(tmp_path / "beam") == contents(tmp_path / "plain")
    assert (tmp_path / "beam" / "one.csv").read_text().splitlines()[0] == "key,user,rank,item_id,score"
    with pytest.raises(ColonnadeError, match=r"made with other settings: .*\"k\": 3.* Received: .*\"k\": 4"):
        recommend.main([*flags, str(tmp_path / "plain"), "--k", "4"])


@pytest.mark.parametrize("options", [[], ["--runner", "DirectRunner"]])
def test_a_file_that_cannot_be_scored_stops_no_other(exported: Path, source: Path, tmp_path: Path, options: list[str]) -> None:
    (source / "a.csv").write_text("key,user,logits\n1,u1,0.5\n")
    with pytest.raises(ColonnadeError, match=r"1 of 6 files could not be scored. The first: .*a.csv' already has a column 'logits'"):
        run_folder(Scoring(exported), [str(source)], tmp_path / "out", options)
    assert {"b.jsonl", "c.csv", "d.tsv"} < set(contents(tmp_path / "out"))
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    (source / "a.csv").write_text(ROWS["a.csv"])
    assert "3 files of 6 had been finished before" in run_folder(Scoring(exported), [str(source)], tmp_path / "out", options)
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_when_the_output_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "[b].csv").touch()
    one, odd = str(tmp_path / "a.csv"), str(tmp_path / "[b].csv")
    assert not is_folder([one], "out.csv")
    assert not is_folder([odd], "out.csv")
    assert all(is_folder(given, "out") for given in ([one, odd], [str(tmp_path)], [str(tmp_path / "*.csv")]))
    assert is_folder([one], "out/")
    assert is_folder([one], str(tmp_path))
    with pytest.raises(ColonnadeError, match="--runner is for many files: --output should be a folder, such as 'out.csv/'"):
        is_folder([one], "out.csv", ["--runner", "DirectRunner"])


def test_mistakes_are_told_before_anything_is_written(exported: Path, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for given, message in (
        ([str(tmp_path / "*.xyz")], "No file is like "),
        ([str(tmp_path)], "has no file of a known format"),
        ([str(source / "gone.csv"), str(source / "a.csv")], "There is no input file"),
        ([str(source / "notes.txt"), str(source / "a.csv")], "no known format. Received the suffix '.txt'"),
    ):
        with pytest.raises(ColonnadeError, match=message):
            run_folder(Scoring(exported), given, output)
    with pytest.raises(ColonnadeError, match="is the folder of the input"):
        run_folder(Scoring(exported), [str(source)], source)
    (source / "a.csv.gz").touch()
    with pytest.raises(ColonnadeError, match=r"would both be written to 'a.csv'. Use two folders"):
        run_folder(Scoring(exported), [str(source)], output)
    assert not output.exists()
    output.touch()
    with pytest.raises(ColonnadeError, match="should be a folder, for there are several inputs. Received: a file"):
        run_folder(Scoring(exported), [str(source / "[bd].*")], output)
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jsonl").write_text("{}")
    with pytest.raises(ColonnadeError, match=r"b.jsonl' is there already, and not from a job like this one"):
        run_folder(Scoring(exported), [str(source / "[bd].*")], other)


def test_outputs_have_names_that_tell_their_format(tmp_path: Path) -> None:
    for name in ("_SUCCESS", "_rows.csv", "u.data", "rows.json", "part-0.parquet", "x.csv.gz"):
        (tmp_path / name).touch()
    names = [Path(pair.output).name for pair in pairs_of([str(tmp_path / "*")], tmp_path / "out")]
    assert names == ["part-0.parquet", "rows.jsonl", "u.data.csv", "x.csv"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--runner", "DirectRunner", "--direct_num_worker", "2"], "Did you mean '--direct_num_workers'"),
        (["--direct_num_workers", "2"], "unknown argument '--direct_num_workers'"),
    ],
)
def test_options_that_beam_does_not_know(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        predict.main(["--export_dir", "e", "--input", "a.csv", "b.csv", "--output", "o", *flags])
    assert message in capsys.readouterr().err
