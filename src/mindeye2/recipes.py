"""Recipes: complete settings of a stage, by name.

A variant calls another recipe and changes what differs. Every setting can be overridden with
``--config`` and ``--set``, and each run records what it used.
"""

from collections.abc import Callable

from mindeye2.generation.sd.refine import BASE, RefineSettings
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
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
    DecoderTuning,
    SdxlUnclipTraining,
    SharedTraining,
    TargetSettings,
    TrainSettings,
    UnclipTraining,
)
from mindeye2.training.brain_step import LossSettings
from mindeye2.training.optimizer import OptimizerSettings

__all__ = [
    "PREPARATION",
    "TRAINING",
    "adapt",
    "autoencoder",
    "decoder_scenes",
    "decoder_tuning",
    "demo",
    "demo_data",
    "embeddings",
    "kriegeskorte92",
    "laptop",
    "released",
    "released_adapt",
    "released_training",
    "ridge",
    "scratch",
    "standard",
    "unclip",
    "unclip_sdxl",
]

SUBJECTS = tuple(f"subj{i:02d}" for i in range(1, 8))
"""The seven subjects of the demo's pretraining; the eighth is new."""


def demo_data() -> SimulatedPreparation:
    """Return the demo's data set: eight simulated subjects and their stimuli."""
    return SimulatedPreparation()


def decoder_scenes() -> ScenePreparation:
    """Return the scenes that trained the shipped image decoder, from training photographs only."""
    return ScenePreparation(seed=1, n_train=8000, n_validation=0, n_test=0, encoders=("lite0",))


def released_training() -> SharedTraining:
    """Return the published pretraining, defects included: all modules at once, prior end to end.

    Seven subjects, 150 epochs of 714 steps of 6 trials each. BiMixCo for the first third, then
    SoftCLIP with a temperature per epoch; one cycle with cycled momentum; no gradient clipping.
    `model.n_latent=1024` is the published small model. For one subject set `per_subject=24`.
    """
    return SharedTraining(
        model=ModelSettings(
            n_tokens=256,
            n_features=1664,
            n_latent=4096,
            trunk="released",
            residual_projector=False,
            lowlevel=LowLevelSettings(channels=4, coarse_channels=64, n_maps=512),
            prior=PriorSettings(
                depth=6,
                n_heads=32,
                head_width=52,
                feedforward_multiple=4,
                predict_residual=False,
                condition_in_sequence=True,
                fused_kernels=False,
                released_ddim=True,
            ),
        ),
        targets=TargetSettings(tokens="bigg", latents="sd-latents"),
        losses=LossSettings(
            tokens=0.0,
            prior=30.0,
            contrastive=1.0,
            lowlevel=0.5,
            maps=0.05,
            temperature=0.006,
            soft_temperatures=(0.004, 0.0075),
            mixed_targets=False,
            released_labels=True,
        ),
        closed_form_start=False,
        distinct_images=True,
        n_bank=300,
        per_subject=6,
        epochs=150,
        warmup_epochs=2,
        optimizer=OptimizerSettings(
            max_lr=3e-4, cycle_momentum=True, decayed="released", max_norm=None
        ),
        validate_every=0,
    )


def released_adapt() -> SharedTraining:
    """Return the published fine-tuning of everything for one new subject, from a pretrained run.

    `--init` is a run or imported weights; `sessions` chooses the training sessions.
    """
    return released_training().model_copy(
        update={"subjects": ("subj01",), "per_subject": 24, "released_bias": True}
    )


def standard() -> SharedTraining:
    """Return the recommended multi-subject training at the published size, its defects fixed.

    The backbone is not a no-op, MixCo mixes trials of the same subject, label rows sum to one,
    targets are mixed where betas are, negatives come from all processes, ridges and output layer
    start from their closed-form solutions, and nothing is chosen on test images. The prior is
    trained end to end, its condition summed with the noised tokens.
    """
    base = released_training()
    sizes = base.model
    prior = sizes.prior.model_copy(
        update={
            "predict_residual": True,
            "condition_in_sequence": False,
            "fused_kernels": True,
            "released_ddim": False,
        }
    )
    return base.model_copy(
        update={
            "model": sizes.model_copy(
                update={"trunk": "residual", "residual_projector": True, "prior": prior}
            ),
            "losses": base.losses.model_copy(
                update={"mixed_targets": True, "released_labels": False}
            ),
            "closed_form_start": True,
            "distinct_images": False,
            "optimizer": OptimizerSettings(max_lr=3e-4),
            "validate_every": 714,
        }
    )


def laptop() -> SharedTraining:
    """Return `standard` at laptop size: small tokens, a closed-form start and 200 steps."""
    return SharedTraining()


def embeddings() -> SharedTraining:
    """Return `laptop` for an embedding published without its images: one token, no pictures.

    The default is LAION-fMRI's CLIP. Of another, set `targets.tokens` and `model.n_features`.
    """
    base = laptop()
    return base.model_copy(
        update={
            "model": base.model.model_copy(
                update={"n_tokens": 1, "n_features": 1024, "lowlevel": None}
            ),
            "targets": TargetSettings(tokens="laion-clip"),
            "losses": base.losses.model_copy(update={"lowlevel": 0.0}),
        }
    )


def demo() -> SharedTraining:
    """Return `laptop` for the demo's seven pretraining subjects."""
    return laptop().model_copy(update={"subjects": SUBJECTS})


def adapt() -> AdaptTraining:
    """Return adaptation of a pretrained run to a new subject, with all of its sessions."""
    return AdaptTraining()


def scratch() -> SharedTraining:
    """Return training on the new subject alone, without a pretrained model."""
    base = demo()
    return base.model_copy(
        update={
            "subjects": ("subj08",),
            "train_on": ("train", "validation"),
            "closed_form_start": False,
            "per_subject": 48,
            "optimizer": base.optimizer.model_copy(update={"steps": 300}),
            "train_prior": False,
        }
    )


def ridge() -> SharedTraining:
    """Return ridge regression on the new subject alone: closed form, no backbone, no training."""
    base = scratch()
    return base.model_copy(
        update={
            "closed_form_start": True,
            "train_body": False,
            "model": base.model.model_copy(update={"n_blocks": 0}),
        }
    )


def kriegeskorte92() -> SharedTraining:
    """Return multi-subject training on 69 images a subject: few latent units, noise on betas.

    Settings were chosen on inner folds of the training images; see the page 92 photographs.
    """
    base = laptop()
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
    """Return training of the small image decoder's autoencoder."""
    return AutoencoderTraining()


def unclip() -> UnclipTraining:
    """Return training of the small unCLIP image decoder."""
    return UnclipTraining()


def unclip_sdxl() -> SdxlUnclipTraining:
    """Return training of the full-size unCLIP image decoder from SDXL base, as published."""
    return SdxlUnclipTraining()


def decoder_tuning() -> DecoderTuning:
    """Return fine-tuning of the small unCLIP on features of the images that it generates."""
    return DecoderTuning()


def released() -> ReconstructSettings:
    """Return inference with published weights as in the published code.

    Outputs of single trials are averaged; the prior takes 20 DDIM steps; unCLIP images are refined
    and blended 3:1 with the low-level image. Differs from the published code, which needs exactly
    three presentations and one random stream: any number of presentations, a seed per image.
    """
    return ReconstructSettings(
        subject="subj01",
        average="outputs",
        prior_samples=1,
        ceiling=False,
        refine=RefineSettings(input_size=256, caption_model=BASE),
        size=256,
        antialias=False,
        batch_size=4,
    )


PREPARATION: dict[str, Callable[[], PrepareSettings]] = {
    **SETTINGS,
    "simulated": demo_data,
    "scenes": decoder_scenes,
}
"""Recipes of the prepare stage by KIND, the name of the adapter."""

TRAINING: dict[str, Callable[[], TrainSettings]] = {
    "released": released_training,
    "released_adapt": released_adapt,
    "standard": standard,
    "laptop": laptop,
    "embeddings": embeddings,
    "demo": demo,
    "adapt": adapt,
    "scratch": scratch,
    "ridge": ridge,
    "kriegeskorte92": kriegeskorte92,
    "autoencoder": autoencoder,
    "unclip": unclip,
    "unclip_sdxl": unclip_sdxl,
    "decoder_tuning": decoder_tuning,
}
"""Recipes of the train stage by the name for ``--recipe``."""
