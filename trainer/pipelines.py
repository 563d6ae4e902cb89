"""What all tf.data pipelines have in common."""

from __future__ import annotations

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset whose parallelism is what its operations say (AUTOTUNE: a call a core), unless its own options ask for tuning.

    tf.data's tuner (TensorFlow 2.21) sleeps between its rounds, twice as long each time, and an iterator that goes away may have to wait
    for it: up to as long as it has lived, so that the end of an epoch could cost as much as the epoch.
    """
    if dataset.options().autotune.enabled is not None:
        return dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
