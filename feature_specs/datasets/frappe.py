"""Frappe: uses of mobile apps in context. Baltrunas et al., "Frappe: Understanding the Usage and Perception of Mobile App Recommendations
In-The-Wild", 2015, https://arxiv.org/abs/1505.03014.

`frappe` reads the files of He and Chua, "Neural Factorization Machines", SIGIR 2017 (`Frappe_x1` of BARS): 288,609 rows, two sampled
negatives a positive, split 7:2:1. Each line is the label, 1 or -1, and ten tokens such as `42:1`. `frappe_resampled` reads the same
validation and test files and only the positives of the training file; its training negatives are drawn again by the published rule: two a
positive, the same user and context, an app that the user never used, none twice for a user (as in the published files). `frappe_log` reads
the log itself, 96,203 uses of an app, and samples all negatives, with repetitions.

Embedding tables begin as N(0, 1e-4), as in the published benchmark of `Frappe_x1` (BARS, Zhu et al., SIGIR 2022).
"""  # noqa: D205 (the paper's title is long)

from feature_specs.encodings import Normal
from feature_specs.features import CategoricalFeature, Vocabulary
from feature_specs.sources import Source, TextTable
from feature_specs.spec import FeatureSpec, Keys, Label
from feature_specs.splits import FilesSplit, Negatives, RandomSplit

_FIELDS = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
_FEATURES = tuple(CategoricalFeature(name=name, encoding=Vocabulary(), initializer=Normal(stddev=1e-4)) for name in _FIELDS)
_ROWS = TextTable(files="frappe.*.libfm", delimiter=" ", header=False, columns=("label", *_FIELDS), quoting=False)
_LABEL = Label(column="label", positive=("1",), negative=("-1",))
_KEYS = Keys(user="user", item="item")
_HOMEPAGE = "https://github.com/hexiangnan/neural_factorization_machine"
_LICENCE = "Research use; no redistribution without permission (see the archive's README)."

SPECS = (
    FeatureSpec(
        name="frappe",
        features=_FEATURES,
        label=_LABEL,
        keys=_KEYS,
        split=FilesSplit(train="frappe.train*.libfm", valid="frappe.validation*.libfm", test="frappe.test*.libfm"),
        source=Source(
            rows=_ROWS,
            instructions=(
                "Get frappe.train.libfm, frappe.validation.libfm and frappe.test.libfm from "
                "https://github.com/hexiangnan/neural_factorization_machine (data/frappe), and give them: --input frappe.*.libfm"
            ),
            homepage=_HOMEPAGE,
            licence=_LICENCE,
        ),
    ),
    FeatureSpec(
        name="frappe_resampled",
        features=_FEATURES,
        label=_LABEL,
        keys=_KEYS,
        split=FilesSplit(train="frappe.train.positives.libfm", valid="frappe.validation*.libfm", test="frappe.test*.libfm"),
        negatives=Negatives(per_positive=2, distinct=True, splits=("train",)),
        source=Source(
            rows=_ROWS,
            instructions=(
                "Get the files of frappe (see there), keep the lines of frappe.train.libfm that begin with 1 as "
                "frappe.train.positives.libfm, and give: --input frappe.train.positives.libfm frappe.validation.libfm frappe.test.libfm"
            ),
            homepage=_HOMEPAGE,
            licence=_LICENCE,
        ),
    ),
    FeatureSpec(
        name="frappe_log",
        features=_FEATURES,
        label=Label(implicit=True),
        keys=_KEYS,
        split=RandomSplit(fractions=(0.7, 0.2, 0.1)),
        negatives=Negatives(per_positive=2),
        source=Source(
            rows=TextTable(files="frappe.csv", delimiter="\t", quoting=False),
            instructions="Get Mobile_Frappe.zip from https://www.baltrunas.info/context-aware, and give it: --input Mobile_Frappe.zip",
            homepage="https://www.baltrunas.info/context-aware",
            licence=_LICENCE,
        ),
    ),
)
