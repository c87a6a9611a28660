"""Memory and arithmetic of common GPUs, from their makers' data sheets."""

from dataclasses import dataclass

__all__ = ["GPUS", "Gpu", "gpu_named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU model."""

    devices: tuple[str, ...]
    """Names by which drivers report it."""

    gib: float
    """Memory that PyTorch reports, in GiB."""

    float32: float
    """Peak TFLOP/s of float32 on the ordinary cores."""

    tf32: float
    """Peak TFLOP/s of float32 matrices as TF32, without sparsity."""

    bf16: float
    """Peak TFLOP/s of bfloat16 or float16 matrices with float32 sums, without sparsity."""

    bandwidth: float
    """Memory bandwidth in TB/s."""

    def peak(self, precision: str) -> float:
        """Return the peak FLOP/s of matrices in a precision of `OptimizerSettings`."""
        return 1e12 * (self.tf32 if precision == "float32" else self.bf16)


GPUS = {
    "h200": Gpu(
        devices=("NVIDIA H200",), gib=139.8, float32=67, tf32=495, bf16=989, bandwidth=4.8
    ),
    "h100": Gpu(
        devices=("NVIDIA H100 80GB HBM3",),
        gib=79.1,
        float32=67,
        tf32=495,
        bf16=989,
        bandwidth=3.35,
    ),
    "a100": Gpu(
        devices=("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe"),
        gib=79.2,
        float32=19.5,
        tf32=156,
        bf16=312,
        bandwidth=2.04,
    ),
    "a100-40": Gpu(
        devices=("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"),
        gib=39.4,
        float32=19.5,
        tf32=156,
        bf16=312,
        bandwidth=1.56,
    ),
    "l40s": Gpu(
        devices=("NVIDIA L40S",), gib=44.4, float32=91.6, tf32=183, bf16=362, bandwidth=0.864
    ),
    "a6000": Gpu(
        devices=("NVIDIA RTX A6000",), gib=47.4, float32=38.7, tf32=77, bf16=155, bandwidth=0.768
    ),
    "a40": Gpu(
        devices=("NVIDIA A40",), gib=44.4, float32=37.4, tf32=75, bf16=150, bandwidth=0.696
    ),
    "4090": Gpu(
        devices=("NVIDIA GeForce RTX 4090",),
        gib=23.5,
        float32=82.6,
        tf32=82.6,
        bf16=165,
        bandwidth=1.008,
    ),
    "3090": Gpu(
        devices=("NVIDIA GeForce RTX 3090",),
        gib=23.6,
        float32=35.6,
        tf32=35.6,
        bf16=71,
        bandwidth=0.936,
    ),
}
"""By the name for ``--gpu``; SXM where a GPU is sold in several forms."""


def gpu_named(name: str) -> Gpu | None:
    """Return the GPU that a driver reports under a name, if it is known.

    The name must be equal: slower forms and parts of a GPU (PCIe, mobile, MIG) have names that
    only begin like it.
    """
    return next((gpu for gpu in GPUS.values() if name in gpu.devices), None)
