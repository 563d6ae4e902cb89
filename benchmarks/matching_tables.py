"""What the accuracy table of the matching models holds: data, protocols, rows, and what was published."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainer.recipes import list_rows, load_recipe

SEEDS = 3
# Raw files of each recipe, under the folder COLONNADE_DATA; those of the other are made by `benchmarks.ncf_files`, or fetched.
INPUTS: dict[str, tuple[str, ...]] = {
    "movielens_1m_ncf": (),
    "movielens_1m_implicit": ("ml-1m/ml-1m.zip",),
    "movielens_100k_implicit": (),
}
# Of a recipe and row, the rows whose weights it begins with, each with its own seed.
WARM_STARTS: dict[tuple[str, str], tuple[str, ...]] = {
    (recipe, row): first
    for recipe in INPUTS
    for row in list_rows(recipe)
    if (first := load_recipe(f"{recipe}:{row}", None, None).warm_start)
}
# RecBole's models at their defaults, by the row of ours that is held against the best of them.
PEERS = {
    "bpr": ("RecBole BPR",),
    "neumf": ("RecBole NeuMF",),
    "caser": ("RecBole Caser, 10 items", "RecBole Caser"),
    "sasrec": ("RecBole SASRec",),
}
PEERS_RECIPE = "movielens_100k_implicit"


@dataclass(frozen=True)
class Table:
    """One protocol of one data set: the same runs may be in several tables.

    Attributes:
        recipe: File in trainer/recipes, which names the data set and the rows.
        protocol: Of the evaluation, as training takes it.
        title: Of its section.
        text: What was done, in a paragraph.
        rows: Which of the recipe's; all where not given.
        published: Of a row, the published HR@10 and NDCG@10.
        targets: Of a row, what ours are held against: HR@10 and NDCG@10, None where there is no such target.
        peers: Rows of another library, by the row of ours that is held against the best of them.
        tried: Of a row that misses its target, what was tried.
    """

    recipe: str
    protocol: str
    title: str
    text: str
    rows: tuple[str, ...] = ()
    published: dict[str, tuple[float, float]] = field(default_factory=dict)
    targets: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    peers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tried: dict[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> list[str]:
        """The rows, in the order of the recipe."""
        return [row for row in list_rows(self.recipe) if row in (self.rows or (row,))]


def all_runs(recipe: str) -> list[tuple[str, int]]:
    """Returns all (row, seed) of a recipe, the first seed of every row first."""
    return [(row, seed) for seed in range(SEEDS) for row in list_rows(recipe)]


TABLES = (
    Table(
        recipe="movielens_1m_ncf",
        protocol="file",
        title="MovieLens-1M, the files of the NCF paper",
        text=(
            "The last film of each of 6,040 users against the 99 films that the paper's file lists for the user (98 in the 156 lists that "
            "hold the film itself: there it is left out). The paper picked its epoch on the test file; here the last film of each user in "
            "the training file picks it, against 99 drawn ones; then the model is trained anew with that film too, for as many epochs. "
            "`neumf_pretrained` begins with the runs of `gmf` and `mlp_ncf` of its seed. Published: He et al., WWW 2017, with 32 factors; "
            "popularity scored on the same files; EASE with lambda 500. Target of `gmf`: an independent PyTorch program, which is above "
            "the paper. `gmf` departs from the paper: its loss is the softmax over 256 drawn films, and its vectors are penalised (on "
            "validation, seed 0: BCE with the paper's four negatives HR@10 .7114, NDCG@10 .4270, with sixteen and penalised .7278 / .4424, "
            "softmax .7253 / .4435; the two with BCE had .7015 / .4189 and, over two seeds, .7018 / .4277 on test). `mlp_ncf` and `neumf` "
            "are the paper's but for eight negatives, dropout and a penalty; `neumf_pretrained` goes on by the softmax over 32 drawn "
            "films, the loss that its half of GMF comes with."
        ),
        published={
            "popularity": (0.4538, 0.2545),
            "ease": (0.7093, 0.4493),
            "gmf": (0.708, 0.429),
            "mlp_ncf": (0.692, 0.425),
            "neumf": (0.701, 0.425),
            "neumf_pretrained": (0.726, 0.445),
        },
        targets={
            "ease": (0.709, 0.449),
            "gmf": (0.708, 0.429),
            "mlp_ncf": (0.692, 0.425),
            "neumf": (0.701, 0.425),
            "neumf_pretrained": (0.726, 0.445),
        },
        tried={
            "mlp_ncf": (
                "with seed 0, on validation, where the row has HR@10 .7180, NDCG@10 .4301: with a dropout of .1 .7127 / .4278; without "
                "dropout, 16 negatives and an embedding_l2 of 2e-5 .6997 / .4224, batches of 64 with four negatives and 1e-5 .7023 / "
                ".4242, and, stopped after 10 epochs, eight and 1.5e-4 .7033 / .4199"
            ),
            "neumf": (
                "with seed 0 and an embedding_l2 of 6e-5 in place of 1.5e-4, HR@10 .6993, NDCG@10 .4274 (on validation .7129 / .4279 in "
                "place of .7123 / .4314); the softmax over 32 drawn films, 6e-5 (on validation .7089 / .4281)"
            ),
            "neumf_pretrained": (
                "with seed 0, on validation, where the row has HR@10 .7373, NDCG@10 .4534: the paper's BCE and SGD, at 3e-5 with four "
                "negatives .7318 / .4497, at .001 with eight, dropout and a penalty .7298 / .4458; the softmax by Adam at 5e-5 "
                ".7359 / .4524"
            ),
        },
    ),
    Table(
        recipe="movielens_1m_implicit",
        protocol="sampled:100",
        title="MovieLens-1M, 100 sampled negatives",
        text=(
            "The protocol of SASRec's paper (Kang and McAuley, ICDM 2018): the last film of each user is for test, the one before it for "
            "validation, each against 100 films that the user never rated. Figures of this table do not compare with those of the full "
            "corpus. Published: that paper; its GRU4Rec+ stands beside `gru4rec`."
        ),
        published={"sasrec": (0.8245, 0.5905), "caser": (0.7886, 0.5538), "gru4rec": (0.7501, 0.5513), "bpr": (0.5781, 0.3287)},
        targets={"sasrec": (0.8245, 0.5905), "caser": (0.7886, 0.5538), "gru4rec": (0.750, 0.551), "bpr": (0.578, 0.329)},
    ),
    Table(
        recipe="movielens_1m_implicit",
        protocol="full",
        title="MovieLens-1M, full corpus",
        text=(
            "The same runs and split, each test film against all films that the user has not rated before. Published: SASRec with sampled "
            "softmax as in `generative-recommenders` (Zhai et al., ICML 2024), beside `sasrec_softmax`; with the paper's own loss, "
            "`sasrec`, HR@10 is about .25. That program trains with all films of a user but the last, and has no validation split; here "
            "the one before the last picks the epoch and is not trained with."
        ),
        published={"sasrec_softmax": (0.2853, 0.1603)},
        targets={"sasrec_softmax": (0.285, 0.160), "sasrec": (0.25, None)},
        tried={"sasrec_softmax": "nothing; to train it anew with the validation films too (refit) would take as many epochs again"},
    ),
    Table(
        recipe="movielens_1m_implicit",
        protocol="sampled:100:any",
        title="MovieLens-1M, 100 sampled negatives that may have been seen",
        text=(
            "The same runs and split, each test film against 100 films of all but itself, films that the user has rated among them: the "
            "protocol of RecLearn's README, whose figures are the published ones. A film that was seen suits the user, too, so that it is "
            "harder than with films never rated. RecLearn draws its 100 with replacement from the numbers 1 to 3,952, of which 246 are no "
            "rated film: some 94 of them count, which is slightly easier than the 100 here. `attrec` departs from the paper: its loss is "
            "the softmax over 256 drawn films (on validation, seed 0: the paper's hinge HR@10 .7901, NDCG@10 .5215, softmax .8190 / .5656; "
            "with hinge, .7647 / .4963 on test)."
        ),
        rows=("bpr", "caser", "sasrec", "attrec"),
        published={"attrec": (0.787, 0.536), "caser": (0.792, 0.528), "sasrec": (0.810, 0.561), "bpr": (0.577, 0.302)},
        targets={"attrec": (0.787, 0.536)},
        tried={
            "attrec": (
                "with seed 0, on validation, where the row has HR@10 .8190, NDCG@10 .5656: no penalty (.8152 / .5628), the last 9 films "
                "and an embedding_l2 of 2e-5 (.8149 / .5621), 512 drawn films and 3e-5 (.8136 / .5626)"
            )
        },
    ),
    Table(
        recipe=PEERS_RECIPE,
        protocol="full",
        title="MovieLens-100k, full corpus, beside RecBole",
        text=(
            "943 users, 1,682 films; the last film of each user is for test, the one before it for validation, each against all films that "
            "the user has not rated before; recall@10 is HR@10, as there is one film to find. RecBole has its defaults for a model: MRR@10 "
            "on validation ends its training after 10 epochs without a better one; its ties fall as they come. "
            "It holds times as float32, whose steps are 64 s here, so that with the file as it comes another film than "
            "the last is the test film of 149 users; it is given the file in the order "
            "of time, and splits as we do. (As it comes, seed 2020, on that other split: BPR .1166 / .0631, NeuMF .1220 / .0679.) For its "
            "models of sequences RecBole masks no films that were seen; its rows here mask them, as ours do, and what its own evaluation "
            "says is below the table. Its Caser advises a history of 10 films and has 50 by default: both are here. Target: the best "
            "NDCG@10 of RecBole's rows of a model, mean over its seeds."
        ),
        peers=PEERS,
        tried={
            "neumf": (
                "with seed 0: without the embedding_l2 of 2e-5 (test HR@10 .1220, NDCG@10 .0658), with it .1304 / .0679; without it, one "
                "negative a positive, as RecBole has (.1145 / .0638)"
            )
        },
    ),
)
