"""Many files through an export: an output file for each input, in a folder that a run which was stopped goes on with."""

from __future__ import annotations

import glob
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from feature_specs.command import load_tensorflow
from feature_specs.errors import ColonnadeError
from feature_specs.sources import is_hidden
from serving.files import check_files, run_job
from serving.jobs import Work
from serving.rejects import NoRowsError, count_rows

_JOB, _SUCCESS = "_JOB.json", "_SUCCESS"
_READ = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
_WRITTEN = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_REJECTED = ".rejected.jsonl"


class Pair(NamedTuple):
    """An input and its output."""

    source: str
    output: str


def is_folder(inputs: Sequence[str], output: str, options: Sequence[str] = ()) -> bool:
    """Whether the output is a folder: there are several inputs, or a glob or a folder of them, or it is named as one.

    Raises:
        ColonnadeError: It is not, but there are options of Beam.
    """
    found = len(inputs) > 1 or output.endswith(os.sep) or Path(output).is_dir() or any(_is_several(given) for given in inputs)
    if options and not found:
        raise ColonnadeError(f"--runner is for many files: --output should be a folder, such as {output + os.sep!r}. Received: {output!r}.")
    return found


def pairs_of(inputs: Sequence[str], output: Path) -> list[Pair]:
    """Returns each input with its output, of the same name in the folder `output`, in order of the names.

    Outputs are never zipped, and end in a suffix that tells their format: `.json` becomes `.jsonl`, files like a data set's own `.csv`.

    Raises:
        ColonnadeError: There are no inputs, or two of them have the same name, or they lie in the folder of the outputs.
    """
    found: dict[str, str] = {}
    for source in dict.fromkeys(path for given in inputs for path in _found(given)):
        name = _output_name(source)
        if name in found:
            raise ColonnadeError(f"Inputs {found[name]!r} and {str(source)!r} would both be written to {name!r}. Use two folders.")
        if source.resolve() == (output / name).resolve():
            raise ColonnadeError(f"--output {str(output)!r} is the folder of the input {str(source)!r}. Give another folder.")
        found[name] = str(source)
    return [Pair(found[name], str(output / name)) for name in sorted(found)]


def run_folder(work: Work, inputs: Sequence[str], output: Path, options: Sequence[str] = ()) -> str:
    """Answers the rows of all inputs; outputs that are there already, and newer than their inputs, stay.

    Args:
        work: What is done.
        inputs: Files, folders or globs.
        output: The folder; made where it does not exist. `_SUCCESS` appears there at the end.
        options: Of Beam, with --runner; without any, files are read one after the other, here.

    Returns:
        One line that says what was done.

    Raises:
        ColonnadeError: The folder is of other work, or some file cannot be answered; all others are, then.
    """
    started = time.perf_counter()
    pairs = pairs_of(inputs, output)
    for pair in pairs:
        with suppress(NoRowsError):
            check_files(work.job(_suffix(pair)), Path(pair.source), Path(pair.output))
    _claim(output, work.settings(), pairs)
    waiting = [pair for pair in pairs if not _is_finished(pair)]
    records = []
    if waiting:
        (output / _SUCCESS).unlink(missing_ok=True)
        if options:
            from serving.beam import answer_files

            records = answer_files(work, waiting, options, output)
        else:
            load_tensorflow()
            records = _one_by_one(work, waiting)
    problems = [record["problem"] for record in records if record["problem"]]
    if problems:
        raise ColonnadeError(
            f"{len(problems)} of {_files(len(pairs))} could not be {work.job('').done}. The first: {problems[0]} The others are finished: "
            f"mend this and start the same command again."
        )
    (output / _SUCCESS).write_text(json.dumps({"files": len(pairs)}) + "\n", encoding="utf-8")
    rows, rejected = (sum(record[key] for record in records) for key in ("rows", "rejected"))
    seconds = time.perf_counter() - started
    aside = f"; {count_rows(rejected)} set aside: see {output / '*'}{_REJECTED}" if rejected else ""
    empty = sum(not record["rows"] for record in records)
    without = f"; {_files(empty)} without rows" if empty else ""
    before = f"; {_files(len(pairs) - len(waiting))} of {len(pairs)} had been finished before" if len(waiting) < len(pairs) else ""
    done = f"{work.job('').done} {count_rows(rows)} of {_files(len(waiting))} in {seconds:.1f} s"
    return f"{done} with {work.version}: {output}{aside}{without}{before}{_absent(records)}"


def answer_file(model: Any, work: Work, pair: Pair, show: bool = False) -> dict[str, Any]:  # noqa: ANN401
    """Answers the rows of one file and returns a record of it: `rows`, `rejected`, `absent` features, and the `problem` where there is one.

    A file without rows, such as other jobs write where they have nothing to say, gets no output.
    """
    try:
        done = run_job(model, work.job(_suffix(pair)), Path(pair.source), Path(pair.output), show=show)
    except NoRowsError:
        return {"rows": 0, "rejected": 0, "absent": [], "problem": ""}
    except ColonnadeError as error:
        return {"rows": 0, "rejected": 0, "absent": [], "problem": str(error)}
    return {"rows": done.rows, "rejected": done.rejected, "absent": list(done.absent), "problem": ""}


def _absent(records: Sequence[Mapping[str, Any]]) -> str:
    """Tells the features that are missing in whole files, and in how many where it is not all of those with rows."""
    found = Counter(name for record in records for name in record["absent"])
    with_rows = sum(record["rows"] > 0 for record in records)
    told = [name if count == with_rows else f"{name} ({_files(count)})" for name, count in found.items()]
    return f"; no column, so missing: {', '.join(told)}" if told else ""


def _one_by_one(work: Work, pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    from serving.versions import load_model

    model = load_model(work.version)
    return [answer_file(model, work, pair, show=True) for pair in pairs]


def _claim(output: Path, settings: dict[str, Any], pairs: Sequence[Pair]) -> None:
    """Says in the folder what its outputs are, or finds that said already.

    Raises:
        ColonnadeError: They are of other work.
    """
    if output.exists() and not output.is_dir():
        raise ColonnadeError(f"--output {str(output)!r} should be a folder, for there are several inputs. Received: a file.")
    output.mkdir(parents=True, exist_ok=True)
    path = output / _JOB
    if not path.exists():
        if present := [pair.output for pair in pairs if Path(pair.output).exists()]:
            raise ColonnadeError(f"{present[0]!r} is there already, and not from a job like this one. Remove it, or give another folder.")
        temporary = output / f".{_JOB}"
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        before = None
    if before != settings:
        raise ColonnadeError(
            f"--output {str(output)!r} holds what was made with other settings: {json.dumps(before)}. Received: {json.dumps(settings)}. "
            "Give another folder, or delete it."
        )


def _is_finished(pair: Pair) -> bool:
    """Whether the output is there: complete, for it got its name last, and of this input, for it is not older."""
    output = Path(pair.output)
    return output.is_file() and output.stat().st_mtime_ns >= Path(pair.source).stat().st_mtime_ns


def _found(given: str) -> list[Path]:
    """Returns the files that a path, a folder or a glob means."""
    path = Path(given)
    if path.is_dir():
        found = [one for one in path.iterdir() if one.is_file() and _is_data(one)]
        if not found:
            raise ColonnadeError(f"Folder {given!r} has no file of a known format: {', '.join(_READ)}, text also with .gz.")
        return sorted(found)
    if path.exists() or not glob.has_magic(given):
        return [path]
    found = [one for one in map(Path, glob.glob(given, recursive=True)) if one.is_file() and not is_hidden(one.name)]
    if not found:
        raise ColonnadeError(f"No file is like {given!r}. Give files, folders or quoted globs.")
    return sorted(found)


def _is_data(path: Path) -> bool:
    # Such as what an earlier job has written beside its outputs.
    return not is_hidden(path.name) and not path.name.endswith(_REJECTED) and Path(_plain(path)).suffix in _READ


def _is_several(given: str) -> bool:
    return Path(given).is_dir() or (glob.has_magic(given) and not Path(given).exists())


def _plain(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _output_name(path: Path) -> str:
    name = Path(_plain(path))
    if name.suffix == ".json":
        return f"{name.stem}.jsonl"
    return name.name if name.suffix in _WRITTEN else f"{name.name}.csv"


def _suffix(pair: Pair) -> str:
    return Path(pair.output).suffix


def _files(number: int) -> str:
    return f"{number:,} file{'' if number == 1 else 's'}"
