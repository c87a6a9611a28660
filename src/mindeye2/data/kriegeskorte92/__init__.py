"""Adapter of the responses of four subjects to 92 images (Kriegeskorte et al. 2008)."""

from mindeye2.data.kriegeskorte92.kriegeskorte92_reader import (
    Kriegeskorte92Settings,
    read_kriegeskorte92,
)

__all__ = ["Kriegeskorte92Settings", "read_kriegeskorte92"]
