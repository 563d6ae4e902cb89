"""FuxiCTR's own processing of a Criteo-shaped file, with its polars and Ray; it runs in the environment that `make benchmark-peers` makes.

`python benchmarks/peers/fuxictr_processing.py FILE.csv OUTPUT_DIR`
"""

from __future__ import annotations

import sys
from pathlib import Path

from fuxictr.preprocess import FeatureProcessor, build_dataset


def main(path: str, output: str) -> None:
    """Fits and transforms; a standardised number and a categorical column each, without a threshold, as in the other contenders."""
    numbers = {"name": [f"i{i}" for i in range(1, 14)], "active": True, "dtype": "float", "type": "numeric", "normalizer": "StandardScaler"}
    tokens = {"name": [f"c{i}" for i in range(1, 27)], "active": True, "dtype": "str", "type": "categorical"}
    encoder = FeatureProcessor(
        feature_cols=[numbers, tokens],
        label_col={"name": "label", "dtype": "float"},
        dataset_id=Path(output).name,
        data_root=str(Path(output).parent),
    )
    build_dataset(encoder, train_data=path, min_categr_count=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
