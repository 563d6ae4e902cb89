"""Recipes: every value of every row is one that its model or training takes, and rows are found by what the user gave."""

from __future__ import annotations

from pathlib import Path

import known_models
import pytest

import trainer.recipes
from feature_specs import ColonnadeError
from feature_specs.datasets import all_datasets, get_dataset
from trainer.config import TrainingConfig
from trainer.matching.side import check_length
from trainer.models.registry import get_model, hyper_parameters, list_models, resolve_hyper_parameters
from trainer.recipes import Recipe, list_rows, load_recipe
from trainer.task import _parser, _what, main

FILES = sorted(path.stem for path in Path(trainer.recipes.__file__).parent.glob("*.yaml"))
RANKING = {info.name for info in list_models() if info.task == "ranking"}


@pytest.mark.parametrize(("file", "row"), [(file, row) for file in FILES for row in list_rows(file)])
def test_every_row_can_be_trained(file: str, row: str) -> None:
    recipe = load_recipe(f"{file}:{row}", None, None)
    assert recipe.dataset in all_datasets()
    model = get_model(str(recipe.model))
    own = {name: value for name, value in recipe.values.items() if name in hyper_parameters(model)}
    resolved = resolve_hyper_parameters(model, own)
    assert {name: resolved[name] for name in own} == {name: tuple(v) if isinstance(v, list) else v for name, v in own.items()}
    TrainingConfig.model_validate({name: value for name, value in recipe.values.items() if name not in own})
    spec = get_dataset(str(recipe.dataset))
    check_length(spec, (resolved.get("max_length") or 0) if spec.is_matching else 0)


@pytest.mark.parametrize("file", ["frappe", "movielens_1m", "criteo_encoded"])
def test_the_accuracy_table_has_every_known_ranking_model(file: str) -> None:
    rows = {load_recipe(f"{file}:{row}", None, None).model for row in list_rows(file)}
    assert known_models.RANKING <= rows <= RANKING, "a new model may have rows, too"


def test_a_recipe_is_found_by_what_was_given() -> None:
    assert load_recipe(None, "nfm", "movielens_100k").values == {"batch_size": 256, "learning_rate": 5e-4}
    assert load_recipe("none", "nfm", "movielens_100k").values == load_recipe(None, "lr", "movielens_100k").values == {}
    assert load_recipe(None, "nfm", "my_spec").name == "none"
    recipe = load_recipe("frappe", "deepfm", None)
    assert (recipe.dataset, recipe.values["dropout"], recipe.values["batch_size"]) == ("frappe_resampled", 0.2, 4096)
    assert load_recipe(None, "deepfm", "frappe").values == recipe.values
    plus = load_recipe("frappe:autoint+", None, None)
    assert (plus.name, plus.model, plus.values["hidden_units"]) == ("frappe:autoint+", "autoint", [400, 400, 400])
    assert "model" not in plus.values
    assert load_recipe("frappe:autoint+", "autoint", "frappe") == plus


def test_another_loss_than_the_recipes_brings_its_own_negatives() -> None:
    own = load_recipe("movielens_1m_implicit:attrec", None, None)
    assert (own.values["loss"], own.values["num_negatives"]) == ("sampled_softmax", 256)
    assert own.beside({"embedding_dim": 8}) == own.beside({"loss": "sampled_softmax", "num_negatives": 9}) == own
    rest = own.beside({"loss": "hinge"}).values
    assert rest == {name: value for name, value in own.values.items() if name != "num_negatives"}
    assert load_recipe("none", None, None).beside({"loss": "bce"}).values == {}


def test_a_spec_of_ones_own_has_no_recipe_for_its_name(tmp_path: Path) -> None:
    built_in = get_dataset("movielens_100k")
    (tmp_path / "same.yaml").write_text(built_in.to_yaml(), encoding="utf-8")
    own = built_in.model_copy(update={"features": built_in.features[:-1]})
    (tmp_path / "own.yaml").write_text(own.to_yaml(), encoding="utf-8")

    def found(*flags: str) -> str:
        recipe, spec, _ = _what(_parser().parse_all(["--model", "nfm", *flags]))
        assert spec.name == "movielens_100k"
        return recipe.name

    assert found("--dataset", "movielens_100k") == found("--spec", str(tmp_path / "same.yaml")) == found() == "movielens_100k"
    assert found("--spec", str(tmp_path / "own.yaml")) == "none"
    assert found("--spec", str(tmp_path / "own.yaml"), "--recipe", "movielens_100k") == "movielens_100k"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: my_data\nrows: {}", "datasets: input should be a valid list. Received: 'my_data'"),
        ("datasets: []\nrows: {}", "datasets: list should have at least 1 item"),
        ("datasets: [my_data]", "rows: field required"),
        ("datasets: [my_data]\nrows: {nfm: }", "rows.nfm: input should be a valid dictionary. Received: None"),
        ("datasets: [my_data]\nrows: {nfm: {warm_start: gmf}}", "rows.nfm.warm_start: input should be a valid tuple. Received: 'gmf'"),
        ("datasets: [my_data]\nrows: {}\nrow: {}", "row: extra inputs are not permitted"),
        ("datasets: [my_data", "while parsing a flow sequence"),
        ("", "the file: input should be a valid dictionary. Received: None"),
        ("\xff", "'utf-8' codec can't decode"),
    ],
)
def test_a_malformed_file_is_named_and_recipes_asked_for_by_name_still_work(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_bytes(text.encode("latin-1"))
    (tmp_path / "good.yaml").write_text("datasets: [good]\nrows: {nfm: {}}")
    monkeypatch.setattr(trainer.recipes, "_FOLDER", tmp_path)
    assert load_recipe("good:nfm", None, None).model == "nfm"
    assert load_recipe("none", "nfm", "good") == load_recipe(None, "nfm", None) == Recipe()
    message = rf"Recipe file '.*mine.yaml' is malformed: {message}.* Expected: datasets .* --recipe none"
    for name in ("mine:nfm", None):
        with pytest.raises(ColonnadeError, match=message):
            load_recipe(name, "nfm", "good")


@pytest.mark.parametrize("file", FILES)
def test_rows_begin_with_rows_of_their_file(file: str) -> None:
    for row in list_rows(file):
        first = load_recipe(f"{file}:{row}", None, None).warm_start
        assert {*first} <= {*list_rows(file)} - {row}


def test_a_row_that_begins_with_others_wants_their_runs() -> None:
    recipe = load_recipe("movielens_1m_ncf:neumf_pretrained", None, None)
    assert recipe.warm_start == ("gmf", "mlp_ncf")
    assert "warm_start" not in recipe.values
    message = (
        "--recipe movielens_1m_ncf:neumf_pretrained begins with the weights of finished runs of movielens_1m_ncf:gmf and "
        "movielens_1m_ncf:mlp_ncf. Train these, and name their run directories: --warm_start RUN_OF_gmf RUN_OF_mlp_ncf. Received: none."
    )
    with pytest.raises(ColonnadeError) as error:
        main(["--recipe", "movielens_1m_ncf:neumf_pretrained"])
    assert str(error.value) == message
    with pytest.raises(ColonnadeError, match="Received: runs/gmf"):
        recipe.check_start(["runs/gmf"])
    recipe.check_start(["runs/gmf", "runs/mlp"])
    load_recipe("movielens_1m_ncf:neumf", None, None).check_start(["any"])


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("none_such", "nfm", "Unknown recipe 'none_such'"),
        ("frape", "nfm", "Unknown recipe 'frape'. Did you mean 'frappe'[?] Recipes: .*frappe"),
        ("movielens_100k", "lr", "Recipe 'movielens_100k' has no values for model 'lr'.* It has: nfm"),
        ("frappe:autoint-", None, "Recipe 'frappe' has no row 'autoint-'. Did you mean 'autoint[+]?'"),
        ("frappe:autoint+", "nfm", "--recipe frappe:autoint[+] is for model 'autoint'. Received --model nfm"),
        ("frappe", None, "Recipe 'frappe' has values for several models. Name one: --model, or --recipe frappe:ROW"),
    ],
)
def test_unknown_recipes(name: str, model: str | None, message: str) -> None:
    with pytest.raises(ColonnadeError, match=message):
        load_recipe(name, model, None)
