"""Train a brain decoder of either kind, and write what other stages read of it."""

from pathlib import Path

import torch

from mindeye2.data.prepared import Prepared
from mindeye2.models.checkpoint import load_run, save_run
from mindeye2.models.decoder import MindEye
from mindeye2.models.forward_model import load_forward_model
from mindeye2.models.training_bank import TrainingBank, save_training_bank
from mindeye2.stages.train.adapt import AdaptTraining, train_adapt
from mindeye2.stages.train.shared_subject import SharedTraining, train_shared
from mindeye2.stages.train.targets import open_targets
from mindeye2.training.distributed import run_on_rank0
from mindeye2.training.trials import TargetBank, load_trials

__all__ = ["train_brain"]


def train_brain(
    settings: SharedTraining | AdaptTraining,
    *,
    prepared: Prepared,
    init: Path | None,
    out: Path,
    device: torch.device,
) -> dict[str, object]:
    """Train, write model, forward model and training banks; return facts for the manifest."""
    if isinstance(settings, SharedTraining):
        sizes = settings.model
        targets = open_targets(
            settings.targets, prepared=prepared, sizes=sizes, losses=settings.losses
        )
        model, facts = train_shared(
            settings, prepared=prepared, targets=targets, out=out, device=device
        )
    else:
        assert init is not None
        start, forward_model = load_run(init), load_forward_model(init)
        if forward_model is not None:
            run_on_rank0(lambda: forward_model.save(out))
        sizes = start.settings
        targets = open_targets(
            settings.targets, prepared=prepared, sizes=sizes, losses=settings.losses
        )
        model, facts = train_adapt(
            settings,
            model=start.model.to(device),
            prepared=prepared,
            targets=targets,
            out=out,
            device=device,
        )
    facts["images"] = prepared.images_hash

    def save() -> None:
        save_run(out, model=model, settings=sizes, encoder=settings.targets.tokens)
        _save_banks(settings, model, prepared, tokens=targets.tokens, out=out, device=device)

    run_on_rank0(save)
    return facts


@torch.no_grad()
def _save_banks(
    settings: SharedTraining | AdaptTraining,
    model: MindEye,
    prepared: Prepared,
    *,
    tokens: TargetBank,
    out: Path,
    device: torch.device,
) -> None:
    """Write the training bank of each subject that was trained."""
    subjects = model.subjects if isinstance(settings, SharedTraining) else [settings.subject]
    for subject in subjects:
        trials = load_trials(
            prepared,
            subject,
            settings.train_on,
            sessions=settings.sessions,
            n_trials=settings.n_trials,
        ).averaged()
        parts = [
            model(betas.to(device), subject=subject).backbone_tokens.cpu()
            for betas in trials.betas.split(512)
        ]
        captions = prepared.captions
        bank = TrainingBank(
            images=trials.images,
            preds=torch.cat(parts),
            targets=tokens[trials.images],
            captions=captions and [captions[i] for i in trials.images.tolist()],
        )
        save_training_bank(out, subject, bank)
