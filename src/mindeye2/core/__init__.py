"""What every layer stands on: errors, axes, settings, artifacts, runtime."""
