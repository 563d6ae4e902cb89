"""Criteo display advertising: https://www.kaggle.com/c/criteo-display-ad-challenge, 45,840,617 rows of seven days, in order of time.

One row an ad shown: whether it was clicked, 13 counts (I1..I13) and 26 tokens (C1..C26, 8 hexadecimal digits); tab-separated, without a
header, nothing between the tabs where a value is missing. The split is the usual one of the literature (AutoInt, BARS): 8:1:1 at random.

`criteo_encoded` reads rows that somebody has encoded: 39 integers, the counts in buckets, 0 for what is rare or unknown. They are tokens
as they are, and the files say which rows are for test; of the others a tenth validates.
"""

from feature_specs.features import CategoricalFeature, NumericFeature, Vocabulary
from feature_specs.sources import Source, TextTable
from feature_specs.spec import FeatureSpec, Label
from feature_specs.splits import FilesSplit, RandomSplit

_NUMBERS = tuple(f"I{i}" for i in range(1, 14))
_TOKENS = tuple(f"C{i}" for i in range(1, 27))
_HOMEPAGE = "https://ailab.criteo.com/ressources/"
_LICENCE = "Terms of Criteo AI Lab, accepted on that page; research."

SPECS = (
    FeatureSpec(
        name="criteo",
        features=(
            *(NumericFeature(name=name, scaling="log1p", missing_indicator=True) for name in _NUMBERS),
            *(CategoricalFeature(name=name, encoding=Vocabulary(min_count=10)) for name in _TOKENS),
        ),
        label=Label(column="label"),
        split=RandomSplit(fractions=(0.8, 0.1, 0.1)),
        source=Source(
            rows=TextTable(delimiter="\t", header=False, columns=("label", *_NUMBERS, *_TOKENS), quoting=False),
            instructions=(
                "Get dac.tar.gz (the Kaggle Display Advertising Challenge data) from https://ailab.criteo.com/ressources/, unpack it, and "
                "give its labelled file: --input train.txt (or any rows of it, also compressed)."
            ),
            homepage=_HOMEPAGE,
            licence=_LICENCE,
        ),
    ),
    FeatureSpec(
        name="criteo_encoded",
        features=tuple(CategoricalFeature(name=name, encoding=Vocabulary()) for name in (*_NUMBERS, *_TOKENS)),
        label=Label(column="label"),
        split=FilesSplit(train="encoded_train*.csv", test="encoded_test*.csv", valid_fraction=0.1),
        source=Source(
            rows=TextTable(files="encoded_*.csv", header=False, columns=("label", *_NUMBERS, *_TOKENS), quoting=False),
            instructions=(
                "Write any sample of criteo (see there) that you have encoded as integers, 0 for rare and unknown ones, as comma-separated "
                "rows without a header (the label, I1 to I13, C1 to C26), also compressed, and give: "
                "--input encoded_train.csv encoded_test.csv"
            ),
            homepage=_HOMEPAGE,
            licence=_LICENCE,
        ),
    ),
)
