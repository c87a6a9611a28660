"""Names of array axes in shape annotations such as ``Float[Tensor, "batch voxels"]``.

A test refuses any other word, so that one axis has one name in the whole package.
"""

__all__ = ["AXES"]

AXES: dict[str, str] = {
    "batch": "items of one training step",
    "trials": "trials, repeats not averaged",
    "sessions": "scanning sessions of one subject, ascending",
    "images": "distinct stimulus images",
    "repeats": "presentations of one image to one subject",
    "query": "items compared with a gallery; attention queries",
    "gallery": "candidate images of a retrieval",
    "bank": "training images of the training bank",
    "volumes": "fMRI volumes of one run, in time order",
    "voxels": "voxels of one subject's mask; the number differs between subjects",
    "latent": "width of the shared latent space",
    "tokens": "image tokens of the target embedding",
    "features": "width of one embedding",
    "channels": "feature maps of an image or latent",
    "rgb": "red, green, blue",
    "height": "image rows",
    "width": "image columns",
    "heads": "attention heads",
    "keys": "attention keys",
    "steps": "noise levels of a diffusion schedule, clean to noisy",
    "components": "PCA components of the target tokens, or eigenvectors of a ridge problem",
    "maps": "Gabor energy maps of a simulated visual area",
    "words": "text tokens of a caption",
    "kinds": "kinds of things that a scene may show",
    "groups": "subjects, and runs that differ in their seed only",
}
