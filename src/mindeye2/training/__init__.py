"""Losses, batches and the training loop."""

from mindeye2.training.brain_training import replay

__all__ = ["replay"]
