"""Rows that a model refuses, such as users that it does not know: told apart from those beside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Answer = TypeVar("Answer")
_ASSERTED = re.compile(r"assertion failed: \[(.*?)\](?: \[|\n|$)", re.DOTALL)
_LONGEST = 300


class Refused(NamedTuple):
    """A row that the model does not take, and why."""

    row: int
    reason: str


def answer_rows(rows: int, answer: Callable[[NDArray[np.int64]], Answer]) -> tuple[list[Answer], list[Refused]]:
    """Returns the answers for `rows` rows, and which of them are refused.

    All are asked at once; where that is refused, one half and then the other, down to the rows at fault.

    Args:
        rows: How many.
        answer: Takes the numbers of some rows, ascending; raises InvalidArgumentError where it refuses one.
    """
    answers, refused = [], []
    waiting = [np.arange(rows)]
    while waiting:
        numbers = waiting.pop()
        try:
            answers.append(answer(numbers))
        except tf.errors.InvalidArgumentError as error:
            if len(numbers) == 1:
                refused.append(Refused(int(numbers[0]), reason_of(error)))
            else:
                waiting += reversed(np.array_split(numbers, 2))
    return answers, refused


def reason_of(error: tf.errors.OpError) -> str:
    """Returns what an assertion in a graph says, without where it stands."""
    asserted = _ASSERTED.search(error.message)
    return " ".join((asserted[1] if asserted else error.message).split())[:_LONGEST]
