"""The one training loop, its data order, its checkpoints and its log."""
