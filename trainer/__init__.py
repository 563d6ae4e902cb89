"""Training: layers, models, tasks, the loop, and the estimator over them."""
