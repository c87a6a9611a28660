"""Published weights: table of files, import, loaders of each network, and export."""

from mindeye2.released.mindeye import export_mindeye, load_mindeye
from mindeye2.released.network_loaders import (
    load_clip_converter,
    load_convnext_teacher,
    load_gnet,
    load_lowlevel_vae,
)
from mindeye2.released.opening import open_brain_decoder
from mindeye2.released.published_unclip import load_unclip

__all__ = [
    "export_mindeye",
    "load_clip_converter",
    "load_convnext_teacher",
    "load_gnet",
    "load_lowlevel_vae",
    "load_mindeye",
    "load_unclip",
    "open_brain_decoder",
]
