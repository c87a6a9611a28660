"""Halves of the presentations of each test image: its measured responses, its decoded tokens."""

import torch

from mindeye2.metrics.noise_ceiling import Halves
from mindeye2.stages.evaluate.decoded import Decoded
from mindeye2.training.trials import average_halves, load_trials

__all__ = ["decoded_halves", "measured_halves"]


def measured_halves(decoded: Decoded) -> Halves | None:
    """Average the betas of every second presentation of each image, and of the others.

    None where an image was shown once, or the data set lacks the betas.
    """
    subject = str(decoded.manifest["subject"])
    # Imported outputs are scored with the stimuli alone.
    if not (decoded.prepared.folder / "betas" / f"{subject}.npy").exists():
        return None
    split = decoded.manifest.get("config", {}).get("split", "test")
    trials = load_trials(decoded.prepared, subject, [split])
    return average_halves(trials, torch.tensor(decoded.images))


def decoded_halves(decoded: Decoded, *, whitened: bool = False) -> Halves | None:
    """Read the backbone tokens that were decoded from either half of the presentations.

    Where they are to be `whitened`, what retrieval compares of them.

    None where an image was shown once, and for folders of earlier versions.
    """
    names = ("first_half_backbone", "second_half_backbone")
    if not set(names) <= decoded.token_names:
        return None
    n = torch.from_numpy(decoded.items["n_repeats"].to_numpy("int64", copy=True))
    read = decoded.whitened if whitened else decoded.tokens
    first, second = (read(name).flatten(1) for name in names)
    return Halves(first, second, (n + 1) // 2, n // 2)
