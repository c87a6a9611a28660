"""Names that the command line accepts, in a module that imports nothing heavy.

Help texts and shell completion read them at once; a test compares them with adapters and recipes.
"""

__all__ = ["ANALYSES", "GPUS", "IMAGE_DECODERS", "KINDS", "RECIPES", "STAGES", "STUDIES"]

KINDS = {
    "table": "arrays, a trial table and images of your own",
    "glmsingle": "an output folder of GLMsingle",
    "bids": "fMRIPrep derivatives with BIDS events",
    "nsd": "the Natural Scenes Dataset as it is distributed",
    "laion_fmri": "LAION-fMRI as it is distributed; no access form, images optional",
    "things_fmri": "THINGS-fMRI, single-trial responses in table format",
    "released": "the data files published with MindEye2",
    "kriegeskorte92": "responses of four subjects to 92 photographs, downloaded on request",
    "simulated": "simulated subjects, as in the demo; no source",
    "scenes": "composed scenes without brain responses; no source",
}
"""Sources of ``mindeye2 prepare`` by KIND."""

RECIPES = {
    "released": "reproducing the published multi-subject training at full size; a large GPU",
    "released_adapt": "the published fine-tuning to one subject (--init: a run or an import)",
    "standard": "the recommended training at the published size, for NSD-sized data; a GPU",
    "laptop": "several subjects with many trials each; the model that others are adapted from",
    "embeddings": "a data set with published embeddings instead of images, such as LAION-fMRI",
    "adapt": "a new subject with an hour of data or more, and a pretrained run (--init)",
    "scratch": "one subject without a pretrained run; a baseline for adapt",
    "ridge": "one subject, in seconds: the first thing to try with your own data",
    "demo": "the demo's seven simulated subjects",
    "kriegeskorte92": "subjects with fewer than 100 images, such as the kind kriegeskorte92",
    "autoencoder": "a new image decoder of laptop size: its first stage",
    "unclip": "a new image decoder of laptop size: its second stage (--init: the autoencoder)",
    "decoder_tuning": "sharper images of a laptop-size image decoder (--init: the unclip run)",
    "unclip_sdxl": "a full-size image decoder; a large GPU and an image collection",
}
"""For whom each recipe of ``mindeye2 train`` is."""

IMAGE_DECODERS = frozenset({"autoencoder", "unclip", "decoder_tuning", "unclip_sdxl"})
"""Recipes that train an image decoder; the others train a brain decoder."""

STAGES = ("prepare", "train", "reconstruct", "evaluate", "report", "compare", "analyse", "demo")
"""Stages that have settings."""

ANALYSES = {
    "brain-correlation": "responses predicted for reconstructions, against measured ones",
    "rois": "what is decoded with only, and without, the voxels of each region",
    "learning-curve": "scores over the amount of data, from minutes to 40 hours; reads a data set",
    "geometry": "representational similarity and a map of predicted and true tokens",
    "recovery": "which components of the tokens repeat over presentations, and are recovered",
    "roi-images": "images generated from activity in one region alone",
}
"""Analyses of ``mindeye2 analyse`` by KIND."""

GPUS = ("h200", "h100", "a100", "a100-40", "l40s", "a6000", "a40", "4090", "3090")
"""GPUs that ``mindeye2 plan`` knows."""

STUDIES = {
    "laptop": "simulated subjects, each the new one once; no data and no GPU",
    "laptop-pretraining": "the same for less pretraining: fewer trials, fewer subjects",
    "paper-1h": "NSD: pretrained on seven subjects, adapted to the eighth with one session",
    "paper-40h": "the same with all sessions of the new subject",
    "kriegeskorte92": "responses of four subjects to 92 photographs; no GPU",
}
"""Ready configs of ``mindeye2 study init``."""
