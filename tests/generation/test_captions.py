import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.generation.captions import (
    ClipConverter,
    GitCaptioner,
    caption_ids,
    load_captioner,
    nearest_captions,
)

GOLDEN = Path(__file__).parents[1] / "golden"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "##s", "temple"]


def build_git(config, vision):
    """Return transformers' own class at the given sizes."""
    declare_torchvision_operators()
    from transformers import GitConfig, GitForCausalLM

    return GitForCausalLM(GitConfig(**config, vision_config=vision)).eval()


@pytest.fixture(scope="module")
def golden():
    facts = json.loads((GOLDEN / "captioner.json").read_text())
    with np.load(GOLDEN / "captioner.npz") as arrays:
        return facts, {k: torch.from_numpy(arrays[k]) for k in arrays}


@pytest.fixture(scope="module")
def git(golden):
    """Return GIT with weights that are functions of their names: tests/golden/README.md."""
    facts = golden[0]
    network = build_git(facts["config"], facts["vision_config"])
    for key, parameter in network.state_dict().items():
        if key not in facts["state_dict"]:
            continue
        seeded = np.random.RandomState(zlib.crc32(key.encode()))
        w = torch.from_numpy(
            np.asarray(seeded.standard_normal(tuple(parameter.shape)), np.float32)
        )
        if w.ndim >= 2:
            parameter.copy_(w / np.sqrt(np.prod(w.shape[1:])))
        else:
            parameter.copy_(0.1 * w + (1.0 if key.endswith(".weight") else 0.0))
    return network


@pytest.fixture
def tokenizer(tmp_path):
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    return BertTokenizer(str(tmp_path / "vocab.txt"))


def test_each_query_gets_the_caption_of_its_nearest_training_image():
    similarity = torch.tensor([[0.1, 0.9, 0.3], [0.5, -0.2, 0.4]])
    assert nearest_captions(similarity, ["a", "b", "c"]) == ["b", "a"]


def test_a_caption_is_needed_for_each_training_image():
    with pytest.raises(ValueError, match=r"3 training images need as many captions, got 2"):
        nearest_captions(torch.zeros(1, 3), ["a", "b"])


def test_git_generates_the_released_word_pieces(git, golden):
    ids = caption_ids(git, golden[1]["visual_tokens"], max_length=12)
    assert torch.equal(ids, golden[1]["generated"])


def test_git_gets_its_image_encoder_back(git, golden):
    before = git.git.image_encoder
    caption_ids(git, golden[1]["visual_tokens"], max_length=3)
    assert git.git.image_encoder is before


def test_an_image_s_own_encoder_and_its_tokens_give_the_same_caption(git, rng):
    pixels = torch.randn(2, 3, 32, 32, generator=rng)
    encoded = git.git.image_encoder(pixels).last_hidden_state
    theirs = git.generate(pixel_values=pixels, max_length=9, do_sample=False)
    assert torch.equal(caption_ids(git, encoded, max_length=9), theirs)


@torch.no_grad()
def test_the_converter_mixes_tokens_and_then_features(rng):
    converter = ClipConverter(torch.nn.Linear(4, 5), torch.nn.Linear(3, 2))
    tokens = torch.randn(2, 4, 3, generator=rng)
    mixed = torch.einsum("nk,bkf->bnf", converter.linear1.weight, tokens)
    mixed = mixed + converter.linear1.bias[:, None]
    want = mixed @ converter.linear2.weight.T + converter.linear2.bias
    torch.testing.assert_close(converter(tokens), want)


def test_tokens_that_were_not_converted_are_refused(git):
    with pytest.raises(ValueError, match=r"takes 17 tokens of width 24, got \(256, 1664\)"):
        caption_ids(git, torch.zeros(1, 256, 1664))


@pytest.fixture
def small_git():
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = {**sizes, "num_hidden_layers": 1, "image_size": 16, "patch_size": 8}
    return build_git({**sizes, **special, "num_hidden_layers": 1, "vocab_size": 8}, vision)


def test_captions_are_joined_word_pieces(small_git, tokenizer, rng):
    converter = torch.nn.Linear(6, 16)
    caption = GitCaptioner(converter=converter, git=small_git, tokenizer=tokenizer)
    # The most likely word is always "temple".
    small_git.output.weight.data.zero_()
    small_git.output.bias.data.copy_(torch.tensor([-9.0] * 7 + [9.0]))
    assert caption(torch.randn(2, 5, 6, generator=rng), max_length=3) == ["temple temple"] * 2


def test_a_captioner_is_loaded_from_a_folder(small_git, tokenizer, tmp_path, rng):
    small_git.save_pretrained(tmp_path / "git")
    tokenizer.save_pretrained(tmp_path / "git")
    converter = torch.nn.Linear(6, 16)
    loaded = load_captioner(converter, name=str(tmp_path / "git"))
    tokens = torch.randn(2, 5, 6, generator=rng)
    direct = GitCaptioner(converter=converter, git=small_git, tokenizer=tokenizer)
    assert loaded.to(torch.device("cpu"))(tokens) == direct(tokens)


def test_a_missing_captioner_names_the_setting_that_skips_it(tmp_path):
    with pytest.raises(ArtifactError, match=r"cannot be loaded: .*--set captions=false"):
        load_captioner(torch.nn.Linear(6, 16), name=str(tmp_path / "nowhere"))
