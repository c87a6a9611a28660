"""Captions that GIT writes for images themselves: the published reference beside COCO's."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import ArtifactError, require
from mindeye2.generation.captions import GIT

__all__ = ["ImageCaptioner", "load_image_captioner"]


class ImageCaptioner:
    """Caption images by GIT, greedily, as the published evaluation does.

    Parameters
    ----------
    git
        transformers' ``GitForCausalLM``, in evaluation mode.
    processor
        Its image processor.
    tokenizer
        Its tokenizer.
    """

    def __init__(self, git: Any, processor: Any, tokenizer: Any) -> None:  # noqa: ANN401 - ditto
        self._git = git
        self._processor = processor
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def __call__(
        self, images: Float[Tensor, "batch rgb height width"], *, max_length: int = 20
    ) -> list[str]:
        """Caption RGB images in [0, 1]."""
        weight = next(self._git.parameters())
        stored = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        pixels = self._processor(images=list(stored), return_tensors="pt")["pixel_values"]
        ids = self._git.generate(
            pixel_values=pixels.to(weight), max_length=max_length, do_sample=False, num_beams=1
        )
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [str(text).strip() for text in texts]


def load_image_captioner(name: str = GIT, *, device: torch.device | None = None) -> ImageCaptioner:
    """Load GIT with its image processor from a folder or by its name on the hub, frozen.

    Raises ``ArtifactError`` if there is no such folder, and no hub to get it from.
    """
    transformers = require("transformers", extra="evaluation", purpose="Captions by GIT")
    try:
        git = transformers.GitForCausalLM.from_pretrained(name)
        processor = transformers.AutoImageProcessor.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"the captioner {name!r} cannot be loaded: it is no folder of transformers' files, "
            "and the hub cannot be reached or has no such model."
        ) from error
    git = git.to(device or "cpu").eval().requires_grad_(requires_grad=False)
    return ImageCaptioner(git, processor, tokenizer)
