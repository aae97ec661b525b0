"""Fine-tuning: labelled texts as batches for the one training loop, and predictions from what it made."""
