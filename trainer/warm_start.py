"""A model that begins with the weights of other runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from feature_specs.errors import ColonnadeError
from trainer.config import RunConfig
from trainer.loop import Loop
from trainer.models.base import MatchingModel, RankingModel
from trainer.models.registry import list_models
from trainer.run import RunDirectory

if TYPE_CHECKING:
    from trainer.estimator import Estimator


def has_checkpoint(run_dir: Path) -> bool:
    """Whether a run has trained already, so that it begins with no other weights than its own."""
    return (run_dir / "checkpoints" / "last" / "checkpoint").is_file()


def restore_best(loop: Loop, run: RunDirectory, *, refitted: bool = True) -> None:
    """Puts a run's best weights so far into the model: those that were refitted, if they are wanted and there, or those before that.

    Where none have been evaluated, they are the last ones.
    """
    if not ((refitted and loop.restore_weights(run.refitted)) or loop.restore_weights(run.best)):
        loop.restore(run.last)
        loop.finish_rows()


def check_takes_weights(name: str, model: type) -> None:
    """Raises a ColonnadeError where the model called `name` cannot begin with the weights of runs."""
    if not issubclass(model, MatchingModel):
        takers = ", ".join(info.name for info in list_models() if info.task == "matching")
        raise ColonnadeError(
            f"Model {name!r} does not begin with the weights of other runs. Leave out --warm_start; models for matching take it: {takers}."
        )


def warm_up(model: RankingModel | MatchingModel, runs: Sequence[Estimator], config: RunConfig, *, refitted: bool = False) -> None:
    """Gives a new model the best weights of runs on the same data, as the model says (`take_weights`).

    Weights that were refitted have seen the validation split, and would have an epoch picked on what they know: they are for a model that
    is refitted itself.

    Args:
        model: Built.
        runs: Whose weights it takes.
        config: Of the model's own run.
        refitted: Whether it takes the refitted weights of those runs that have `refit`.

    Raises:
        ColonnadeError: The model takes no weights; or a run is of another spec or other data, is not refitted as it should be, or has
            nothing that fits.
    """
    if not runs:
        return
    check_takes_weights(config.model, type(model))
    for run in runs:
        if run.config.fingerprint != config.fingerprint:
            raise ColonnadeError(
                f"--warm_start {str(run.run.path)!r} is of another spec ({run.config.dataset}, {run.config.fingerprint[:12]}) than this "
                f"run ({config.dataset}, {config.fingerprint[:12]}): its ids mean other things. Train it on the same data."
            )
        if config.data_digest and run.config.data_digest != config.data_digest:
            raise ColonnadeError(
                f"--warm_start {str(run.run.path)!r} was trained on other data ({run.config.data_digest[:12]}) than this run has "
                f"({config.data_digest[:12]}): its ids mean other things. Train it on the same data."
            )
        # Both sets of weights are wanted in the end: better said before the first epoch than after the last.
        if config.training.refit and run.config.training.refit and not (run.run.refitted / "checkpoint").is_file():
            raise ColonnadeError(
                f"--warm_start {str(run.run.path)!r} has refit, as this run has, and is not refitted yet. Let its command end first."
            )
    for run in runs:
        restore_best(run.loop, run.run, refitted=refitted)
    taken = model.take_weights([{variable.path: variable.numpy() for variable in run.loop.model.variables} for run in runs])
    print(f"Begins with {', '.join(taken)} of {', '.join(str(run.run.path) for run in runs)}.")
