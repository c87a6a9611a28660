"""Table of the published files: address, size, licence and purpose."""

from dataclasses import dataclass
from pathlib import Path

from mindeye2.core.errors import check_choice

__all__ = ["PUBLISHED", "PublishedFile", "find_published", "published_file"]

HUB = "pscotti/mindeyev2"
"""The data set on the Hugging Face hub that holds the published files."""

_OWN = "not stated per file: see the data set's page; made from NSD, whose terms of use apply too"
_OPENRAIL_PP = "CreativeML Open RAIL++-M (fine-tuned from SDXL base 1.0)"


@dataclass(frozen=True)
class PublishedFile:
    """One published file."""

    path: str
    """Path in its repository."""

    gigabytes: float
    """Approximate size in 1e9 bytes; the hub gives it exactly before a download."""

    licence: str
    """Licence, or where to find it."""

    purpose: str
    """Use, as a phrase for messages."""

    kind: str | None = None
    """Key of `mindeye2.released.kinds.KINDS`; None for files that are used as published."""

    repository: str = HUB
    """Repository on the hub."""

    repository_type: str = "dataset"
    """``"dataset"`` or ``"model"``."""

    @property
    def url(self) -> str:
        """Return the address for a download in a browser."""
        prefix = "datasets/" if self.repository_type == "dataset" else ""
        return f"https://huggingface.co/{prefix}{self.repository}/resolve/main/{self.path}"


def _brain(run: str, gigabytes: float, purpose: str) -> PublishedFile:
    return PublishedFile(f"train_logs/{run}/last.pth", gigabytes, _OWN, purpose, kind="mindeye")


PUBLISHED: dict[str, PublishedFile] = {
    **{
        f"final_subj{n:02d}_pretrained_{sessions}sess_24bs": _brain(
            f"final_subj{n:02d}_pretrained_{sessions}sess_24bs",
            8.9,
            f"brain decoder of subj{n:02d}, fine-tuned on {sessions} session(s)",
        )
        for n in (1, 2, 5, 7)
        for sessions in (40, 1)
    },
    **{
        f"final_multisubject_subj{n:02d}": _brain(
            f"final_multisubject_subj{n:02d}",
            10.3,
            f"pretrained on the seven subjects other than subj{n:02d}; the start of fine-tuning",
        )
        for n in (1, 2, 5, 7)
    },
    "multisubject_subj01_1024hid_nolow_300ep": _brain(
        "multisubject_subj01_1024hid_nolow_300ep",
        2.9,
        "smaller pretrained model (latent 1024, no low-level head), all subjects but subj01",
    ),
    "unclip6": PublishedFile(
        "unclip6_epoch0_step110000.ckpt",
        18.0,
        f"{_OPENRAIL_PP}; its image encoder is OpenCLIP's, MIT",
        "decodes tokens to images; holds OpenCLIP bigG's image tower as well",
        kind="unclip",
    ),
    "sd_image_var_autoenc": PublishedFile(
        "sd_image_var_autoenc.pth",
        0.335,
        "CreativeML Open RAIL-M (Stable Diffusion)",
        "autoencoder of the blurry images",
        kind="lowlevel_vae",
    ),
    "convnext_xlarge": PublishedFile(
        "convnext_xlarge_alpha0.75_fullckpt.pth",
        6.6,
        "CC-BY-NC (VICRegL, Meta)",
        "teacher of the low-level branch; only training needs it",
        kind="convnext_teacher",
    ),
    "bigG_to_L": PublishedFile(
        "bigG_to_L_epoch8.pth",
        0.0071,
        _OWN,
        "converts tokens for the captioner",
        kind="clip_converter",
    ),
    "gnet": PublishedFile(
        "gnet_multisubject.pt",
        1.3,
        _OWN,
        "predicts brain responses to images: the brain-correlation metric",
        kind="gnet",
    ),
    "bigG": PublishedFile(
        "open_clip_pytorch_model.bin",
        10.2,
        "MIT (OpenCLIP, LAION)",
        "encodes images as tokens; unclip6 holds the same image tower",
        kind="clip_tokens",
        repository="laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
        repository_type="model",
    ),
    "zavychromaxl": PublishedFile(
        "zavychromaxl_v30.safetensors",
        6.9,
        "CreativeML Open RAIL++-M (SDXL) and its author's terms on civitai.com",
        "the published refinement's base model; used as published",
    ),
    "sdxl_base": PublishedFile(
        "sd_xl_base_1.0.safetensors",
        6.9,
        "CreativeML Open RAIL++-M",
        "redistributable base model of refinement and of unCLIP's training; used as published",
        repository="stabilityai/stable-diffusion-xl-base-1.0",
        repository_type="model",
    ),
    "coco_images": PublishedFile(
        "coco_images_224_float16.hdf5",
        22.0,
        "NSD's terms of use; COCO's images belong to their photographers",
        "the 73,000 stimuli, for 'mindeye2 prepare released'",
    ),
    **{
        f"betas_subj{n:02d}": PublishedFile(
            f"betas_all_subj{n:02d}_fp32_renorm.hdf5",
            1.9,
            "NSD's terms of use",
            f"betas of subj{n:02d}, for 'mindeye2 prepare released'",
        )
        for n in range(1, 9)
    },
    "brain_region_masks": PublishedFile(
        "brain_region_masks.hdf5",
        0.00084,
        "NSD's terms of use",
        "regions of the brain-correlation metric",
    ),
}
"""Name -> file. Hashes are not listed: downloads are checked against those of the hub."""


def published_file(name: str) -> PublishedFile:
    """Return the published file of a name, or raise a ``ValueError`` with the nearest name."""
    return PUBLISHED[check_choice("--released", name, PUBLISHED)]


def find_published(path: Path) -> PublishedFile | None:
    """Recognise a published file by its own and its folder's name; None where neither is known."""
    path = Path(path).absolute()
    for name, file in PUBLISHED.items():
        own = Path(file.path)
        if own.name == "last.pth":
            if name in {path.parent.name, path.parent.parent.name}:
                return file
        elif path.name == own.name:
            return file
    return None
