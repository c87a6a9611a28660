"""Adapters of sources, the prepared data set, and stimuli."""
