"""One of the ranks that `test_distributed.py` starts: a short training for each given setting."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import torch


def batches(step_module):
    """Return the batch of a step, with targets for every loss, as this rank's rows."""
    from mindeye2.training.batch_sampler import BatchSampler, TrainingTargets
    from mindeye2.training.distributed import current_shard
    from mindeye2.training.trials import BetaRows, SubjectTrials, TargetBank

    rng = torch.Generator().manual_seed(0)
    shapes = {"tokens": (4, 6), "latents": (2, 8, 8), "maps": (4, 5), "maps_augmented": (4, 5)}
    banks = {
        name: TargetBank(torch.randn(30, *shape, generator=rng).numpy())
        for name, shape in shapes.items()
    }
    trials = {
        subject: SubjectTrials(
            betas=BetaRows(torch.randn(40, n_voxels, generator=rng).numpy()),
            images=torch.randint(30, (40,), generator=rng),
            sessions=torch.ones(40, dtype=torch.long),
        )
        for subject, n_voxels in (("subj01", 7), ("subj02", 5))
    }
    sample = BatchSampler(
        trials=trials,
        targets=TrainingTargets(**banks),
        losses=step_module.settings,
        prior=step_module.model.prior,
        per_subject=12,
        seed=0,
        device=torch.device("cpu"),
        shard=current_shard(),
    )
    return lambda step: sample(step, mixing=step % 2 == 0, temperature=0.1)


def train(folder, changes, *, stop_after=None):
    """Train in a folder, where an earlier training may have left its state; return the module."""
    from accelerate.utils import gather_object

    from conftest import make_step
    from mindeye2.core.errors import InterruptedRun
    from mindeye2.training.distributed import current_shard, init_processes
    from mindeye2.training.loop import OptimizerSettings, fit

    device = init_processes("cpu")
    module, folder = make_step(), Path(folder)
    batch_of, steps = batches(module), iter(range(1, 100))

    def take_step(*_call):
        if next(steps) == stop_after and current_shard().rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    torch.nn.utils.clip_grads_with_norm_ = counted(torch.nn.utils.clip_grads_with_norm_, take_step)
    folder.mkdir(exist_ok=True, parents=True)
    given = {"steps": 4, "max_lr": 1e-5, "ema_decay": 0.5, "trackers": (), **changes}
    settings = OptimizerSettings(**given)

    def validate():
        # The weights in place are the averages, whole.
        return {"sum": sum(float(p.detach().double().abs().sum()) for p in module.parameters())}

    with contextlib.suppress(InterruptedRun):
        fit(
            module,
            batch_of,
            settings=settings,
            seed=0,
            folder=folder,
            device=device,
            validate=validate,
            validate_every=2,
        )
        sums = gather_object([validate()["sum"]])
        assert len({*sums}) == 1, f"the ranks end with different weights: {sums}"
    return module


def counted(function, before):
    def called(*args, **kwargs):
        before()
        return function(*args, **kwargs)

    return called


if __name__ == "__main__":
    from safetensors.torch import save_file

    sys.path.insert(0, str(Path(__file__).parent))
    home = Path(sys.argv[1])
    for run, given in json.loads((home / "runs.json").read_text()).items():
        plain = torch.nn.utils.clip_grads_with_norm_
        trained = train(home / run, **given)
        torch.nn.utils.clip_grads_with_norm_ = plain
        if os.environ["RANK"] == "0":
            weights = {k: v.contiguous() for k, v in trained.state_dict().items()}
            save_file(weights, home / run / "weights.safetensors")
