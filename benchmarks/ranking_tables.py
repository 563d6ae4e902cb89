"""What the accuracy table of the ranking models holds: data, rows, seeds, and what was published."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainer.recipes import list_rows


@dataclass(frozen=True)
class Table:
    """One data set of the table.

    Attributes:
        recipe: Its file in trainer/recipes, which names the data set and the rows.
        title: Of its section.
        protocol: What was done, in a paragraph.
        inputs: Raw files, under the folder COLONNADE_DATA.
        metrics: What is shown, the first with what was published.
        seeds: How many for each row.
        more_seeds: How many for the rows that have more.
        together: How many runs of a row one process does.
        published: Of a row, the metrics of `metrics`.
        targets: Of a row, the first metric that ours is held against.
        tolerance: How much worse than its target a row may be and still hold it.
        tried: Of a row that misses it, what was tried.
        baselines: Rows of other libraries, as peers/ranking_baselines.py calls them, in its order.
    """

    recipe: str
    title: str
    protocol: str
    inputs: tuple[str, ...]
    metrics: tuple[str, ...] = ("auc", "log_loss")
    seeds: int = 3
    more_seeds: dict[str, int] = field(default_factory=dict)
    together: int = 1
    published: dict[str, tuple[float, ...]] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    tolerance: float = 0.0
    tried: dict[str, str] = field(default_factory=dict)
    baselines: tuple[str, ...] = ("LR (scikit-learn)", "LightGBM")

    @property
    def lower_is_better(self) -> bool:
        """Whether the first metric is an error."""
        return self.metrics[0] in ("rmse", "mae")

    @property
    def runs(self) -> list[tuple[str, int]]:
        """All (row, seed), the first seed of every row first."""
        rows = list_rows(self.recipe)
        seeds = {row: self.more_seeds.get(row, self.seeds) for row in rows}
        return [(row, seed) for seed in range(max(seeds.values())) for row in rows if seed < seeds[row]]


_BARS_BEST: dict[str, tuple[float, ...]] = {
    "lr": (0.9356, 0.3076),
    "fm": (0.9671, 0.2065),
    "ffm": (0.9786, 0.1860),
    "afm": (0.9697, 0.2264),
    "nfm": (0.9804, 0.2058),
    "wide_deep": (0.9841, 0.1490),
    "ipnn": (0.9841, 0.1540),
    "deepfm": (0.9842, 0.1482),
    "dcn": (0.9839, 0.1527),
    "dcn_v2": (0.9845, 0.1491),
    "xdeepfm": (0.9845, 0.1466),
    "autoint": (0.9831, 0.1637),
    "autoint+": (0.9848, 0.1490),
    "mlp": (0.9840, 0.1444),
    "final_mlp": (0.9861, 0.1484),
}
# Means of five seeds; the others' best was picked on the test split, so that a mean is expected below it.
_BARS_MEAN = {"wide_deep": 0.98307, "deepfm": 0.98395, "dcn": 0.98342, "dcn_v2": 0.98382, "xdeepfm": 0.98414}

TABLES = (
    Table(
        recipe="frappe",
        title="Frappe_x1",
        protocol=(
            "The published validation and test files (57,722 and 28,860 rows). **Same test set, resampled training negatives**: the "
            "published training file's positives are here, its negatives are drawn again by the published rule. Settings by the protocol "
            "of BARS (Zhu et al., SIGIR 2022): see `trainer/recipes/frappe.yaml`. What departs from it: hidden and output layers begin by "
            "Keras' Glorot uniform (there Glorot normal, of the same deviation), Adam's epsilon is 1e-7 (there 1e-8), and `fm` and `afm` "
            "keep their learning rate, with patience 8. With the published schedule three seeds of fm had AUCs of .93908, .96928 and "
            ".93529, of afm .96656, .96773 and .93433: the rate fell on the plateau before the interactions are learned, which the "
            "published runs cross. The training rows have 5,345 different values where the published file's have 5,379, so that all "
            "parameters are fewer. Both sides of Wide & Deep are trained by Adam, as there. Without histories and numbers `din` is an "
            "MLP with Dice, and `dlrm` the products of its pairs and what follows them. Target: the published mean of five seeds where "
            "there is one, else the published best, which was picked on the test split, less .001. Wanted: within .001 of it, or above."
        ),
        inputs=("frappe/frappe.*.libfm*",),
        more_seeds=dict.fromkeys(_BARS_MEAN, 5),
        published=_BARS_BEST,
        targets={row: _BARS_MEAN.get(row, best[0] - 0.001) for row, best in _BARS_BEST.items()},
        tolerance=0.001,
        tried={
            "afm": (
                "the published schedule (above); by it, with one seed each: negatives with repetitions (test AUC .9646), and with those no "
                "dropout on the pooled vector (.96568) and Adam's epsilon 1e-8 in place of Keras' 1e-7 (.96373)"
            ),
            "autoint": "nothing but the published settings: a run takes half an hour of a core, seeds differ by when the rate falls",
        },
    ),
    Table(
        recipe="movielens_1m",
        title="MovieLens-1M, liked or not",
        protocol=(
            "1,000,209 ratings, positive from 4; random 8:1:1 split by a hash of user, item and time. Features: user, item, age, gender, "
            "occupation, zip prefix, year of release, genres, the last 50 films rated strictly before, hour and weekday. "
            "DeepFM's settings were tuned on the validation split; the other rows share its rate, batch and epochs, but lr has as many "
            "epochs as it needs. The films of the history share the table of the film itself, and so their first-order weights: with them "
            "shared too, scikit-learn's regression has an AUC of .7896 in place of the one below."
        ),
        inputs=("ml-1m/ml-1m.zip",),
        metrics=("auc", "gauc", "log_loss"),
    ),
    Table(
        recipe="movielens_1m_ratings",
        title="MovieLens-1M, rating",
        protocol=(
            "The same features; the rating itself, squared loss, random 9:1 split, of whose nine .5 are for validation. "
            "Wanted: RMSE of at most .865."
        ),
        inputs=("ml-1m/ml-1m.zip",),
        metrics=("rmse", "mae"),
        targets={"deepfm": 0.865},
        baselines=("Ridge (scikit-learn)", "LightGBM"),
    ),
    Table(
        recipe="criteo_encoded",
        title="Criteo, an encoded sample",
        protocol=(
            "A random sample of Criteo, encoded as 39 integers: 10,000 rows to train on, of which about a tenth validate, and 10,000 to "
            "test on. So few rows that regularisation decides. All 39 are tokens: `din` is an MLP with Dice here, `dlrm` has no numbers."
        ),
        inputs=("criteo/encoded_*.csv.xz",),
        seeds=5,
        together=5,
    ),
)
