"""Which optimizer trains what: a model's wide layers have one of their own, and tables have row-wise ones."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from feature_specs.errors import ColonnadeError
from trainer.config import TrainingConfig
from trainer.ftrl import Ftrl
from trainer.layers import StackedTable
from trainer.models.base import RankingModel
from trainer.optimizers import SGD, Adagrad, LazyAdam, RowwiseOptimizer

_DENSE = {"adam": keras.optimizers.Adam, "adagrad": keras.optimizers.Adagrad, "sgd": keras.optimizers.SGD}
_ROWWISE: dict[str, type[RowwiseOptimizer]] = {"lazy_adam": LazyAdam, "adagrad": Adagrad, "sgd": SGD}
_WIDE = ("wide_optimizer", "wide_learning_rate", "wide_l1", "wide_l2")


class OptimizerGroup:
    """Variables that are trained alike.

    Args:
        rowwise: Optimizer of the tables.
        optimizer: Optimizer of the other variables.
        dense: The other variables.
    """

    def __init__(self, rowwise: RowwiseOptimizer, optimizer: keras.optimizers.Optimizer, dense: Sequence[keras.Variable]) -> None:
        self.rowwise, self.optimizer, self.dense = rowwise, optimizer, list(dense)
        if self.dense:
            self.optimizer.build(self.dense)

    @property
    def dense_state(self) -> list[tf.Variable]:
        """The state of the dense optimizer, in a fixed order."""
        return [variable.value for variable in self.optimizer.variables]

    def apply_dense(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates the variables that are no tables."""
        if self.dense:
            self.optimizer.apply(gradients, self.dense)


def optimizer_groups(model: RankingModel, config: TrainingConfig, step: tf.Variable) -> list[OptimizerGroup]:
    """Returns the groups of a built model: that of its wide layers last, where it has any.

    Raises:
        ColonnadeError: Settings of a wide side are given, and the model has none.
    """
    wide = {id(part) for layer in model.wide_layers for part in layer._flatten_layers()}
    if not wide:
        given = [name for name in _WIDE if getattr(config, name) != TrainingConfig.model_fields[name].default]
        if given:
            raise ColonnadeError(f"{', '.join(given)} would do nothing: {type(model).__name__} has no wide side. Leave it out.")
    tables = [layer for layer in model._flatten_layers() if isinstance(layer, StackedTable)]
    in_tables = {id(table.table) for table in tables}
    tables = [table for table in tables if table.table.trainable]  # the optimizer would train frozen ones too
    in_wide = {id(variable) for layer in model.wide_layers for variable in layer.variables}
    dense = [variable for variable in model.trainable_variables if id(variable) not in in_tables]
    rowwise = _ROWWISE[config.embedding_optimizer]
    deep_tables = [table for table in tables if id(table) not in wide]
    groups = [
        OptimizerGroup(
            rowwise(deep_tables, config.learning_rate, config.embedding_l2, step),
            _DENSE[config.optimizer](config.learning_rate),
            [variable for variable in dense if id(variable) not in in_wide],
        )
    ]
    if wide:
        wide_tables = [table for table in tables if id(table) in wide]
        groups.append(OptimizerGroup(*_wide_optimizers(wide_tables, config, step), [v for v in dense if id(v) in in_wide]))
    return groups


def _wide_optimizers(
    tables: Sequence[StackedTable], config: TrainingConfig, step: tf.Variable
) -> tuple[RowwiseOptimizer, keras.optimizers.Optimizer]:
    rate, l1, l2 = config.wide_learning_rate, config.wide_l1, config.wide_l2
    if config.wide_optimizer == "ftrl":
        dense = keras.optimizers.Ftrl(rate, l1_regularization_strength=l1, l2_regularization_strength=l2)
        return Ftrl(tables, rate, 0.0, step, proximal_l1=l1, proximal_l2=l2), dense
    if l1 or l2:
        raise ColonnadeError(f"wide_l1 and wide_l2 are FTRL's. Received wide_optimizer {config.wide_optimizer!r}. Leave them out.")
    name = config.wide_optimizer
    return _ROWWISE["lazy_adam" if name == "adam" else name](tables, rate, 0.0, step), _DENSE[name](rate)
