"""Training and evaluation of matching models."""
