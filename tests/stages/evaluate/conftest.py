"""Networks of the published classes, small where the class allows, with filled weights."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import require
from mindeye2.encoders.feature_extractors import FEATURE_EXTRACTORS

CAPTIONS = [
    "a cat on a mat",
    "two dogs run",
    "a red bus",
    "a man eats",
    "a dog sits",
    "a blue car",
]
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *sorted({w for c in CAPTIONS for w in c.split()})]
N_VOXELS = 24


def filled(network):
    """Fill a network with weights that are functions of their names."""
    for key, parameter in network.state_dict().items():
        if parameter.is_floating_point() and not key.endswith(("running_mean", "running_var")):
            seeded = np.random.RandomState(zlib.crc32(key.encode()))
            w = seeded.standard_normal(tuple(parameter.shape)).astype(np.float32)
            if parameter.ndim >= 2:
                w = w * (2 / np.prod(parameter.shape[1:])) ** 0.5
            else:
                w = 0.1 * w + (1.0 if key.endswith(".weight") else 0.0)
            parameter.copy_(torch.from_numpy(np.asarray(w, dtype=np.float32)))
    return network.eval()


@pytest.fixture(scope="session")
def torchvision_files(tmp_path_factory):
    """Return the folder of torchvision's networks, filled as those of the golden numbers."""
    folder = tmp_path_factory.mktemp("torchvision")
    models = require("torchvision", extra="demo", purpose="A test").models
    names = {
        "alexnet": "alexnet-owt-7be5be79.pth",
        "inception_v3": "inception_v3_google-0cc3c7bd.pth",
        "efficientnet_b1": "efficientnet_b1-c27df63c.pth",
        "resnet50": "swav_800ep_pretrain.pth.tar",
    }
    for model, file in names.items():
        options = {"init_weights": False, "aux_logits": True} if model == "inception_v3" else {}
        state = filled(getattr(models, model)(**options)).state_dict()
        if model == "resnet50":  # as published: with a prefix and without a classifier
            state = {f"module.{k}": v for k, v in state.items() if not k.startswith("fc.")}
        torch.save(state, folder / file)
    return folder


def save_clip_tower(folder):
    """Write an image tower of bigG's layout, as an import does."""
    transformer = require("open_clip.transformer", extra="sdxl", purpose="A test")
    tower = transformer.VisionTransformer(
        image_size=224, patch_size=112, width=6, layers=1, heads=1, mlp_ratio=2, output_dim=4,
        output_tokens=True,
    )  # fmt: skip
    folder.mkdir()
    save_file(
        filled(tower).state_dict(), folder / "clip_tokens.safetensors", {"kind": "clip_tokens"}
    )
    write_manifest(folder, stage="import", config={}, kind="clip_tokens")


def save_clip(path):
    """Write a small CLIP under the name and with the keys of OpenAI's file."""
    model = require("open_clip.model", extra="sdxl", purpose="A test")
    network = model.CLIP(
        16,
        vision_cfg=model.CLIPVisionCfg(layers=1, width=64, patch_size=32, image_size=224),
        text_cfg=model.CLIPTextCfg(context_length=5, vocab_size=9, width=64, heads=1, layers=1),
        quick_gelu=True,
    )
    state = filled(network).state_dict()
    torch.save({k: v for k, v in state.items() if k != "attn_mask"}, path)


def save_texts(folder):
    """Write tiny text encoders and a tiny GIT in transformers' layout."""
    transformers = require("transformers", extra="sdxl", purpose="A test")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    small = {
        "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32,
    }  # fmt: skip
    networks = {
        "all-MiniLM-L6-v2": transformers.BertModel(transformers.BertConfig(**small)),
        "git-large-coco": transformers.GitForCausalLM(
            transformers.GitConfig(
                **small, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                vision_config={"hidden_size": 16, "image_size": 32, "patch_size": 16,
                               "num_hidden_layers": 1, "num_attention_heads": 2,
                               "intermediate_size": 16},
            )
        ),
    }  # fmt: skip
    text = transformers.CLIPTextConfig(
        **small, projection_dim=8, eos_token_id=2, bos_token_id=1, pad_token_id=0
    )
    for name in ("clip-vit-base-patch32", "clip-vit-large-patch14"):
        networks[name] = transformers.CLIPTextModelWithProjection(text)
    for name, network in networks.items():
        filled(network).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    processor = transformers.CLIPImageProcessor(size=32, crop_size=32)
    processor.save_pretrained(folder / "git-large-coco")


def save_gnet(folder, *, subject="subj01", n_voxels=N_VOXELS):
    """Write a narrow GNet of one subject, as an import does."""
    from mindeye2.encoders.gnet import build_gnet

    net = build_gnet(trunk_width=4, block_width=8, n_voxels=n_voxels, size=227, sizes=(25, 13))
    filled(net)
    state = {f"encoder.{k}": v for k, v in net.trunk.state_dict().items()}
    state |= {f"readout.{subject}.{k}": v for k, v in net.readout.state_dict().items()}
    folder.mkdir()
    save_file(state, folder / "gnet.safetensors", {"kind": "gnet"})
    write_manifest(folder, stage="import", config={}, kind="gnet")
    return net


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """Return a folder of all networks but torchvision's."""
    folder = tmp_path_factory.mktemp("networks")
    save_clip(folder / "ViT-L-14.pt")
    save_clip_tower(folder / "clip_tokens")
    save_texts(folder)
    save_gnet(folder / "gnet")
    save_wordnet(folder / "corpora" / "wordnet")
    return folder


def save_wordnet(folder):
    """Write a WordNet database without words."""
    folder.mkdir(parents=True)
    (folder / "lexnames").write_text("00\tadj.all\t3\n")
    for part in ("adj", "adv", "noun", "verb"):
        for name in (f"data.{part}", f"index.{part}", f"{part}.exc"):
            # nltk maps other versions than this one to it.
            (folder / name).write_text("  WordNet 3.0 Copyright\n" if "data" in name else "")
    (folder / "index.sense").write_text("")


@pytest.fixture(scope="session")
def forge(tmp_path_factory):
    """Return a function that writes a data set and reconstructions of given images."""

    def _forge(seen, kinds, *, captions=None, roi=("V1", "V2", "V3", "hV4", "nsdgeneral", "V1")):
        root = tmp_path_factory.mktemp("forged")
        data, decoded = root / "data", root / "decoded"
        n, rng = len(seen), np.random.default_rng(0)
        for name in ("", "betas", "voxels"):
            (data / name).mkdir(parents=True, exist_ok=True)
        training = rng.integers(0, 256, (2, *seen.shape[1:]), np.uint8)
        np.save(data / "images.npy", np.concatenate([seen, training]))
        shown = [*range(n), *range(n), n, n + 1]
        trials = pd.DataFrame({"image": shown, "source_image": shown})
        trials["split"] = ["test"] * 2 * n + ["train"] * 2
        trials.assign(subject="subj01", session=1).to_parquet(data / "trials.parquet")
        betas = rng.standard_normal((len(shown), N_VOXELS)).astype(np.float16)
        np.save(data / "betas" / "subj01.npy", betas)
        labels = [roi[i % len(roi)] for i in range(N_VOXELS)]
        pd.DataFrame({"roi": labels}).to_parquet(data / "voxels" / "subj01.parquet")
        if captions is not None:
            table = {"image": range(n + 2), "caption": [*captions, "", ""]}
            pd.DataFrame(table).to_parquet(data / "captions.parquet")
        write_manifest(data, stage="prepare", config={}, subjects={"subj01": N_VOXELS}, label="")
        decoded.mkdir()
        for kind, images in kinds.items():
            np.save(decoded / f"{kind}.npy", images)
        items = pd.DataFrame({"image": range(n)})
        if captions is not None:
            items["caption"] = captions[::-1]
        items.to_parquet(decoded / "items.parquet", index=False)
        true = torch.randn(n, 4, 6, generator=torch.Generator().manual_seed(1))
        noise = torch.randn(n, 4, 6, generator=torch.Generator().manual_seed(6))
        tokens = {"retrieval": true + 2.5 * noise + 0.5, "true": true}
        save_file(tokens, decoded / "tokens.safetensors")
        write_manifest(
            decoded, stage="reconstruct", config={"source": "../data"}, subject="subj01",
            training_images=[n, n + 1],
        )  # fmt: skip
        return decoded

    return _forge


@pytest.fixture(scope="session")
def six(forge):
    """Return reconstructions of six images with captions."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (6, 8, 8, 3), np.uint8)
    seen = np.kron(coarse, np.ones((1, 8, 8, 1), np.uint8))
    noisy = np.clip(seen + rng.normal(0, 60, seen.shape), 0, 255).astype(np.uint8)
    kinds = {"unclip": seen, "refined": noisy, "blended": noisy[::-1], "lowlevel": 255 - seen}
    return forge(seen, kinds, captions=CAPTIONS)


@pytest.fixture
def summary():
    """Return a function that reads a summary by the names of metrics."""
    return lambda folder: {
        row["name"]: row for row in json.loads((folder / "summary.json").read_text())
    }


@pytest.fixture
def pooling(monkeypatch):
    """Replace each published network but CLIP by the mean colours of four quadrants."""
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2)).eval()
    for name in ("alexnet2", "alexnet5", "inception", "effnet", "swav"):
        small = replace(FEATURE_EXTRACTORS[name], build=lambda _: network, layer="0", size=None)
        monkeypatch.setitem(FEATURE_EXTRACTORS, name, small)


@pytest.fixture
def files(networks, tmp_path):
    """Return the folder of networks with a file for each, so that all are found."""
    folder = tmp_path / "networks"
    folder.symlink_to(networks)
    made = []
    for extractor in FEATURE_EXTRACTORS.values():
        if extractor.download and not (folder / extractor.download.name).exists():
            (folder / extractor.download.name).touch()
            made.append(folder / extractor.download.name)
    yield folder
    for path in made:
        path.unlink()
