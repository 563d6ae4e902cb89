"""Which rows are for training, validation and test, and which negatives are added to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from feature_specs.base import Frozen

Fractions = tuple[float, float, float]


class _Shares(Frozen):
    """What the splits by shares have in common.

    Attributes:
        fractions: Expected shares of train, valid and test; they add up to 1.
    """

    fractions: Fractions = (0.8, 0.1, 0.1)

    @field_validator("fractions")
    @classmethod
    def _adds_up(cls, fractions: Fractions) -> Fractions:
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
            raise ValueError(
                f"split fractions should be three shares of train, valid and test that add up to 1, train above 0. Received: {fractions}."
            )
        return fractions


class RandomSplit(_Shares):
    """Every row falls into a split by a hash of its own values, so that adding rows moves none.

    Attributes:
        by: Raw columns that are hashed; all columns of the row where not given. Rows equal in these share a split.
        seed: Another seed, another split.
    """

    type: Literal["random"] = "random"
    by: tuple[str, ...] = ()
    seed: int = 0


class TemporalSplit(_Shares):
    """The earliest rows train, later ones validate, the latest test: cut at two moments of `keys.time`.

    Rows of one moment share a split. Rows without a time are for training.

    Attributes:
        boundaries: The moments (of `keys.time`): rows before the first train, rows at or after the second test. Where not given, they are
            the quantiles of all rows' times at which `fractions` are reached.
    """

    type: Literal["temporal"] = "temporal"
    boundaries: tuple[int, int] | None = None

    @field_validator("boundaries")
    @classmethod
    def _ascend(cls, boundaries: tuple[int, int] | None) -> tuple[int, int] | None:
        if boundaries is not None and boundaries[0] > boundaries[1]:
            raise ValueError(f"split boundaries should ascend. Received: {boundaries}.")
        return boundaries


class LeaveLastOutSplit(Frozen):
    """Of each user, the last row by `keys.time` (then file order) is for test, the one before for validation, all others train.

    Users with fewer than `min_rows` rows, and rows without a user or time, are for training alone.

    Attributes:
        min_rows: Rows from which on a user is split; at least 3, so that something is left to train on.
    """

    type: Literal["leave_last_out"] = "leave_last_out"
    min_rows: Annotated[int, Field(ge=3)] = 3


class WithinUserSplit(_Shares):
    """Each user's rows are shuffled and cut: of n rows, round(n * share) validate, as many test by their share, the rest train.

    Attributes:
        seed: Another seed, another split.
    """

    type: Literal["within_user"] = "within_user"
    seed: int = 0


class FilesSplit(Frozen):
    """Files say it: each row's file is matched by its base name.

    Attributes:
        train: Base name or glob.
        valid: Base name or glob.
        test: Base name or glob.
        valid_fraction: Where there are no files for validation: share of the training rows, by a hash of their values.
        seed: Of that hash.
        valid_last: For matching: of each user with two training rows or more the last by `keys.time` (then file order) validates.
        candidates: For matching: base name or glob of the file with the fixed candidates of each user in test, a line each:
            `(user,item)`, then the other candidates, separated by tabs.
    """

    type: Literal["files"] = "files"
    train: str
    valid: str | None = None
    test: str | None = None
    valid_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: int = 0
    valid_last: bool = False
    candidates: str | None = None

    @model_serializer(mode="wrap")
    def _keep_tag(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what is only for matching and not given: other specs keep the fingerprints that they had before."""
        tree: dict[str, Any] = {"type": self.type, **serialize(self)}
        return {name: value for name, value in tree.items() if name not in ("valid_last", "candidates") or value}

    @model_validator(mode="after")
    def _says_one_thing(self) -> FilesSplit:
        if self.valid_last and (self.valid is not None or self.valid_fraction):
            raise ValueError("the split has valid_last and also `valid` or `valid_fraction`. Say in one way which rows validate.")
        if self.candidates is not None and self.test is None:
            raise ValueError(f"the split has candidates {self.candidates!r}, and no `test` files that they are for. Give these too.")
        return self


def _type_of(value: Any) -> str:  # noqa: ANN401 (what the user wrote, or a split)
    return str(value.get("type", "random") if isinstance(value, dict) else getattr(value, "type", "random"))


Split = Annotated[
    Annotated[RandomSplit, Tag("random")]
    | Annotated[TemporalSplit, Tag("temporal")]
    | Annotated[LeaveLastOutSplit, Tag("leave_last_out")]
    | Annotated[WithinUserSplit, Tag("within_user")]
    | Annotated[FilesSplit, Tag("files")],
    Discriminator(_type_of),
]


class Negatives(Frozen):
    """Sampled negatives: for each positive row, copies with label 0 in which the item is another one.

    The item is drawn uniformly from those of the whole data set that the row's user has in no row; a user who has them all gets none.
    Side tables are joined afterwards, so that the item's columns follow the item. A negative is in the split of its positive and in no
    history.

    Attributes:
        per_positive: How many for each positive row.
        resample: Raw columns of the row (not of side tables) that are replaced, together, by those of a row with the drawn item;
            `keys.item` is always one of them. All others are kept.
        distinct: No item is drawn twice for a user; where they run out, the user's later positives (in file order) get fewer.
        splits: The splits whose positives get negatives; fewer than all where the rows of the others come with theirs.
        seed: Another seed, other negatives.
    """

    per_positive: PositiveInt
    resample: tuple[str, ...] = ()
    distinct: bool = False
    splits: tuple[Literal["train", "valid", "test"], ...] = Field(default=("train", "valid", "test"), min_length=1)
    seed: int = 0
