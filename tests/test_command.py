"""The command line's manners."""

from __future__ import annotations

import errno
import os

import pytest

from feature_specs import ColonnadeError
from feature_specs.command import CommandParser, run_command


def _parser() -> CommandParser:
    parser = CommandParser("prog", "Does something.")
    parser.add_argument("--batch_size", type=int)
    return parser


def test_an_unknown_flag_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        _parser().parse_all(["--bach_size", "3"])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: unknown argument '--bach_size'. Did you mean '--batch_size'? See --help.\n"


def test_a_misspelt_flag_is_told_before_the_one_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    parser = _parser()
    parser.add_argument("--output", required=True)
    with pytest.raises(SystemExit):
        parser.parse_all(["--ouput", "x"])
    assert "Did you mean '--output'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--batch", "3"], ["--batch_size", "x"], ["3"]])
def test_abbreviations_wrong_types_and_strays_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_all(arguments)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_users_mistake_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise ColonnadeError("the file is not there. Make it.")

    with pytest.raises(SystemExit) as exit_info:
        run_command(main)
    assert exit_info.value.code == 1
    assert capsys.readouterr().err == "error: the file is not there. Make it.\n"


def test_what_the_machine_refuses_is_one_line_and_nothing_else_is(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "data/train")

    with pytest.raises(SystemExit) as exit_info:
        run_command(main)
    assert exit_info.value.code == 1
    assert capsys.readouterr().err == "error: No space left on device: 'data/train'\n"

    def wrong() -> int:
        raise FileNotFoundError(errno.ENOENT, "forgotten")

    with pytest.raises(FileNotFoundError, match="forgotten"):
        run_command(wrong)
