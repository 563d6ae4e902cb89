"""MovieLens (GroupLens). Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 2015.

MovieLens-100k: 100,000 ratings by 943 users of 1,682 movies. The copy read here is inside the wheel of RecBole 1.2.1, tab-separated
with typed headers; one year in it is broken ("V") and one movie has none ("unkonwn"): missing values, not rejected rows.

MovieLens-1M: 1,000,209 ratings by 6,040 users of 3,706 movies, in the original zip: `::` between the values, latin-1 titles. Age is one of
seven brackets, written as a number, so it is a token; the year is taken from the brackets at the end of the title. `movielens_1m` splits
them 8:1:1, with ratings of 4 and 5 as positive; `movielens_1m_ratings` predicts the rating itself and keeps a tenth for test, as the
literature on rating prediction does; of the other nine tenths, a twentieth of all ratings picks the epoch.
"""

from feature_specs.features import (
    CategoricalFeature,
    Extract,
    Hour,
    Identity,
    MultiValuedFeature,
    NumericFeature,
    Prefix,
    SequenceFeature,
    Vocabulary,
    Weekday,
)
from feature_specs.sources import Join, PypiWheel, Source, TextTable
from feature_specs.spec import FeatureSpec, Keys, Label
from feature_specs.splits import RandomSplit

_FOLDER = "recbole/dataset_example/ml-100k"


_IDS = (CategoricalFeature(name="user_id", encoding=Vocabulary()), CategoricalFeature(name="item_id", encoding=Vocabulary()))
_USER = (
    CategoricalFeature(name="gender", encoding=Vocabulary()),
    CategoricalFeature(name="occupation", encoding=Vocabulary()),
    CategoricalFeature(name="zip_prefix", column="zip_code", derive=Prefix(length=3), encoding=Vocabulary()),
)
_TIME = (
    SequenceFeature(name="history", history_of="item_id", table="item_id", max_length=50),
    CategoricalFeature(name="hour", column="timestamp", dtype="int64", derive=Hour(), encoding=Identity(num_buckets=24)),
    CategoricalFeature(name="weekday", column="timestamp", dtype="int64", derive=Weekday(), encoding=Identity(num_buckets=7)),
)
_KEYS = Keys(user="user_id", item="item_id", time="timestamp")
_SPLIT_BY = ("user_id", "item_id", "timestamp")
_LICENCE = "Research use; no redistribution without permission (see the data set's README)."


def _table(name: str, *columns: str) -> TextTable:
    return TextTable(files=name, delimiter="\t", columns=columns, quoting=False)


def _dat(name: str, *columns: str) -> TextTable:
    return TextTable(files=name, delimiter="::", header=False, columns=columns, quoting=False, encoding="latin-1")


_FEATURES_1M = (
    *_IDS,
    CategoricalFeature(name="age", encoding=Vocabulary()),
    *_USER,
    CategoricalFeature(name="release_year", column="movie_title", derive=Extract(pattern=r"\((\d{4})\)$"), encoding=Vocabulary()),
    MultiValuedFeature(name="genres", delimiter="|", encoding=Vocabulary()),
    *_TIME,
)
_SOURCE_1M = Source(
    rows=_dat("ratings.dat", "user_id", "item_id", "rating", "timestamp"),
    joins=(
        Join(table=_dat("users.dat", "user_id", "gender", "age", "occupation", "zip_code"), key="user_id"),
        Join(table=_dat("movies.dat", "item_id", "movie_title", "genres"), key="item_id"),
    ),
    instructions="Get ml-1m.zip from https://grouplens.org/datasets/movielens/1m/, and give it as it is: --input ml-1m.zip",
    homepage="https://grouplens.org/datasets/movielens/1m/",
    licence=_LICENCE,
)

SPECS = (
    FeatureSpec(
        name="movielens_100k",
        features=(
            *_IDS,
            NumericFeature(name="age"),
            *_USER,
            CategoricalFeature(name="release_year", dtype="int64", encoding=Vocabulary(), on_invalid="missing"),
            MultiValuedFeature(name="genres", column="class", delimiter=" ", encoding=Vocabulary()),
            *_TIME,
        ),
        label=Label(column="rating", threshold=4),
        keys=_KEYS,
        split=RandomSplit(fractions=(0.8, 0.1, 0.1), by=_SPLIT_BY),
        source=Source(
            rows=_table("ml-100k.inter", "user_id", "item_id", "rating", "timestamp"),
            joins=(
                Join(table=_table("ml-100k.user", "user_id", "age", "gender", "occupation", "zip_code"), key="user_id"),
                Join(table=_table("ml-100k.item", "item_id", "movie_title", "release_year", "class"), key="item_id"),
            ),
            fetch=PypiWheel(
                package="recbole",
                version="1.2.1",
                sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                members=(f"{_FOLDER}/ml-100k.inter", f"{_FOLDER}/ml-100k.user", f"{_FOLDER}/ml-100k.item"),
            ),
            homepage="https://grouplens.org/datasets/movielens/100k/",
            licence=_LICENCE,
        ),
    ),
    FeatureSpec(
        name="movielens_1m",
        features=_FEATURES_1M,
        label=Label(column="rating", threshold=4),
        keys=_KEYS,
        split=RandomSplit(fractions=(0.8, 0.1, 0.1), by=_SPLIT_BY),
        source=_SOURCE_1M,
    ),
    FeatureSpec(
        name="movielens_1m_ratings",
        features=_FEATURES_1M,
        label=Label(column="rating", task="regression"),
        keys=_KEYS,
        split=RandomSplit(fractions=(0.85, 0.05, 0.1), by=_SPLIT_BY),
        source=_SOURCE_1M,
    ),
)
