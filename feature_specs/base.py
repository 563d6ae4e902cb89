"""What every part of a spec is made of."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

RawType = Literal["string", "int64", "float32"]


_NO_NUMBER = PydanticCustomError("number_type", "Input should be a number, not true or false")


class Frozen(BaseModel):
    """Base of every part of a spec: immutable; an unknown key is an error, and so is true or false where a number is due."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _numbers_are_no_booleans(cls, given: Any, validate: ModelWrapValidatorHandler[Frozen]) -> Frozen:  # noqa: ANN401
        """Refuses what pydantic takes for 1 and 0; its strict mode would refuse lists for tuples and texts of numbers too."""
        made = validate(given)
        wrong = [
            InitErrorDetails(type=_NO_NUMBER, loc=(name,), input=value)
            for name, value in (given.items() if isinstance(given, dict) else ())
            if any(isinstance(part, bool) for part in (value if isinstance(value, list | tuple) else (value,)))
            and _is_number(cls.model_fields[name].annotation)
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return made

    @model_serializer(mode="wrap")
    def _keep_tag(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Writes the tag that tells kinds apart first, also where defaults are left out."""
        tags = {tag: getattr(self, tag) for tag in ("kind", "type", "format") if tag in type(self).model_fields}
        return {**tags, **serialize(self)}


def _is_number(annotation: Any) -> bool:  # noqa: ANN401 (a type, or one made of several)
    """Whether a field holds numbers, and no booleans."""
    types, waiting = set(), [annotation]
    while waiting:
        types.add(kind := waiting.pop())
        waiting += get_args(kind)
    return bool(types & {int, float}) and bool not in types


class Column(NamedTuple):
    """One column of raw or transformed examples; whatever handles examples in general goes by these, not by the kinds of feature.

    Attributes:
        name: Of the column; the feature's own, or one that begins with it.
        dtype: Of one value.
        layout: "single" is `[B]`; "vector" is `[B, size]`; "list" is `[B, None]`, and holds no missing values.
        size: Values of a vector; 1 for the others.
    """

    name: str
    dtype: RawType
    layout: Literal["single", "vector", "list"] = "single"
    size: int = 1
