"""From a trained scorer to a SavedModel that takes raw values, and what reads, checks and uses it."""
