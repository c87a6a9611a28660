"""One of the ranks that `test_run.py` starts: it trains and reports its messages."""

import json
import os
import signal
import sys
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR


def watch(home):
    """Return a list that every file opened for writing under a folder is added to."""
    import safetensors.torch

    written = []
    serialize = safetensors.torch.serialize_file

    def opened(event, args):
        if event == "open" and args[2] & WRITING and str(args[0]).startswith(str(home)):
            written.append(str(args[0]))

    def serialized(tensors, path, **rest):  # which opens its file without an audit event
        written.append(str(path))
        return serialize(tensors, path, **rest)

    sys.addaudithook(opened)
    safetensors.torch.serialize_file = serialized
    return written


def train_all(data, home, rank):
    """Be refused, be stopped, go on; return the messages."""
    from mindeye2.core.errors import ArtifactError, InterruptedRun
    from mindeye2.core.settings import build_settings
    from mindeye2.generation.decoders import shipped_decoder
    from mindeye2.stages.train import SharedTraining, UnclipTraining, train
    from mindeye2.training.brain_step import BrainStep

    given = json.loads((home / "settings.json").read_text())
    shared = build_settings(SharedTraining, given["shared"])
    messages, forward, steps = {}, BrainStep.forward, iter(range(100))

    def run(name, settings, out, **options):
        try:
            train(settings, source=data, out=home / out, device="cpu", **options)
        except (ArtifactError, InterruptedRun, ValueError) as error:
            messages[name] = f"{type(error).__name__}: {error}"

    def stopping(self, *args, **kwargs):
        if next(steps) == 2 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, *args, **kwargs)

    run("odd", shared.model_copy(update={"per_subject": 5}), "odd")
    BrainStep.forward = stopping
    run("stopped", shared, "shared")
    BrainStep.forward = forward
    run("apart", shared, "elsewhere" if rank else "shared", resume=True)
    run("resumed", shared, "shared", resume=True)
    unclip = build_settings(UnclipTraining, given["unclip"])
    run("unclip", unclip, "unclip", init=shipped_decoder())
    return messages


def gather():
    """Return the rows of all ranks, this rank's part of a gradient, and the batch's spread."""
    import torch

    from mindeye2.training.distributed import batch_std, current_shard, gather_rows

    own = current_shard().of(torch.arange(6.0)).requires_grad_()
    rows = gather_rows(own)
    (rows * torch.arange(6.0)).sum().backward()
    std = float(batch_std(own.detach()))
    return {"rows": rows.tolist(), "gradient": own.grad.tolist(), "std": std}


if __name__ == "__main__":
    source, folder, number = Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["RANK"])
    files = watch(folder)
    report = {**train_all(source, folder, number), **gather(), "written": files}
    (folder / f"messages-{number}.json").write_text(json.dumps(report))
