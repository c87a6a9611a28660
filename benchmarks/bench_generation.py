"""Measure seconds per image and memory of the published pipeline, part by part.

Run: python benchmarks/bench_generation.py [--device cuda] [--batch 1 8] [--compile] ...
Networks have the published sizes and classes and random weights: the generated images are noise,
at the cost of the published weights. Each part runs once to warm up and then `--repeats` times;
seconds are the median per image, memory is the most that was allocated while the part ran (on a
CPU: by the process). `--tiny` checks on any machine that the script runs. The last line is JSON.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mindeye2.core.errors import require
from mindeye2.core.runtime import generator, peak_memory_gib
from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.encoders.sd_vae import SdLatents, VaeSettings, build_vae
from mindeye2.generation.blend import blend
from mindeye2.generation.captions import ClipConverter, caption_ids
from mindeye2.generation.sd.refine import Refiner, RefineSettings
from mindeye2.generation.sd.sdxl import Sdxl, SdxlSampling
from mindeye2.generation.sd.unet import UnetSettings, build_unet
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TEXT = {"vocab_size": 49408, "max_position_embeddings": 77}


class Sizes:
    """Published sizes, or tiny ones of the same classes."""

    def __init__(self, *, tiny: bool) -> None:
        self.tiny = tiny
        self.tokens = (16, 24) if tiny else (256, 1664)
        self.n_voxels = 50 if tiny else 15_724
        self.steps, self.side = (2, 64) if tiny else (38, 768)
        unet = UnetSettings()
        if tiny:
            unet = UnetSettings(widths=(64, 64), n_layers=1, depths=(0, 1))
        self.unclip = unet.model_copy(update={"n_features": self.tokens[1]})
        self.text_widths = (16, 24) if tiny else (768, 1280)
        pooled = self.text_widths[1]
        conditioning = {"n_features": sum(self.text_widths), "vector_width": pooled + 6 * 256}
        self.base = unet.model_copy(update=conditioning)
        self.vae = VaeSettings(widths=(32,) * 4, n_layers=1) if tiny else VaeSettings()
        self.model = ModelSettings(
            n_tokens=self.tokens[0],
            n_features=self.tokens[1],
            n_latent=32 if tiny else 4096,
            trunk="released",
            n_blocks=4,
            residual_projector=False,
            lowlevel=LowLevelSettings(channels=4, size=7, coarse_channels=64, n_maps=512),
            prior=PriorSettings(
                depth=1 if tiny else 6,
                n_heads=2 if tiny else 32,
                head_width=12 if tiny else 52,
                feedforward_multiple=4,
                predict_residual=False,
                condition_in_sequence=True,
                fused_kernels=False,
                released_ddim=True,
            ),
        )


def filled(build: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Build a network on the meta device, then fill it with small random weights."""
    with torch.device("meta"):
        network = build()
    if dtype != torch.float32:  # diffusers warns of casts, also where nothing is cast
        network.to(dtype)
    network.to_empty(device=device)
    weights = generator(0, "weights", device=device)
    with torch.no_grad():
        for parameter in [*network.parameters(), *network.buffers()]:
            if parameter.is_floating_point():
                parameter.normal_(0, 0.02, generator=weights)
            else:  # text positions
                parameter.copy_(torch.arange(parameter.numel()).view_as(parameter))
    return network.eval().requires_grad_(requires_grad=False)


def text_encoders(
    sizes: Sizes, device: torch.device, dtype: torch.dtype
) -> Callable[[list[str], list[str]], tuple[Tensor, Tensor, Tensor, Tensor]]:
    transformers: Any = require("transformers", extra="sdxl", purpose="The benchmark")
    layers, heads = ((1, 1), (2, 2)) if sizes.tiny else ((12, 32), (12, 20))
    configs = [
        transformers.CLIPTextConfig(
            **TEXT,
            hidden_size=w,
            intermediate_size=4 * w,
            num_hidden_layers=n,
            num_attention_heads=h,
            projection_dim=w,
        )
        for w, n, h in zip(sizes.text_widths, layers, heads, strict=True)
    ]
    first = filled(lambda: transformers.CLIPTextModel(configs[0]), device, dtype)
    second = filled(lambda: transformers.CLIPTextModelWithProjection(configs[1]), device, dtype)

    def encode(captions: list[str], _: list[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ids = torch.ones(2 * len(captions), 77, dtype=torch.long, device=device)
        one = first(ids, output_hidden_states=True)
        two = second(ids, output_hidden_states=True)
        both = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=2)
        conditional, unconditional = both.chunk(2)
        pooled, unconditional_pooled = two.text_embeds.chunk(2)
        return conditional, unconditional, pooled, unconditional_pooled

    return encode


def captioner(
    sizes: Sizes, device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    transformers: Any = require("transformers", extra="sdxl", purpose="The benchmark")
    wide = 24 if sizes.tiny else 1024
    text = {"hidden_size": wide, "intermediate_size": 4 * wide}
    # The published captioner's image encoder is not used: one layer of it stands in.
    vision = {**text, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8} if sizes.tiny else {"patch_size": 14}
    config = transformers.GitConfig(
        **text,
        num_hidden_layers=1 if sizes.tiny else 12,
        num_attention_heads=2 if sizes.tiny else 16,
        vision_config=vision,
    )
    with torch.device(device):
        git = transformers.GitForCausalLM(config).to(dtype).eval()
    n, width = sizes.tokens
    converter = filled(
        lambda: ClipConverter(nn.Linear(n, 17 if sizes.tiny else 257), nn.Linear(width, wide)),
        device,
        dtype,
    )
    return lambda tokens: caption_ids(git, converter(tokens.to(dtype)), max_length=20)


def measured(
    work: Callable[[], object], *, batch: int, repeats: int, device: torch.device
) -> dict[str, float]:
    """Return seconds per image and peak memory in GiB."""
    cuda = device.type == "cuda"

    def wait() -> None:
        if cuda:
            torch.cuda.synchronize(device)

    work()
    wait()
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        wait()
        seconds.append((time.perf_counter() - began) / batch)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if cuda else peak_memory_gib()
    return {
        "seconds_per_image": round(statistics.median(seconds), 4),
        "slowest": round(max(seconds), 4),
        "peak_gib": round(peak, 2),
    }


def tuned(network: Any, options: argparse.Namespace) -> Any:  # noqa: ANN401
    """Apply the chosen optimisations of PyTorch and diffusers."""
    if options.fuse:
        network.fuse_qkv_projections()
    if options.channels_last:
        network.to(memory_format=torch.channels_last)
    if options.compile:
        network.forward = torch.compile(network.forward, dynamic=False)
    return network


class Pipeline:
    """All networks of the published pipeline, and its parts as functions of a batch."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sizes = Sizes(tiny=options.tiny)
        self.device = torch.device(options.device)
        # Half precision is slower on a CPU, where runs only check the script.
        self.dtype = DTYPES[options.dtype] if self.device.type == "cuda" else torch.float32
        sizes, device, whole = self.sizes, self.device, torch.float32
        voxels = {"subj01": sizes.n_voxels}
        self.model = filled(lambda: build_mindeye(sizes.model, voxels), device, whole)
        self.unclip = self._sdxl(sizes.unclip)
        self.refine = Refiner(
            sdxl=self._sdxl(sizes.base),
            encode_text=text_encoders(sizes, device, self.dtype),
            settings=RefineSettings(size=sizes.side),
        )
        self.blurry = SdLatents(filled(self._lowlevel_vae, device, whole))
        self.write = captioner(sizes, device, self.dtype)

    def _lowlevel_vae(self) -> nn.Module:
        return build_vae(self.sizes.vae)

    def _sdxl(self, settings: UnetSettings) -> Sdxl:
        sampling = SdxlSampling(
            steps=self.sizes.steps,
            size=self.sizes.side,
            batched_guidance=not self.options.two_passes,
        )
        unet = filled(lambda: build_unet(settings), self.device, self.dtype)
        vae = filled(lambda: build_vae(self.sizes.vae), self.device, torch.float32)
        return Sdxl(unet=tuned(unet, self.options), vae=vae, sampling=sampling).eval()

    def prior(self, backbone: Tensor, seeds: list[int]) -> Tensor:
        """Sample image tokens."""
        generators = [generator(seed, "prior") for seed in seeds]
        sampled: Tensor = self.model.prior.sample(backbone, steps=20, generator=generators)
        return sampled

    def whole(self, betas: Tensor, seeds: list[int], *, refined: bool) -> Tensor:
        """Reconstruct images from betas, blended with the blurry images."""
        out = self.model(betas, subject="subj01")
        tokens = self.prior(out.backbone_tokens, seeds)
        images = self.unclip.decode(tokens, seeds=seeds)
        self.write(tokens)
        if refined:
            images = self.refine(images, ["a photo"] * len(seeds), seeds=seeds)
        return blend(images, self.blurry.decode(out.lowlevel_latents))

    def parts(self, batch: int) -> dict[str, Callable[[], object]]:
        """Return each part as a function that runs it on one batch."""
        side, seeds = self.sizes.side, list(range(batch))
        betas = torch.randn(batch, self.sizes.n_voxels, device=self.device)
        out = self.model(betas, subject="subj01")
        image = torch.rand(batch, 3, side, side, device=self.device)
        tokens, captions = out.backbone_tokens, ["a photo"] * batch
        return {
            "brain model": lambda: self.model(betas, subject="subj01"),
            "prior": lambda: self.prior(tokens, seeds),
            "unCLIP": lambda: self.unclip.decode(tokens, seeds=seeds),
            "low-level image": lambda: self.blurry.decode(out.lowlevel_latents),
            "caption": lambda: self.write(tokens),
            "refinement": lambda: self.refine(image, captions, seeds=seeds),
            "whole without refinement": lambda: self.whole(betas, seeds, refined=False),
            "whole": lambda: self.whole(betas, seeds, refined=True),
        }


@torch.no_grad()
def time_parts(options: argparse.Namespace) -> dict[str, Any]:
    """Time every part of the pipeline at every batch size."""
    declare_torchvision_operators()
    pipeline = Pipeline(options)
    device = pipeline.device
    results: dict[str, dict[str, dict[str, float]]] = {}
    for batch in options.batch:
        for name, work in pipeline.parts(batch).items():
            row = measured(work, batch=batch, repeats=options.repeats, device=device)
            results.setdefault(f"batch {batch}", {})[name] = row
            print(f"batch {batch}  {name:26s}", row, flush=True)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "options": vars(options),
        "dtype": str(pipeline.dtype),
        "machine": machine,
        "torch": torch.__version__,
        "published_seconds_per_image": 12.1,
        "results": results,
    }


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--dtype", choices=DTYPES, default="float16")
    made.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--compile", action="store_true")
    made.add_argument("--channels-last", action="store_true")
    made.add_argument("--fuse", action="store_true", help="one projection for q, k and v")
    made.add_argument("--two-passes", action="store_true", help="guidance not batched")
    made.add_argument("--tiny", action="store_true")
    return made


if __name__ == "__main__":
    print(json.dumps(time_parts(parser().parse_args())))
