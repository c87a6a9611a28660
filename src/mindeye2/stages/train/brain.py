"""Train a brain decoder of either kind, and write what other stages read of it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from mindeye2.data.prepared import Prepared
from mindeye2.models.checkpoint import LoadedRun, save_run
from mindeye2.models.decoder import MindEye
from mindeye2.models.encoding_models import copy_encoding_models, load_encoding_models
from mindeye2.models.forward_model import copy_forward_model
from mindeye2.models.training_bank import TrainingBank, save_training_bank
from mindeye2.stages.train.adapt import AdaptTraining, train_adapt
from mindeye2.stages.train.shared_subject import SharedTraining, train_shared
from mindeye2.stages.train.training_targets import open_targets, targets_of
from mindeye2.stages.train.training_trials import training_trials
from mindeye2.training.distributed import run_on_rank0
from mindeye2.training.trials import SubjectTrials, TargetBank

__all__ = ["train_brain"]


def train_brain(
    settings: SharedTraining | AdaptTraining,
    *,
    prepared: Prepared,
    start: LoadedRun | None,
    init: Path | None,
    out: Path,
    device: torch.device,
) -> dict[str, object]:
    """Train, write model, forward model and training banks; return facts for the manifest.

    `start` is the pretrained model in the folder `init`, if any.
    """
    chosen = settings.targets
    sizes = settings.model if isinstance(settings, SharedTraining) else None
    if start is not None:
        sizes = start.settings
        # The pretrained model decides what can be predicted.
        if isinstance(settings, SharedTraining) or chosen is None:
            chosen = targets_of(start)
    assert chosen is not None
    assert sizes is not None
    targets = open_targets(chosen, prepared=prepared, sizes=sizes, losses=settings.losses)
    trials = training_trials(settings, prepared, tokens=targets.tokens)
    if init is not None:
        pretrained = init

        def copy() -> None:
            copy_forward_model(pretrained, out)
            copy_encoding_models(pretrained, out)

        run_on_rank0(copy)
    if isinstance(settings, SharedTraining):
        model, facts = train_shared(
            settings,
            trials=trials,
            prepared=prepared,
            targets=targets,
            out=out,
            device=device,
            pretrained=None if start is None else start.model,
        )
    else:
        assert start is not None
        assert init is not None
        model, facts = train_adapt(
            settings,
            trials=trials[settings.subject],
            model=start.model.to(device),
            encoding_models=load_encoding_models(init),
            prepared=prepared,
            targets=targets,
            out=out,
            device=device,
        )
    facts["trials"] = sum(map(len, trials.values()))
    facts["images"] = prepared.images_hash
    facts["design"] = prepared.design
    facts["composed_scenes"] = bool(prepared.manifest.get("simulated", False))

    def save() -> None:
        save_run(out, model=model, settings=sizes, encoder=chosen.tokens)
        _save_banks(
            settings, model, prepared, trials=trials, tokens=targets.tokens, out=out, device=device
        )
        # Only a resumed run needs it.
        shutil.rmtree(out / "closed_form", ignore_errors=True)

    run_on_rank0(save)
    return facts


@torch.no_grad()
def _save_banks(
    settings: SharedTraining | AdaptTraining,
    model: MindEye,
    prepared: Prepared,
    *,
    trials: Mapping[str, SubjectTrials],
    tokens: TargetBank,
    out: Path,
    device: torch.device,
) -> None:
    """Write the training bank of each subject of the model that has trials here."""
    for subject, of_subject in trials.items():
        kept = of_subject.averaged().at_most(settings.n_bank, seed=settings.seed)
        # As float16, as they are stored: at the published size an image's tokens are 0.8 MiB.
        preds = [
            model(betas.to(device), subject=subject).backbone_tokens.half().cpu()
            for betas in kept.betas.split(64)
        ]
        true = [tokens[images].half() for images in kept.images.split(64)]
        captions = prepared.captions
        bank = TrainingBank(
            images=kept.images,
            preds=torch.cat(preds),
            targets=torch.cat(true),
            captions=captions and [captions[i] for i in kept.images.tolist()],
        )
        save_training_bank(out, subject, bank)
