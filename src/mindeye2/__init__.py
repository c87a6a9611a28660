"""Reconstruct, retrieve and describe what a person saw, from fMRI."""

__version__ = "0.1.0"
