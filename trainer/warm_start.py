"""A model that begins with the weights of other runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from feature_specs.errors import ColonnadeError
from trainer.config import RunConfig
from trainer.models.base import MatchingModel, RankingModel

if TYPE_CHECKING:
    from trainer.estimator import Estimator


def has_checkpoint(run_dir: Path) -> bool:
    """Whether a run has trained already, so that it begins with no other weights than its own."""
    return (run_dir / "checkpoints" / "last" / "checkpoint").is_file()


def warm_up(model: RankingModel | MatchingModel, runs: Sequence[Estimator], config: RunConfig) -> None:
    """Gives a new model the best weights of runs on the same data, as the model says (`take_weights`).

    Raises:
        ColonnadeError: A run is of another spec or other data, or has nothing that fits.
    """
    for run in runs:
        if run.config.fingerprint != config.fingerprint:
            raise ColonnadeError(
                f"--warm_start {str(run.run.path)!r} is of another spec ({run.config.dataset}, {run.config.fingerprint[:12]}) than this "
                f"run ({config.dataset}, {config.fingerprint[:12]}): its ids mean other things. Train it on the same data."
            )
    if runs:
        taken = model.take_weights([{variable.path: variable.numpy() for variable in run.model.variables} for run in runs])
        print(f"Begins with {', '.join(taken)} of {', '.join(str(run.run.path) for run in runs)}.")
