"""Finds the best items for each user of a file, with nothing but an export: `python -m serving.recommend`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from feature_specs.command import CommandParser, run_command
from feature_specs.errors import ColonnadeError
from serving.batch import add_flags, answer_one, parse
from serving.files import say
from serving.folders import is_folder, run_folder
from serving.jobs import SERVED_AT_ONCE, Retrieving
from serving.versions import find_version, load_spec


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = CommandParser("python -m serving.recommend", "Finds the best items for each user of a file with an exported matching model.")
    add_flags(
        parser,
        "--users",
        "one row a user: features and the history, found by a feature's name or its raw column's",
        "gets the input's columns but the history, and the items: lists in .jsonl and .parquet, a row an item in .csv and .tsv",
    )
    parser.add_argument("--k", type=int, default=10, help="items a user")
    parser.add_argument("--include_seen", action="store_true", help="items of a user's history may be recommended again")
    parser.add_argument("--batch_size", type=int, default=SERVED_AT_ONCE, help="users at a time")
    parser.add_argument(
        "--index",
        choices=("exact", "approximate"),
        default="exact",
        help="score all items, or those that an index of the vectors finds (needs the extra `ann`); its recall is measured and printed",
    )
    flags, options = parse(parser, arguments)
    work = retrieving(flags.export_dir, flags.k, flags.include_seen, flags.batch_size, flags.index)
    if is_folder(flags.users, flags.output, options):
        print(run_folder(work, flags.users, Path(flags.output), options))
    else:
        output = Path(flags.output)
        say(answer_one(work, Path(flags.users[0]), output), output)


def recommend_file(
    export_dir: str | Path,
    users: Path,
    output: Path,
    k: int = 10,
    include_seen: bool = False,
    batch_size: int = SERVED_AT_ONCE,
    index: Literal["exact", "approximate"] = "exact",
) -> str:
    """Writes the best items of each row of `users` to `output`; rows that cannot be read or served go to `OUTPUT.rejected.jsonl`.

    Args:
        export_dir: The exports of a run, or one of them.
        users: A row a user.
        output: Gets the rows, without their histories. As lists `item_ids` and `scores`; in delimited text a row an item, with `rank` (from
            1), `item_id` and `score`. There are fewer than k where a user has seen most items.
        k: Items a user.
        include_seen: Whether items of the history may be recommended.
        batch_size: Users at a time.
        index: "exact" scores all items; "approximate" those that an index finds, which lies in the version's folder once it is made.

    Returns:
        One line that says what was done.

    Raises:
        ColonnadeError: There is no export of a matching model, or the input cannot be read, or not one of its rows.
    """
    return answer_one(retrieving(export_dir, k, include_seen, batch_size, index), users, output)


def retrieving(export_dir: str | Path, k: int, include_seen: bool, batch_size: int, index: Literal["exact", "approximate"]) -> Retrieving:
    """Returns the work that these flags mean.

    Raises:
        ColonnadeError: There is no export of a matching model, or a flag is wrong.
    """
    for flag, value in (("k", k), ("batch_size", batch_size)):
        if not 0 < value < 2**31:
            raise ColonnadeError(f"--{flag} should be above 0 and below 2**31. Received: {value}.")
    version = find_version(export_dir)
    if not load_spec(version).is_matching:
        raise ColonnadeError(f"Export {str(version)!r} is of a ranking model, which retrieves no items. Score pairs with serving.predict.")
    if index == "approximate" and find_spec("faiss") is None:
        raise ColonnadeError("--index approximate needs faiss, which is not installed: pip install 'colonnade[ann]'.")
    return Retrieving(version, k, include_seen, batch_size, index)


if __name__ == "__main__":
    run_command(main)
