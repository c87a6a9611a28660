"""What every layer stands on: errors, axes, settings, artifacts, runtime."""

__all__ = ["__version__"]

__version__ = "0.1.0"
