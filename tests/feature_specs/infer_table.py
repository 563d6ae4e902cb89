"""A table with a column for every choice that `infer` makes; the label follows `signal`."""

from __future__ import annotations

import random
from pathlib import Path

from feature_specs import FeatureSpec
from feature_specs.features import AnyFeature
from feature_specs.infer import infer

DICE = random.Random(0)
ROWS = 400
SIGNAL = [DICE.random() for _ in range(ROWS)]
LABEL = [int(DICE.random() < signal) for signal in SIGNAL]
COLUMNS: dict[str, list[object]] = {
    "clicked": list(LABEL),
    "row_id": [100_000 + i for i in range(ROWS)],
    "uuid": [f"{DICE.getrandbits(64):016x}" for _ in range(ROWS)],
    "user_id": [DICE.randrange(40) for _ in range(ROWS)],
    "movie": [DICE.randrange(5_000) for _ in range(ROWS)],
    "zip code": [f"{DICE.choice([2139, 10001, 94110, 60601]):05d}" for _ in range(ROWS)],
    "age": [DICE.randint(18, 80) for _ in range(ROWS)],
    "income": [round(10 ** DICE.gauss(3, 1)) if DICE.random() < 0.9 else "NA" for _ in range(ROWS)],
    "signal": [f"{signal:.6f}" if DICE.random() < 0.95 else "" for signal in SIGNAL],
    "tags": ["|".join(DICE.sample(["a", "b", "c", "d"], DICE.randrange(1, 4))) for _ in range(ROWS)],
    "city": [DICE.choice(["New York", "San Francisco", "Rome"]) for _ in range(ROWS)],
    "created_at": [1_700_000_000 + DICE.randrange(10**6) for _ in range(ROWS)],
    "day": [f"2024-01-{DICE.randint(1, 28):02d}" for _ in range(ROWS)],
    "constant": ["x"] * ROWS,
    "empty": [""] * ROWS,
    "dwell": [30 + DICE.random() if label else "" for label in LABEL],
    "outcome": [f"{DICE.choice('abc')}{label}" for label in LABEL],
    "class": [DICE.choice("uv") for _ in range(ROWS)],
    "3d": [DICE.choice("uvw") for _ in range(ROWS)],
    "embedding": ["|".join(f"{DICE.gauss(0, 1):.3f}" for _ in range(4)) for _ in range(ROWS)],
    "recent_items": [" ".join(str(DICE.randrange(20)) for _ in range(DICE.randrange(1, 9))) for _ in range(ROWS)],
}


def write(path: Path, columns: dict[str, list[object]], delimiter: str = ",") -> Path:
    """Writes a delimited file."""
    rows = [delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([delimiter.join(columns), *rows]) + "\n", encoding="utf-8")
    return path


def proposed(*arguments: object) -> FeatureSpec:
    """Returns the spec that the command proposes."""
    return FeatureSpec.from_yaml(infer([str(argument) for argument in arguments]).text)


def by_column(spec: FeatureSpec) -> dict[str, AnyFeature]:
    """Returns the features by their raw columns."""
    return {feature.raw_column: feature for feature in spec.features}
