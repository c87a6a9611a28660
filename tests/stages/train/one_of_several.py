"""One of the processes that `test_run.py` starts: it trains and says what it met."""

import json
import os
import signal
import sys
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR


def watch(home):
    """Return a list that every file which is opened for writing under a folder comes into."""
    import safetensors.torch

    written = []
    serialize = safetensors.torch.serialize_file

    def seen(event, args):
        if event == "open" and args[2] & WRITING and str(args[0]).startswith(str(home)):
            written.append(str(args[0]))

    def serialized(tensors, path, **rest):  # which opens its file unseen
        written.append(str(path))
        return serialize(tensors, path, **rest)

    sys.addaudithook(seen)
    safetensors.torch.serialize_file = serialized
    return written


def train_all(data, home, index):
    """Be refused, be stopped, go on; return the messages."""
    from mindeye2.core.errors import ArtifactError, InterruptedRun
    from mindeye2.core.settings import build_settings
    from mindeye2.generation.decoders import shipped_decoder
    from mindeye2.stages.train import SharedTraining, UnclipTraining, train
    from mindeye2.stages.train import shared as stage

    given = json.loads((home / "settings.json").read_text())
    shared = build_settings(SharedTraining, given["shared"])
    told, draw = {}, stage.draw_batch

    def run(name, settings, out, **options):
        try:
            train(settings, source=data, out=home / out, device="cpu", **options)
        except (ArtifactError, InterruptedRun, ValueError) as error:
            told[name] = f"{type(error).__name__}: {error}"

    def stopping(*args, step, **kwargs):
        if index == 1 and step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*args, step=step, **kwargs)

    run("odd", shared.model_copy(update={"per_subject": 5}), "odd")
    stage.draw_batch = stopping
    run("stopped", shared, "shared")
    stage.draw_batch = draw
    run("again", shared, "shared")
    run("apart", shared, "elsewhere" if index else "shared", resume=True)
    run("resumed", shared, "shared", resume=True)
    unclip = build_settings(UnclipTraining, given["unclip"])
    run("unclip", unclip, "unclip", init=shipped_decoder())
    return told


def gather():
    """Return rows of both processes, and what each gets back of a gradient."""
    import torch

    from mindeye2.core.processes import gather_rows, own_share

    share, sizes = own_share(), [2, 4]
    own = share.of(torch.arange(6.0), sizes).requires_grad_()
    rows = gather_rows(own, share=share, sizes=sizes)
    (rows * torch.arange(6.0)).sum().backward()
    return {"rows": rows.tolist(), "gradient": own.grad.tolist()}


if __name__ == "__main__":
    source, place, number = Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["RANK"])
    files = watch(place)
    said = {**train_all(source, place, number), **gather(), "written": files}
    (place / f"told-{number}.json").write_text(json.dumps(said))
