"""MovieLens for matching: every rating is an interaction, whatever its stars. See `movielens` for the files.

The `_implicit` ones, and that of the NCF files, have ids and the history alone, as the models of the papers do; of each user the last
interaction is for test, the one before for validation. MovieLens-1M keeps 200 items of a history, as SASRec does (Kang and McAuley, "Self-
Attentive Sequential Recommendation", ICDM 2018). `movielens_100k_sides` has features on both sides.

`movielens_1m_ncf` reads the files of He et al., "Neural Collaborative Filtering" (WWW 2017): the last interaction of each user is in the
test file, with 99 fixed candidates beside it; the last one of the training file validates.
"""

from feature_specs.datasets import movielens
from feature_specs.features import AnyFeature, CategoricalFeature, MultiValuedFeature, NumericFeature, SequenceFeature, Vocabulary
from feature_specs.sources import Source, TextTable
from feature_specs.spec import FeatureSpec, Keys, Label
from feature_specs.splits import FilesSplit, LeaveLastOutSplit

_100K, _1M = movielens.SPECS[0], movielens.SPECS[1]
_LABEL = Label(implicit=True, task="matching")
_KEYS = Keys(user="user_id", item="item_id", time="timestamp")


def _ids(max_length: int) -> tuple[AnyFeature, ...]:
    return (
        CategoricalFeature(name="user_id", encoding=Vocabulary()),
        CategoricalFeature(name="item_id", encoding=Vocabulary()),
        SequenceFeature(name="history", history_of="item_id", table="item_id", max_length=max_length),
    )


def _of_100k(name: str) -> AnyFeature:
    return next(feature for feature in _100K.features if feature.name == name)


SPECS = (
    FeatureSpec(
        name="movielens_100k_implicit",
        features=_ids(50),
        label=_LABEL,
        keys=_KEYS,
        split=LeaveLastOutSplit(),
        source=_100K.source.model_copy(update={"joins": ()}),
    ),
    FeatureSpec(
        name="movielens_100k_sides",
        features=(
            *_ids(50),
            NumericFeature(name="age"),
            *(_of_100k(name) for name in ("gender", "occupation", "zip_prefix", "release_year")),
            MultiValuedFeature(name="genres", column="class", delimiter=" ", encoding=Vocabulary()),
        ),
        item_features=("release_year", "genres"),
        label=_LABEL,
        keys=_KEYS,
        split=LeaveLastOutSplit(),
        source=_100K.source,
    ),
    FeatureSpec(
        name="movielens_1m_implicit",
        features=_ids(200),
        label=_LABEL,
        keys=_KEYS,
        split=LeaveLastOutSplit(),
        source=_1M.source.model_copy(update={"joins": ()}),
    ),
    FeatureSpec(
        name="movielens_1m_ncf",
        features=_ids(200),
        label=_LABEL,
        keys=_KEYS,
        split=FilesSplit(train="ml-1m.train.rating", test="ml-1m.test.rating", candidates="ml-1m.test.negative", valid_last=True),
        source=Source(
            rows=TextTable(
                files="ml-1m.t*.rating", delimiter="\t", header=False, columns=("user_id", "item_id", "rating", "timestamp"), quoting=False
            ),
            instructions=(
                "Get ml-1m.train.rating, ml-1m.test.rating and ml-1m.test.negative from "
                "https://github.com/hexiangnan/neural_collaborative_filtering (Data), and give them: --input ml-1m.*"
            ),
            homepage="https://github.com/hexiangnan/neural_collaborative_filtering",
            licence=_1M.source.licence,
        ),
    ),
)
