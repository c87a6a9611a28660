"""The axis names that shape annotations may use.

An annotation such as ``Float[Tensor, "batch voxels"]`` takes its words from this table; a test
refuses any other word, so that one axis has one name in the whole package.
"""

__all__ = ["AXES"]

AXES: dict[str, str] = {
    "batch": "items of one step",
    "trials": "all trials of a set, repeats not averaged",
    "sessions": "scanning sessions of one subject, ascending",
    "images": "distinct stimulus images",
    "query": "items that search a gallery",
    "gallery": "candidate images of a retrieval",
    "bank": "training images that calibrate a retrieval",
    "volumes": "fMRI volumes of one run, in the order of time",
    "voxels": "voxels of one subject inside its mask; differs between subjects",
    "latent": "width of the shared space behind the ridge",
    "codes": "principal components of the target tokens",
    "tokens": "image tokens of the target embedding",
    "features": "width of one embedding",
    "channels": "feature maps of an image or latent",
    "rgb": "red, green, blue",
    "height": "image rows",
    "width": "image columns",
    "heads": "attention heads",
    "keys": "places that attention reads",
    "steps": "noise levels of a diffusion schedule, clean to noisy",
    "axes": "semantic axes that drive the higher visual voxels of simulated people",
    "maps": "Gabor energy maps of a simulated visual area",
    "words": "word pieces of a caption",
    "seeds": "whole runs that differ in their seed only",
}
