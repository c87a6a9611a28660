"""Refinement: SDXL image-to-image of reconstructions, guided by their captions, as released."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mindeye2.core.errors import ArtifactError, require
from mindeye2.core.settings import Settings
from mindeye2.generation.sd.sdxl import Sdxl, SdxlSampling
from mindeye2.generation.sd.unet import take_vector
from mindeye2.generation.unclip import image_noise

__all__ = ["BASE", "RefineSettings", "Refiner", "load_refiner"]

BASE = "stabilityai/stable-diffusion-xl-base-1.0"
"""SDXL base on the hub (Podell et al. 2023, arXiv:2307.01952; licence CreativeML Open RAIL++-M,
which allows redistribution). The released code refined with a fine-tune of it, ZavyChromaXL 3."""


class RefineSettings(Settings):
    """Settings of refinement; the defaults are the released ones."""

    model: str = BASE
    """Base model: a name on the hub, a folder in diffusers' layout, or a single file."""

    caption_model: str | None = None
    """Base model whose text encoders encode captions; None takes those of `model`. The released
    code encodes captions by stock CLIP-L and OpenCLIP bigG, which are SDXL base's, and only the
    negative prompt by the text encoders of its fine-tuned model."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 25
    """Evaluations of the U-Net from pure noise."""

    last_sigmas: Annotated[int, Field(ge=2)] = 13
    """Number of the last of ``steps + 1`` noise levels that are visited: more keep less of the
    reconstruction. 13 of 26 evaluate the U-Net 12 times."""

    guidance_scale: float = 5.0
    """Scale of classifier-free guidance against the negative prompt."""

    negative_prompt: str = (
        "painting, extra fingers, mutated hands, poorly drawn hands, poorly drawn face, deformed, "
        "ugly, blurry, bad anatomy, bad proportions, extra limbs, cloned face, skinny, glitchy, "
        "double torso, extra arms, extra hands, mangled fingers, missing lips, ugly face, "
        "distorted face, extra legs, anime"
    )
    """Text of the negative condition."""

    size: Annotated[int, Field(ge=8, multiple_of=8)] = 768
    """Side in pixels of the refined images."""

    input_size: Annotated[int, Field(ge=8)] | None = None
    """Side in pixels to which decoded images are reduced, without antialiasing, before they are
    enlarged to `size`: 256 in the published code, which stored them at that size. None keeps
    them as decoded."""

    target_size: int = 1024
    """Target size in the size condition of the model; the original size is `size`."""


class Refiner:
    """Refine reconstructions: noise half way, then denoise conditioned on captions.

    Parameters
    ----------
    sdxl
        U-Net and VAE of the base model.
    encode_text
        Maps captions and as many negative prompts to tokens and pooled vectors of both, in the
        order of diffusers' ``StableDiffusionXLPipeline.encode_prompt``.
    settings
        Settings of refinement.
    """

    def __init__(
        self,
        *,
        sdxl: Sdxl,
        encode_text: Any,  # noqa: ANN401 - a method of an optional library's class
        settings: RefineSettings,
    ) -> None:
        self.sdxl = sdxl
        self.encode_text = encode_text
        self.settings = settings

    @torch.no_grad()
    def __call__(
        self,
        images: Float[Tensor, "batch rgb height width"],
        captions: Sequence[str],
        *,
        seeds: Sequence[int],
    ) -> Float[Tensor, "batch rgb height2 width2"]:
        """Refine images.

        Parameters
        ----------
        images
            RGB in [0, 1]; resized to ``settings.size``.
        captions
            One caption per image.
        seeds
            One seed per image; an image does not depend on the rest of its batch.

        Returns
        -------
        Tensor
            RGB in [0, 1].

        Raises
        ------
        ValueError
            If there is not one caption and one seed per image.
        """
        if not len(images) == len(captions) == len(seeds):
            raise ValueError(
                f"each image needs a caption and a seed, got {len(images)} images, "
                f"{len(captions)} captions and {len(seeds)} seeds."
            )
        s = self.settings
        if s.input_size is not None:
            images = F.interpolate(images, (s.input_size, s.input_size), mode="bilinear")
        if images.shape[-2:] != (s.size, s.size):
            images = F.interpolate(images, (s.size, s.size), mode="bilinear", antialias=True)
        side = s.size // 8
        noise = image_noise(seeds, (4, side, side), stream="refine encode")
        latents = self.sdxl.encode_images(images, noise=noise)
        tokens, negative, pooled, pooled_negative = self.encode_text(
            list(captions), [s.negative_prompt] * len(captions)
        )
        sizes = self.sdxl.size_vector(
            original_size=(s.size, s.size), target_size=(s.target_size, s.target_size)
        )
        vectors = tuple(
            torch.cat([p.to(sizes), sizes.expand(len(p), -1)], dim=1)
            for p in (pooled, pooled_negative)
        )
        refined = self.sdxl.refine_latents(
            latents,
            tokens,
            unconditional_tokens=negative,
            noise=image_noise(seeds, (4, side, side), stream="refine"),
            steps=s.steps,
            last_sigmas=s.last_sigmas,
            guidance_scale=s.guidance_scale,
            vectors=(vectors[0], vectors[1]),
        )
        return (self.sdxl.decode_latents(refined) / 2 + 0.5).clamp(0, 1)


def load_refiner(
    settings: RefineSettings,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    offload: bool = False,
) -> Refiner:
    """Load the base model with its text encoders through diffusers.

    Parameters
    ----------
    settings
        Base model and sampling.
    device
        Device of the computation.
    dtype
        Precision of U-Net and text encoders.
    offload
        Keep U-Net and VAE in main memory while they are not used.

    Returns
    -------
    Refiner
        In evaluation mode, on `device`.

    Raises
    ------
    ArtifactError
        If the model is neither on disk nor available from the hub, or is no SDXL base model.
    """
    pipe = _load_pipe(settings.model, "refine.model", dtype=dtype)
    texts = pipe
    if settings.caption_model not in (None, settings.model):
        texts = _load_pipe(
            settings.caption_model, "refine.caption_model", dtype=dtype, unet=None, vae=None
        )
    for loaded in (pipe, texts):
        loaded.text_encoder.to(device)
        loaded.text_encoder_2.to(device)

    def encode_text(captions: Sequence[str], negative: Sequence[str]) -> tuple[Any, ...]:
        def encode(encoders: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a diffusers pipeline
            encoded: tuple[Any, ...] = encoders.encode_prompt(
                prompt=list(captions),
                negative_prompt=list(negative),
                device=device,
                do_classifier_free_guidance=True,
            )
            return encoded

        encoded = encode(pipe)
        if texts is pipe:
            return encoded
        of_captions = encode(texts)
        return of_captions[0], encoded[1], of_captions[2], encoded[3]

    width = pipe.unet.config.addition_time_embed_dim
    sdxl = Sdxl(
        unet=take_vector(pipe.unet), vae=pipe.vae, sampling=SdxlSampling(), size_width=width
    )
    sdxl.eval().requires_grad_(requires_grad=False)
    sdxl.to_device(device, dtype=dtype, offload=offload)
    return Refiner(sdxl=sdxl, encode_text=encode_text, settings=settings)


def _load_pipe(name: str | None, setting: str, *, dtype: torch.dtype, **parts: None) -> Any:  # noqa: ANN401
    """Load a base model through diffusers; `parts` that are None are neither read nor fetched."""
    diffusers = require("diffusers", extra="sdxl", purpose="Refinement")
    kind = diffusers.StableDiffusionXLPipeline
    load = kind.from_single_file if Path(str(name)).is_file() else kind.from_pretrained
    try:
        with warnings.catch_warnings():
            # Newer diffusers rename torch_dtype to dtype and warn; older ones accept this only.
            warnings.simplefilter("ignore")
            return load(name, torch_dtype=dtype, add_watermarker=False, **parts)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"the base model {name!r} cannot be loaded: {error} Give the folder of a "
            f"downloaded copy of {BASE}, or one .safetensors file, with --set {setting}=..., "
            "or skip refinement with --set refine=null."
        ) from error
