"""Losses, batches and the training loop."""
