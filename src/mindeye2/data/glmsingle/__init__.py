"""Adapter of single-trial betas that GLMsingle estimated."""

from mindeye2.data.glmsingle.glmsingle_reader import GlmsingleSettings, read_glmsingle

__all__ = ["GlmsingleSettings", "read_glmsingle"]
