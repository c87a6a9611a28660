"""Golden numbers: see tests/golden/README.md."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
N_VOXELS = 15_724  # by which a checkpoint of NSD's subject 1 is known


@pytest.fixture(scope="session")
def golden_case():
    """Return a function from a case's name to its facts and its arrays."""
    import torch

    def load(name):
        facts = json.loads((GOLDEN / f"{name}.json").read_text())
        arrays = GOLDEN / f"{name}.npz"
        values = np.load(arrays) if arrays.exists() else {}
        return facts, {key: torch.from_numpy(np.asarray(values[key])) for key in values}

    return load


@pytest.fixture(scope="session")
def files(tmp_path_factory, fill, golden_case):
    """Return the published files with weights that are functions of their names."""
    import torch

    from mindeye2.core.torchvision_operators import declare_torchvision_operators

    declare_torchvision_operators()
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("published")
    brain = golden_case("model")[0]["state_dict"]
    fixed = [k for k in brain if k.endswith("freqs") or "noise_scheduler" in k]
    shapes = {k: v for k, v in brain.items() if k not in fixed and "linears.1" not in k}
    shapes["ridge.linears.0.weight"] = [48, N_VOXELS]
    one = fill(shapes)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32,) * 4,
        layers_per_block=1,
    )
    shapes = {k: list(v.shape) for k, v in vae.state_dict().items()}
    converter = {"linear1": (17, 16), "linear2": (24, 24)}
    linears = {f"{n}.weight": s for n, s in converter.items()}
    linears |= {f"{n}.bias": s[:1] for n, s in converter.items()}
    unclip = fill(golden_case("unclip")[0]["state_dict"])
    torch.save({"model_state_dict": one}, folder / "last.pth")
    torch.save({"state_dict": unclip}, folder / "unclip6.ckpt")
    torch.save(fill(shapes), folder / "sd_image_var_autoenc.pth")
    torch.save(fill(linears), folder / "bigG_to_L.pth")
    return folder


@pytest.fixture(scope="session")
def weights(files):
    """Return a folder of imported files."""
    from mindeye2.released.importing import ImportSettings, import_checkpoint

    names = {"brain": "last.pth", "unclip": "unclip6.ckpt"}
    names |= {"lowlevel": "sd_image_var_autoenc.pth", "converter": "bigG_to_L.pth"}
    for name, file in names.items():
        settings = ImportSettings(head_channels=8)
        import_checkpoint(files / file, out=files / "imported" / name, settings=settings)
    return files / "imported"


@pytest.fixture
def alone(weights, tmp_path):
    """Return an imported brain decoder alone in its folder."""
    return Path(shutil.copytree(weights / "brain", tmp_path / "alone" / "brain"))


@pytest.fixture(scope="session")
def git(files, fill, golden_case):
    """Return the folder of a captioner with a vocabulary of a hundred words."""
    from mindeye2.core.torchvision_operators import declare_torchvision_operators

    declare_torchvision_operators()
    from transformers import BertTokenizer, GitConfig, GitForCausalLM

    facts = golden_case("captioner")[0]
    network = GitForCausalLM(GitConfig(**facts["config"], vision_config=facts["vision_config"]))
    network.load_state_dict(fill(facts["state_dict"]), strict=False)
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"word{i}" for i in range(97))]
    (files / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(files / "vocab.txt")).save_pretrained(files / "git")
    network.save_pretrained(files / "git")
    return files / "git"


def write_prepared(folder, *, n_train):
    """Write a prepared data set of subj01: training images, then two seen 3 and 2 times."""
    import pandas as pd

    from mindeye2.core.artifacts import write_manifest

    rng, n = np.random.default_rng(0), n_train + 2
    for name in ("", "betas", "voxels", "targets/bigg", "targets/sd-latents"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shown = [*range(n_train), *[n_train] * 3, *[n_train + 1] * 2]
    np.save(folder / "images.npy", rng.integers(0, 256, (n, 48, 48, 3), np.uint8))
    betas = rng.standard_normal((len(shown), N_VOXELS)).astype(np.float16)
    np.save(folder / "betas" / "subj01.npy", betas)
    tokens = rng.standard_normal((n, 16, 24)).astype(np.float16)
    np.save(folder / "targets" / "bigg" / "values.npy", tokens)
    latents = rng.standard_normal((n, 4, 28, 28)).astype(np.float16)
    np.save(folder / "targets" / "sd-latents" / "values.npy", latents)
    table = pd.DataFrame({"image": shown, "source_image": shown, "trial": range(len(shown))})
    table = table.assign(subject="subj01", session=1, run=1, repeat=0)
    table["split"] = ["train"] * n_train + ["test"] * 5
    table.to_parquet(folder / "trials.parquet")
    pd.DataFrame({"i": range(N_VOXELS)}).to_parquet(folder / "voxels" / "subj01.parquet")
    write_manifest(folder, stage="prepare", config={}, subjects={"subj01": N_VOXELS}, label="")
    return folder


@pytest.fixture(scope="session")
def data(files):
    """Return a prepared data set: six images, the last two are test images seen 3 and 2 times."""
    return write_prepared(files / "data", n_train=4)


@pytest.fixture(scope="module")
def more_data(files):
    """Return the same with thirty training images, among which adaptation can hold some out."""
    return write_prepared(files / "more-data", n_train=30)


@pytest.fixture
def settings(git, tiny_base):
    """Return the published settings with fewer steps and smaller images."""
    from mindeye2.generation.sd.refine import RefineSettings
    from mindeye2.generation.sd.sdxl import SdxlSampling
    from mindeye2.recipes import released

    quick = {
        "model": str(tiny_base),
        "caption_model": str(tiny_base),
        "size": 64,
        "steps": 3,
        "last_sigmas": 2,
    }
    changes = {
        "captioner": str(git),
        "sampling": SdxlSampling(steps=2, size=64),
        "refine": RefineSettings(**quick, negative_prompt="ugly"),
        "size": 32,
        "prior_steps": 3,
    }
    return released().model_copy(update=changes)
