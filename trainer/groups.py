"""Which optimizer trains what: a model's wide layers have one of their own, and tables have row-wise ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
        rowwise: Optimizer of the tables that are trained row by row.
        optimizer: Optimizer of the other variables.
        dense: The other variables.
        l2: lambda of each of these.
        rate: The row-wise optimizer's learning rate.
    """

    def __init__(
        self,
        rowwise: RowwiseOptimizer,
        optimizer: keras.optimizers.Optimizer,
        dense: Sequence[keras.Variable],
        l2: Sequence[float],
        rate: tf.Variable,
    ) -> None:
        self.rowwise, self.optimizer, self.dense, self.l2, self.rate = rowwise, optimizer, list(dense), list(l2), rate
        if self.dense:
            self.optimizer.build(self.dense)

    @property
    def dense_state(self) -> list[tf.Variable]:
        """The state of the dense optimizer, learning rates included, in a fixed order."""
        return [*(variable.value for variable in self.optimizer.variables), self.rate]

    def penalised(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> list[tf.Tensor]:
        """Returns the gradients of the dense variables with those of their penalties; a table's becomes a dense one.

        Raises:
            ColonnadeError: The loss does not depend on a variable.
        """
        unused = [variable.path for variable, gradient in zip(self.dense, gradients, strict=True) if gradient is None]
        if unused:
            raise ColonnadeError(
                f"The loss does not depend on {', '.join(unused)}, so it cannot be trained. Use it in the model's scores, leave it out, or "
                "make it with trainable=False."
            )
        return [
            tf.convert_to_tensor(gradient) + l2 * variable.value if l2 or isinstance(gradient, tf.IndexedSlices) else gradient
            for gradient, variable, l2 in zip(gradients, self.dense, self.l2, strict=True)
        ]

    def lower_rate(self, factor: float, floor: float) -> None:
        """Multiplies both learning rates by `factor`, down to `floor`; all rows have to be up to date."""
        for rate in (self.rate, self.optimizer.learning_rate):
            rate.assign(tf.maximum(tf.convert_to_tensor(rate) * factor, tf.minimum(floor, tf.convert_to_tensor(rate))))

    def apply_dense(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates the variables that are no tables."""
        if self.dense:
            self.optimizer.apply(gradients, self.dense)


def optimizer_groups(model: RankingModel, config: TrainingConfig, step: tf.Variable) -> list[OptimizerGroup]:
    """Returns the groups of a built model: that of its wide layers last, where it has any.

    Raises:
        ColonnadeError: A setting is given that would do nothing.
    """
    wide = {id(part) for layer in model.wide_layers for part in layer._flatten_layers()}
    if not wide or config.embedding_update == "dense":
        given = [name for name in _WIDE if getattr(config, name) != TrainingConfig.model_fields[name].default]
        if given:
            why = "embedding_update 'dense' trains all as one" if wide else f"{type(model).__name__} has no wide side"
            raise ColonnadeError(f"{', '.join(given)} would do nothing: {why}. Leave it out.")
    tables = [layer for layer in model._flatten_layers() if isinstance(layer, StackedTable)]
    in_tables = {id(table.table) for table in tables}
    in_wide = {id(variable) for layer in model.wide_layers for variable in layer.variables}
    _check_kernels(model, in_tables if config.embedding_update == "dense" else in_tables | in_wide, config)
    tables = [table for table in tables if table.table.trainable]  # the optimizer would train frozen ones too
    if config.embedding_update == "dense":
        return [_dense_group(model, tables, config, step)]
    dense = [variable for variable in model.trainable_variables if id(variable) not in in_tables]
    deep_tables = [table for table in tables if id(table) not in wide]
    rate = tf.Variable(config.learning_rate, dtype=tf.float32, trainable=False)
    rowwise = _ROWWISE[config.embedding_optimizer](deep_tables, rate, config.embedding_l2, step)
    deep = [variable for variable in dense if id(variable) not in in_wide]
    groups = [OptimizerGroup(rowwise, _DENSE[config.optimizer](config.learning_rate), deep, _kernel_l2(deep, config), rate)]
    if wide:
        wide_tables = [table for table in tables if id(table) in wide]
        wide_dense = [variable for variable in dense if id(variable) in in_wide]
        wide_rate = tf.Variable(config.wide_learning_rate, dtype=tf.float32, trainable=False)
        optimizers = _wide_optimizers(wide_tables, config, wide_rate, step)
        groups.append(OptimizerGroup(*optimizers, wide_dense, [0.0] * len(wide_dense), wide_rate))
    return groups


def _dense_group(model: RankingModel, tables: Sequence[StackedTable], config: TrainingConfig, step: tf.Variable) -> OptimizerGroup:
    """Returns everything as one group, tables as kernels, of which each row is penalised in each step."""
    if config.embedding_optimizer != TrainingConfig.model_fields["embedding_optimizer"].default:
        raise ColonnadeError("embedding_update 'dense' trains tables by `optimizer`: embedding_optimizer would do nothing. Leave it out.")
    declared = [table.name for table in tables if table.l2]
    if declared:
        raise ColonnadeError(f"embedding_update 'dense' penalises whole tables by embedding_l2; {declared[0]!r} declares l2 of its own.")
    dense = list(model.trainable_variables)
    in_tables = {id(table.table) for table in tables}
    kernel_l2 = _kernel_l2(dense, config)
    l2 = [config.embedding_l2 if id(variable) in in_tables else kernel_l2[place] for place, variable in enumerate(dense)]
    rate = tf.Variable(config.learning_rate, dtype=tf.float32, trainable=False)
    return OptimizerGroup(SGD([], rate, 0.0, step), _DENSE[config.optimizer](config.learning_rate), dense, l2, rate)


def _check_kernels(model: RankingModel, without: Collection[int], config: TrainingConfig) -> None:
    """Raises a ColonnadeError where kernels are to be penalised and there are none, but for the variables `without`."""
    kernels = [variable for variable in model.trainable_variables if len(variable.shape) > 1 and id(variable) not in without]
    if config.dense_l2 and not kernels:
        raise ColonnadeError(f"dense_l2 would do nothing: {type(model).__name__} has no kernels, only tables and biases. Leave it out.")


def _kernel_l2(variables: Sequence[keras.Variable], config: TrainingConfig) -> list[float]:
    """Returns lambda of each variable: that of kernels where it is a matrix."""
    return [config.dense_l2 if len(variable.shape) > 1 else 0.0 for variable in variables]


def _wide_optimizers(
    tables: Sequence[StackedTable], config: TrainingConfig, rate: tf.Variable, step: tf.Variable
) -> tuple[RowwiseOptimizer, keras.optimizers.Optimizer]:
    l1, l2 = config.wide_l1, config.wide_l2
    if config.wide_optimizer == "ftrl":
        dense = keras.optimizers.Ftrl(config.wide_learning_rate, l1_regularization_strength=l1, l2_regularization_strength=l2)
        return Ftrl(tables, rate, 0.0, step, proximal_l1=l1, proximal_l2=l2), dense
    if l1 or l2:
        raise ColonnadeError(f"wide_l1 and wide_l2 are FTRL's. Received wide_optimizer {config.wide_optimizer!r}. Leave them out.")
    name = config.wide_optimizer
    return _ROWWISE["lazy_adam" if name == "adam" else name](tables, rate, 0.0, step), _DENSE[name](config.wide_learning_rate)
