"""Census income (UCI "Adult"): does a person earn more than 50,000 dollars a year? Becker and Kohavi, 1996,
https://doi.org/10.24432/C5XW20.

The original files, 32,561 and 16,281 rows: values separated by a comma and a blank, no header, "?" for unknown (a token of its own), and a
full stop after the labels of adult.test, whose first line is a remark that the job sets aside. Age is cut and education, occupation and
age are crossed as in TensorFlow's wide-and-deep tutorial.
"""  # noqa: D205 (the reference is long)

from feature_specs.features import BucketizedFeature, CategoricalFeature, CrossedFeature, NumericFeature, Vocabulary
from feature_specs.sources import Source, TextTable
from feature_specs.spec import FeatureSpec, Label
from feature_specs.splits import FilesSplit

_COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race", "gender"),
    *("capital_gain", "capital_loss", "hours_per_week", "native_country", "income_bracket"),
)
_TOKENS = ("workclass", "education", "marital_status", "occupation", "relationship", "race", "gender", "native_country")

SPECS = (
    FeatureSpec(
        name="census",
        features=(
            NumericFeature(name="age"),
            NumericFeature(name="education_num"),
            NumericFeature(name="capital_gain", scaling="log1p"),
            NumericFeature(name="capital_loss", scaling="log1p"),
            NumericFeature(name="hours_per_week"),
            *(CategoricalFeature(name=name, encoding=Vocabulary()) for name in _TOKENS),
            BucketizedFeature(name="age_buckets", column="age", boundaries=(18, 25, 30, 35, 40, 45, 50, 55, 60, 65)),
            CrossedFeature(name="education_x_occupation", inputs=("education", "occupation"), num_buckets=1_000),
            CrossedFeature(name="age_x_education_x_occupation", inputs=("age_buckets", "education", "occupation"), num_buckets=1_000),
        ),
        label=Label(column="income_bracket", positive=(">50K", ">50K."), negative=("<=50K", "<=50K.")),
        split=FilesSplit(train="adult.data", test="adult.test", valid_fraction=0.1),
        source=Source(
            rows=TextTable(files="adult.[dt]*", delimiter=", ", header=False, columns=_COLUMNS, quoting=False),
            instructions=(
                "Get adult.zip from https://archive.ics.uci.edu/dataset/2/adult, unpack it, and give two of its files: "
                "--input adult.data adult.test"
            ),
            homepage="https://archive.ics.uci.edu/dataset/2/adult",
            licence="CC BY 4.0.",
        ),
    ),
)
