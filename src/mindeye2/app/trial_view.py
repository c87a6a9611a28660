"""What the page shows of one image, as HTML without files."""

import threading
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.api import Decoder
from mindeye2.core.collected_warnings import with_warnings
from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import open_prepared
from mindeye2.data.prepared.responses import Responses, load
from mindeye2.data.uploads import betas_from_upload, parse_npy
from mindeye2.reporting.strip import strip_html
from mindeye2.stages.reconstruct import ReconstructSettings

__all__ = ["TrialView"]

_MAX_UPLOADED = 1000
_N_RETRIEVED = 5


class TrialView:
    """Decodes one image at a time, of a data set's test split or of an uploaded file.

    Parameters
    ----------
    decoder
        Decodes.
    data
        Prepared data set, whose test images are shown and retrieved from; None for uploads alone.

    Attributes
    ----------
    decoding
        Lock to hold while an image is decoded: by one request at a time, and at the end by the
        process, which PyTorch would abort in the middle of a computation.
    """

    def __init__(self, decoder: Decoder, data: Path | None) -> None:
        self.decoding = threading.Lock()
        self._decoder = decoder
        self._data = data
        self._responses = lru_cache(maxsize=1)(self._load)
        self._gallery_tokens = lru_cache(maxsize=1)(self._encode)

    @property
    def subjects(self) -> list[str]:
        """Subjects that can be decoded, those of the data set first."""
        known: list[str] = []
        if self._data is not None:
            known = open_prepared(self._data).subjects
        return sorted(self._decoder.subjects, key=lambda name: name not in known)

    @property
    def settings(self) -> ReconstructSettings:
        """How the decoder samples and blends before anything is chosen."""
        return self._decoder.settings

    def n_images(self, subject: str) -> int:
        """Return the number of test images of a subject, 0 without data set."""
        found = self._responses(subject)
        return 0 if found is None else len(found)

    def decode(
        self,
        subject: str,
        image: int,
        upload: bytes | None,
        *,
        n_candidates: int,
        n_repeats: int,
        prior_samples: int,
        prior_steps: int,
        lowlevel_weight: float,
    ) -> tuple[str, list[str]]:
        """Decode an image, of the uploaded file if there is one.

        Parameters
        ----------
        subject
            Subject of the betas.
        image
            Number of the image, from 0.
        upload
            Bytes of a ``.npy`` file: (voxels,), (images, voxels) or (images, repeats, voxels).
        n_candidates
            Reconstructions, of as many seeds; the caption and what is retrieved are the first's.
        n_repeats
            Presentations that are averaged, the first ones.
        prior_samples
            Samples of the prior that are averaged.
        prior_steps
            Denoising steps of the prior.
        lowlevel_weight
            Weight of the low-level image in the reconstruction, 0 to 1.

        Returns
        -------
        html : str
            Seen, reconstructed, low-level and retrieved images, and captions.
        warnings : list of str
            E.g. of betas that are not z-scored.

        Raises
        ------
        ValueError
            If something that was chosen or uploaded cannot be decoded.
        """
        responses = self._responses(subject)
        if upload is not None:
            betas = parse_npy(upload, what="the file")
            betas = betas[None] if betas.ndim == 1 else betas
        elif responses is not None:
            betas = responses.betas
        else:
            raise ValueError(
                f"there are no test images of {subject} here: drop a .npy file of its betas."
            )
        betas = betas_from_upload(
            betas,
            subject=subject,
            n_voxels=self._decoder.n_voxels[subject],
            max_images=_MAX_UPLOADED if upload is not None else len(betas),
        )
        if not 0 <= image < len(betas):
            raise ValueError(f"the image must be 0 to {len(betas) - 1}, got {image}.")
        one = betas[image : image + 1]
        one = one[:, :n_repeats] if one.ndim == 3 else one
        decoder = self._decoder.with_settings(
            prior_samples=prior_samples, prior_steps=prior_steps, lowlevel_weight=lowlevel_weight
        )
        decoded, warned = with_warnings(partial(decoder.decode, one, subject=subject))
        others = [decoder.decode(one, subject=subject, seed=s) for s in range(1, n_candidates)]
        rows = {"reconstruction": np.concatenate([d.images for d in (decoded, *others)])}
        if decoded.lowlevel is not None:
            rows["low-level"] = decoded.lowlevel
        if upload is None and responses is not None:
            rows = {"seen": responses.images[image : image + 1], **rows}
        html = strip_html(rows, decoded.captions)
        if responses is not None:
            gallery, k = responses.images, min(_N_RETRIEVED, len(responses))
            found = decoder.retrieve(
                one,
                gallery=gallery,
                subject=subject,
                k=k,
                gallery_tokens=self._gallery_tokens(subject),
            )
            html += strip_html({f"retrieved of {len(gallery)}": gallery[found.indices[0]]}, None)
        return html, warned

    def _encode(self, subject: str) -> Float[Tensor, "gallery tokens features"]:
        """Read the tokens of a subject's test images, or encode them where they are not stored."""
        responses = self._responses(subject)
        assert self._data is not None
        assert responses is not None
        try:
            stored = open_prepared(self._data).targets(self._decoder.encoder)
        except ArtifactError:  # the data set was prepared for another encoder
            return self._decoder.encode_gallery(responses.images)
        return torch.from_numpy(stored[responses.image_rows])

    def _load(self, subject: str) -> Responses | None:
        if self._data is None or subject not in open_prepared(self._data).subjects:
            return None
        return load(self._data, subject=subject)
