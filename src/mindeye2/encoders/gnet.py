"""GNet: an encoding model from images to voxel responses, for the published brain correlation.

A convolutional trunk shared by subjects, and for each voxel a receptive field and weights of
features (St-Yves et al. 2023, Nature Communications 14:3329). Parameters are named as in the
published file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from mindeye2.core.errors import ArtifactError
from mindeye2.core.tensors import without_values
from mindeye2.encoders.weights import WeightsFile

__all__ = ["GNet", "infer_gnet", "predict_responses", "read_gnet"]

_VOXELS_AT_ONCE = 2048
"""Voxels per block: the features of all voxels and images together would be gigabytes."""


class _TrunkBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(n_in)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv1(self.bn1(x)))


class _Stage(nn.Module):
    """Six blocks; the first channels of each are read out, all are passed to the next."""

    def __init__(self, trunk_width: int, block_width: int) -> None:
        super().__init__()
        self.trunk_width = trunk_width
        self.conv3 = nn.Conv2d(192, 128, 3)
        self.bn1 = nn.BatchNorm2d(192)
        self.conv4a = _TrunkBlock(128, block_width)
        self.conv4b = _TrunkBlock(block_width, block_width)
        self.conv5a = _TrunkBlock(block_width, block_width)
        self.conv5b = _TrunkBlock(block_width, block_width)
        self.conv6a = _TrunkBlock(block_width, block_width)
        self.conv6b = _TrunkBlock(block_width, trunk_width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.trunk_width
        third = F.relu(self.conv3(self.bn1(x)))
        fine = [self.conv4a(third)]
        fine.append(self.conv4b(fine[-1]))
        coarse = [self.conv5a(F.max_pool2d(fine[-1], 3, stride=2, padding=1))]
        for block in (self.conv5b, self.conv6a, self.conv6b):
            coarse.append(block(coarse[-1]))
        return (
            torch.cat([third, *(maps[:, :kept] for maps in fine)], dim=1),
            torch.cat([maps[:, :kept] for maps in coarse], dim=1),
        )


class GNetTrunk(nn.Module):
    """Feature maps of images at two resolutions; widths 64 and 256, size 227 as published.

    The first `trunk_width` channels of each block are read out.
    """

    def __init__(self, *, trunk_width: int, block_width: int, size: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(3, size, size), requires_grad=False)
        first = nn.Sequential(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU())
        self.pre = nn.ModuleDict(
            {
                "conv1": first.append(nn.MaxPool2d(3, stride=2)),
                "conv2": nn.Sequential(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
            }
        )
        self.enc = _Stage(trunk_width, block_width)

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> tuple[Float[Tensor, "batch _ _ _"], Float[Tensor, "batch _ _ _"]]:
        """Compute fine and coarse feature maps of RGB images in [0, 1]."""
        x = images - self.mu
        for part in self.pre.values():
            x = part(x)
        maps: tuple[Tensor, Tensor] = self.enc(x)
        return maps


class GNetReadout(nn.Module):
    """Linear readout from fine and coarse feature maps to the voxels of one subject.

    `sizes` are the sides of the maps, `n_features` the channels of both together.
    """

    def __init__(self, n_voxels: int, *, sizes: Sequence[int], n_features: int) -> None:
        super().__init__()
        for i, size in enumerate(sizes):
            self.register_parameter(f"rf{i}", nn.Parameter(torch.zeros(n_voxels, size, size)))
        self.w = nn.Parameter(torch.zeros(n_voxels, n_features))
        self.b = nn.Parameter(torch.zeros(n_voxels))

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _ _ _"]]
    ) -> Float[Tensor, "batch voxels"]:
        """Predict betas from the trunk's fine and coarse maps."""
        compressed = [_compress(m.flatten(2)) for m in maps]
        parts = []
        for start in range(0, len(self.b), _VOXELS_AT_ONCE):
            chosen = slice(start, start + _VOXELS_AT_ONCE)
            pooled = []
            for i, positions in enumerate(compressed):
                # The receptive field is a softmax over positions.
                field = self.get_parameter(f"rf{i}")[chosen].flatten(1).softmax(dim=1)
                pooled.append(torch.einsum("vp,bcp->bvc", field, positions))
            features = _compress(torch.cat(pooled, dim=2))
            parts.append((features * self.w[chosen]).sum(dim=2) + self.b[chosen])
        return torch.cat(parts, dim=1)


class GNet(nn.Module):
    """Encoding model of one subject: a trunk shared by subjects, and the subject's readout."""

    def __init__(self, *, trunk: GNetTrunk, readout: GNetReadout) -> None:
        super().__init__()
        self.trunk = trunk
        self.readout = readout

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch voxels"]:
        """Predict betas of images.

        Parameters
        ----------
        images
            RGB in [0, 1], 227 x 227 as published (resized with Lanczos).

        Returns
        -------
        Tensor
            Predicted betas, in the published order of voxels.

        Raises
        ------
        ValueError
            If the images have another size than those of the network's training.
        """
        want = tuple(self.trunk.mu.shape[1:])
        if tuple(images.shape[2:]) != want:
            raise ValueError(
                f"GNet takes images of {want[0]} x {want[1]} pixels, got "
                f"{images.shape[2]} x {images.shape[3]}. Resize them first (Lanczos as published)."
            )
        betas: Tensor = self.readout(self.trunk(images))
        return betas


def build_gnet(
    *, trunk_width: int, block_width: int, n_voxels: int, size: int, sizes: Sequence[int]
) -> GNet:
    """Build a GNet without initialisation, to be filled with published weights."""
    return GNet(
        trunk=GNetTrunk(trunk_width=trunk_width, block_width=block_width, size=size),
        readout=GNetReadout(n_voxels, sizes=sizes, n_features=128 + 6 * trunk_width),
    )


def infer_gnet(trunk: Mapping[str, Tensor], readout: Mapping[str, Tensor]) -> GNet:
    """Build a GNet on the meta device, with sizes inferred from its state dicts.

    Raises ``KeyError`` if an entry that gives a size is missing.
    """
    with without_values():
        return build_gnet(
            trunk_width=trunk["enc.conv6b.conv1.weight"].shape[0],
            block_width=trunk["enc.conv4a.conv1.weight"].shape[0],
            n_voxels=readout["b"].shape[0],
            size=trunk["mu"].shape[1],
            sizes=[readout[f"rf{i}"].shape[1] for i in range(2)],
        )


def read_gnet(folder: Path, *, subject: str) -> GNet:
    """Read GNet of one subject from the folder that ``mindeye2 import`` wrote.

    Parameters
    ----------
    folder
        The folder, or its safetensors file.
    subject
        Subject whose voxels are predicted, e.g. ``"subj01"``.

    Returns
    -------
    GNet
        In evaluation mode, frozen, on the CPU.

    Raises
    ------
    ArtifactError
        If the folder holds no GNet, or none of this subject.
    """
    file = WeightsFile(folder, kind="gnet")
    state = file.read()
    known = sorted({n.split(".")[1] for n in state if n.startswith("readout.")})
    if subject not in known:
        raise ArtifactError(f"GNet in {folder} was trained on {known}, not on {subject}.")
    prefixes = ("encoder.", f"readout.{subject}.")
    trunk, readout = (
        {n.removeprefix(p): v for n, v in state.items() if n.startswith(p)} for p in prefixes
    )
    try:
        net = infer_gnet(trunk, readout)
        net.trunk.load_state_dict(trunk, assign=True)
        net.readout.load_state_dict(readout, assign=True)
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"{file.path} does not fit GNet: {error}. Import it again.") from error
    return net.eval().requires_grad_(requires_grad=False)


def predict_responses(
    gnet: GNet, images: Float[Tensor, "batch rgb height width"]
) -> Float[Tensor, "batch voxels"]:
    """Predict betas of images of any size, resized by Pillow's Lanczos filter as published."""
    side = gnet.trunk.mu.shape[-1]
    stored = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    resized = [Image.fromarray(x).resize((side, side), Image.Resampling.LANCZOS) for x in stored]
    batch = torch.from_numpy(np.stack([np.asarray(x) for x in resized])).permute(0, 3, 1, 2)
    betas: Tensor = gnet(batch.float().to(gnet.readout.b.device) / 255)
    return betas.cpu()


def _compress(x: Tensor) -> Tensor:
    """Compress large values and shrink small ones, as published."""
    return torch.log1p(x.abs()) * torch.tanh(x)
