"""What all command-line programs share: strict flags with a hint, and one clear line for a user's mistake."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from feature_specs.errors import ColonnadeError, did_you_mean

# Full disks, missing rights and names too long are the user's to mend; what else the system refuses is rather ours.
_REFUSALS = (errno.EACCES, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOSPC, errno.EPERM, errno.EROFS)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show and the text does not speak of it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []) or "default:" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations, whose errors are one line; an unknown flag is answered with the nearest known one."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, formatter_class=_Formatter)

    def parse_all(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Returns the parsed flags; whatever is left over is an error."""
        # A misspelt flag comes first: argparse would only say that the right one is missing.
        for argument in sys.argv[1:] if arguments is None else arguments:
            if argument.startswith("--") and argument.split("=")[0] not in self._option_string_actions:
                self.refuse(argument)
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            self.refuse(unknown[0])
        return parsed

    def refuse(self, flag: str, others: Iterable[str] = ()) -> NoReturn:
        """Exits with an error for the unknown `flag`, naming the nearest of this parser's flags and `others`."""
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        self.error(f"unknown argument {flag!r}.{did_you_mean(flag.split('=')[0], [*known, *others])} See --help.")

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with status 2."""
        self.exit(2, f"error: {message}\n")


def load_tensorflow() -> None:
    """Imports TensorFlow without the lines that its C++ side prints about the machine, which no log level silences."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        importlib.import_module("tensorflow")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Runs a program: a ColonnadeError becomes one line and status 1, and so does what the machine refuses; an interrupt status 130."""
    try:
        sys.exit(main())
    except ColonnadeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        print(f"error: {error.strerror}{f': {error.filename!r}' if error.filename else ''}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: start the same command again to go on", file=sys.stderr)
        sys.exit(130)
