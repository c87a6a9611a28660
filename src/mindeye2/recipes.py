"""Whole settings as functions: what a run is made of, by name.

A recipe returns complete settings; a variant calls another and changes what differs. Any of it can
be overridden with ``--config`` and ``--set``, and every run records what it used.
"""

from collections.abc import Callable

from mindeye2.generation.sd.refine import RefineSettings
from mindeye2.stages.prepare import (
    SETTINGS,
    PrepareSettings,
    ScenePreparation,
    SimulatedPreparation,
)
from mindeye2.stages.reconstruct import ReconstructSettings
from mindeye2.stages.train import (
    AdaptTraining,
    AutoencoderTraining,
    PictureTuning,
    SdxlUnclipTraining,
    SharedTraining,
    TrainSettings,
    UnclipTraining,
)

__all__ = [
    "PEOPLE",
    "PREPARATION",
    "TRAINING",
    "adapt",
    "autoencoder",
    "decoder_scenes",
    "demo",
    "demo_data",
    "kriegeskorte92",
    "picture_tuning",
    "released",
    "ridge",
    "scratch",
    "standard",
    "unclip",
    "unclip_sdxl",
]

PEOPLE = tuple(f"subj{i:02d}" for i in range(1, 8))
"""The seven people that the demo pretrains on; the eighth is new."""


def demo_data() -> SimulatedPreparation:
    """Return the demo's data set: eight simulated people and the scenes that they saw."""
    return SimulatedPreparation()


def decoder_scenes() -> ScenePreparation:
    """Return the scenes that the shipped image decoder learned from: training photographs only."""
    return ScenePreparation(seed=1, n_train=8000, n_validation=0, n_test=0, encoders=("lite0",))


def standard() -> SharedTraining:
    """Return what we recommend for several people: every defect of the published training mended.

    The backbone is not a no-op, MixCo partners are of the right person, label rows sum to one,
    targets are mixed where betas are, and nothing is chosen on test images.
    """
    return SharedTraining()


def demo() -> SharedTraining:
    """Return the standard training, of the demo's seven people."""
    return standard().model_copy(update={"subjects": PEOPLE})


def adapt() -> AdaptTraining:
    """Return adaptation of a pretrained run to the eighth person with one session."""
    return AdaptTraining()


def scratch() -> SharedTraining:
    """Return training on the new person's one session alone, without a pretrained model."""
    base = demo()
    return base.model_copy(
        update={
            "subjects": ("subj08",),
            "sessions": (1,),
            "train_on": ("train", "validation"),
            "closed_form_start": False,
            "per_subject": 48,
            "optimizer": base.optimizer.model_copy(update={"steps": 300}),
            "train_prior": False,
        }
    )


def ridge() -> SharedTraining:
    """Return the plain ridge baseline: one session, closed form, no body, no training."""
    base = scratch()
    return base.model_copy(
        update={
            "closed_form_start": True,
            "train_body": False,
            "model": base.model.model_copy(update={"n_blocks": 0}),
        }
    )


def kriegeskorte92() -> SharedTraining:
    """Return shared training for people with 69 pictures each: a narrow space, noise on the betas.

    The settings were chosen on inner folds of the training images; see docs/kriegeskorte92.md.
    """
    base = standard()
    return base.model_copy(
        update={
            "model": base.model.model_copy(
                update={"n_latent": 64, "n_blocks": 2, "lowlevel": None}
            ),
            "losses": base.losses.model_copy(update={"beta_noise": 1.4, "lowlevel": 0.0}),
            "per_subject": 32,
            "optimizer": base.optimizer.model_copy(update={"steps": 200, "max_lr": 5e-4}),
            "train_prior": False,
        }
    )


def autoencoder() -> AutoencoderTraining:
    """Return training of the demo's autoencoder."""
    return AutoencoderTraining()


def unclip() -> UnclipTraining:
    """Return training of the demo's image decoder."""
    return UnclipTraining()


def unclip_sdxl() -> SdxlUnclipTraining:
    """Return training of the full-size image decoder from SDXL base, as the paper did it."""
    return SdxlUnclipTraining()


def picture_tuning() -> PictureTuning:
    """Return the last step of the demo's image decoder: what it draws is judged by features."""
    return PictureTuning()


def released() -> ReconstructSettings:
    """Return inference with published weights as the published code does it.

    Single-trial passes are averaged, over any number of presentations; the prior takes 20 DDIM
    steps; unCLIP's pictures are refined and blended 3:1 with the low-level image. Where the
    published code needed exactly three presentations and drew from one stream, this takes any
    number and a seed per image.
    """
    return ReconstructSettings(
        subject="subj01",
        average="outputs",
        prior_samples=1,
        ceiling=False,
        refine=RefineSettings(),
        size=256,
        antialias=False,
        batch_size=4,
    )


PREPARATION: dict[str, Callable[[], PrepareSettings]] = {
    **SETTINGS,
    "simulated": demo_data,
    "scenes": decoder_scenes,
}
"""Settings of the prepare stage by the name of the adapter."""

TRAINING: dict[str, Callable[[], TrainSettings]] = {
    "standard": standard,
    "demo": demo,
    "adapt": adapt,
    "scratch": scratch,
    "ridge": ridge,
    "kriegeskorte92": kriegeskorte92,
    "autoencoder": autoencoder,
    "unclip": unclip,
    "unclip_sdxl": unclip_sdxl,
    "picture_tuning": picture_tuning,
}
"""Recipes of the train stage by the name that ``--recipe`` takes."""
