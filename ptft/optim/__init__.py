"""Optimizers and learning-rate schedules: two families, and the state that a checkpoint keeps."""
