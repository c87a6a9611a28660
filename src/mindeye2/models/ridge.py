"""The subject-specific layers: one linear layer per subject from voxels to shared latents."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.finite import describe_nonfinite

__all__ = ["SubjectRidge", "check_betas"]


def check_betas(betas: Float[Tensor, "batch voxels"], *, subject: str) -> None:
    """Raise ValueError where betas hold NaN or infinite values; the message counts them."""
    if betas.is_meta:
        return
    bad = ~torch.isfinite(betas)
    if bad.any():
        raise ValueError(
            f"betas of subject {subject!r} hold {describe_nonfinite(bad.cpu().numpy())}. "
            "Leave those trials out, or set voxels without signal to 0."
        )


class SubjectRidge(nn.Module):
    """Map the voxels of each subject to the shared latent space.

    One linear layer per subject, because voxel counts differ between subjects. The L2 penalty
    comes from a closed-form start or from the optimiser's weight decay.

    Parameters
    ----------
    n_voxels
        Voxel count of each subject's mask, by subject name.
    n_latent
        Width of the shared latent space.

    References
    ----------
    Scotti et al. 2024, "MindEye2", arXiv:2403.11207.
    """

    def __init__(self, n_voxels: Mapping[str, int], *, n_latent: int) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.maps = nn.ModuleDict()
        for subject, n in n_voxels.items():
            self.add_subject(subject, n_voxels=n)

    @property
    def n_voxels(self) -> dict[str, int]:
        """Return the voxel count by subject name, in the order in which subjects were added."""
        return {subject: self._map(subject).in_features for subject in self.maps}

    def add_subject(self, subject: str, *, n_voxels: int) -> None:
        """Add a randomly initialised linear layer for a new subject.

        Parameters
        ----------
        subject
            Name of the subject, e.g. ``"subj08"``.
        n_voxels
            Voxel count of its mask.

        Raises
        ------
        ValueError
            If the name is taken, empty or holds a dot, or there is no voxel.
        """
        if subject in self.maps:
            raise ValueError(f"subject {subject!r} is in this model already: {list(self.maps)}.")
        if not subject or "." in subject or hasattr(self.maps, subject):
            raise ValueError(
                f"{subject!r} cannot be the name of a subject: it must not be empty, hold a dot "
                "or be a method of Python's dictionaries. Use a name such as 'subj01'."
            )
        if n_voxels < 1:
            raise ValueError(
                f"subject {subject!r} must have at least 1 voxel, got {n_voxels}. Check its mask."
            )
        # The model may be on a GPU already.
        device = next((p.device for p in self.maps.parameters()), None)
        self.maps[subject] = nn.Linear(n_voxels, self.n_latent, device=device)

    @torch.no_grad()
    def replace_subjects(self, n_voxels: Mapping[str, int], *, first_bias: bool) -> None:
        """Keep the maps of these subjects, give the new ones a map each, and drop the others.

        Parameters
        ----------
        n_voxels
            Voxel count by subject name.
        first_bias
            Start a new subject's bias as the first subject's, as the released fine-tuning does.

        Raises
        ------
        ValueError
            If a subject that is kept has another number of voxels.
        """
        bias = self._map(next(iter(self.maps))).bias.clone()
        for subject, n in n_voxels.items():
            known = self.n_voxels.get(subject)
            if known not in (None, n):
                raise ValueError(
                    f"the pretrained model has a ridge of {known} voxels for {subject}, the data "
                    f"set has {n} voxels. It was trained on other data."
                )
            if known is None:
                self.add_subject(subject, n_voxels=n)
                if first_bias:
                    self._map(subject).bias.copy_(bias)
        for subject in set(self.maps) - set(n_voxels):
            del self.maps[subject]

    @torch.no_grad()
    def project(
        self,
        subject: str,
        components: Float[Tensor, "latent components"],
        mean: Float[Tensor, " latent"],
    ) -> None:
        """Limit the map of one subject to orthonormal directions about a mean, in place."""
        layer = self._map(subject)
        components, mean = components.to(layer.weight), mean.to(layer.weight)
        layer.weight.copy_(components @ (components.T @ layer.weight))
        layer.bias.copy_(mean + components @ (components.T @ (layer.bias - mean)))

    def forward(
        self, betas: Float[Tensor, "batch voxels"], *, subject: str
    ) -> Float[Tensor, "batch latent"]:
        """Project one subject's betas.

        Parameters
        ----------
        betas
            Z-scored betas of one subject.
        subject
            The subject that all of `betas` come from.

        Returns
        -------
        Tensor
            Shared latents.

        Raises
        ------
        ValueError
            If the subject is unknown or its voxel count differs from the trained one.
        """
        if subject not in self.maps:
            raise ValueError(
                f"subject {subject!r} is not in this model, which has {list(self.maps)}. "
                "Adapt the model to a new subject first."
            )
        n_voxels = self._map(subject).in_features
        if betas.ndim != 2 or betas.shape[1] != n_voxels:
            raise ValueError(
                f"subject {subject!r} was trained on {n_voxels} voxels, got betas of shape "
                f"{tuple(betas.shape)}. Give (trials, {n_voxels}), with the voxels of the mask "
                "that the model was trained with, in its order."
            )
        latents: Tensor = self.maps[subject](betas)
        return latents

    def _map(self, subject: str) -> nn.Linear:
        layer = self.maps[subject]
        assert isinstance(layer, nn.Linear)
        return layer
