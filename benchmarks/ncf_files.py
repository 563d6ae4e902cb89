"""The files of the NCF paper (He et al., "Neural Collaborative Filtering", WWW 2017) for MovieLens-1M, put together from its test files.

The test files are the published ones; the training file is every rating of MovieLens-1M that is not a test row, in the paper's ids: users
count from 0, items by a map of the published files. `python -m benchmarks.ncf_files --data FOLDER --output FOLDER` writes
`ml-1m.train.rating`, `ml-1m.test.rating` and `ml-1m.test.negative`; the first folder holds `ml-1m/ml-1m.zip` and `ml-1m/ncf/` (item_map.csv
and the two test files).
"""

from __future__ import annotations

import argparse
import gzip
import io
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from feature_specs import ColonnadeError
from feature_specs.command import CommandParser, run_command

FILES = ("ml-1m.train.rating", "ml-1m.test.rating", "ml-1m.test.negative")
_COLUMNS = ["user", "item", "rating", "time"]
_NEEDED = ("ml-1m/ml-1m.zip", "ml-1m/ncf/item_map.csv", "ml-1m/ncf/ml-1m.test.rating", "ml-1m/ncf/ml-1m.test.negative.gz")


def write_ncf_files(shared_folder: str | Path, output_folder: str | Path) -> list[Path]:
    """Writes the three files and returns them, training first; files that are there already are left as they are.

    Raises:
        ColonnadeError: A file is missing, or a test row is not among the ratings.
    """
    shared, output = Path(shared_folder), Path(output_folder)
    written = [output / name for name in FILES]
    if all(path.is_file() for path in written):
        return written
    missing = [name for name in _NEEDED if not (shared / name).is_file()]
    if missing:
        raise ColonnadeError(f"{str(shared)!r} lacks {', '.join(missing)}. Give the folder that holds them.")
    output.mkdir(parents=True, exist_ok=True)
    ratings = _ratings(shared)
    test = pd.read_csv(shared / _NEEDED[2], sep="\t", names=_COLUMNS)
    is_test = pd.MultiIndex.from_frame(ratings[["user", "item"]]).isin(pd.MultiIndex.from_frame(test[["user", "item"]]))
    if np.count_nonzero(is_test) != len(test):
        raise ColonnadeError(f"{np.count_nonzero(is_test):,} of {len(test):,} test rows are ratings of ml-1m.zip. Give the original files.")
    shutil.copyfile(shared / _NEEDED[2], written[1])
    with gzip.open(shared / _NEEDED[3]) as source, written[2].open("wb") as target:
        shutil.copyfileobj(source, target)
    # Last, and whole at once: it says that the others are there.
    partial = written[0].with_suffix(".partial")
    ratings[~is_test].to_csv(partial, sep="\t", header=False, index=False)
    partial.replace(written[0])
    return written


def _ratings(shared: Path) -> pd.DataFrame:
    """Returns all ratings in the paper's ids: user, item, rating, time."""
    with zipfile.ZipFile(shared / _NEEDED[0]) as archive:
        text = archive.read("ml-1m/ratings.dat").replace(b"::", b"\t")
    ratings = pd.read_csv(io.BytesIO(text), sep="\t", names=_COLUMNS)
    items = pd.read_csv(shared / _NEEDED[1]).set_index("movie_id")["ncf_item"]
    return ratings.assign(user=ratings["user"] - 1, item=ratings["item"].map(items).astype(np.int64))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = CommandParser("python -m benchmarks.ncf_files", "Puts the NCF paper's files for MovieLens-1M together.")
    parser.add_argument("--data", required=True, default=argparse.SUPPRESS, type=Path, help="the folder with ml-1m/ml-1m.zip and ml-1m/ncf")
    parser.add_argument("--output", required=True, default=argparse.SUPPRESS, type=Path, help="where the files go")
    flags = parser.parse_all(arguments)
    for path in write_ncf_files(flags.data, flags.output):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_command(main)
