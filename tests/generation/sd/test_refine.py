from functools import partial

import pytest
import torch
import torch.nn.functional as F

from mindeye2.core.errors import ArtifactError
from mindeye2.generation.sd.refine import RefineSettings, load_refiner
from mindeye2.generation.sd.unet import UnetSettings, build_unet, take_vector

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def refine(tiny_base):
    quick = {"size": 64, "steps": 3, "last_sigmas": 3, "negative_prompt": "ugly"}
    return load_refiner(RefineSettings(model=str(tiny_base), **quick), device=CPU)


@pytest.fixture
def images(rng):
    return torch.rand(2, 3, 64, 64, generator=rng)


def test_a_refined_image_does_not_depend_on_the_rest_of_its_batch(refine, images):
    together = refine(images, ["a dog", "a cat"], seeds=[1, 2])
    alone = refine(images[1:], ["a cat"], seeds=[2])
    assert together.shape == images.shape
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4)


def test_caption_seed_and_image_each_change_the_result(refine, images):
    start = images[:1]
    first = refine(start, ["a dog"], seeds=[1])
    assert torch.equal(refine(start, ["a dog"], seeds=[1]), first)
    assert not torch.equal(refine(start, ["a cat"], seeds=[1]), first)
    assert not torch.allclose(refine(start, ["a dog"], seeds=[2]), first, atol=1e-3)
    assert not torch.allclose(refine(images[1:], ["a dog"], seeds=[1]), first, atol=1e-3)


def test_captions_are_encoded_by_stock_text_encoders_where_asked(tiny_base, tmp_path):
    """As published: only the negative prompt goes through those of the fine-tuned base model."""
    from diffusers import StableDiffusionXLPipeline

    stock = StableDiffusionXLPipeline.from_pretrained(tiny_base)
    tuned = StableDiffusionXLPipeline.from_pretrained(tiny_base)
    for encoder in (tuned.text_encoder, tuned.text_encoder_2):
        for weight in encoder.parameters():
            weight.data.mul_(1.5)
    tuned.save_pretrained(tmp_path)
    texts = {"prompt": ["a dog", "a cat"], "negative_prompt": ["ugly", "ugly"]}
    expected = stock.encode_prompt(**texts), tuned.encode_prompt(**texts)
    assert not torch.allclose(expected[0][0], expected[1][0], atol=0.1)
    for caption_model, of_captions in ((str(tiny_base), 0), (None, 1), (str(tmp_path), 1)):
        settings = RefineSettings(model=str(tmp_path), caption_model=caption_model)
        refiner = load_refiner(settings, device=CPU)
        given = refiner.encode_text(texts["prompt"], texts["negative_prompt"])
        for i, which in enumerate((of_captions, 1, of_captions, 1)):
            torch.testing.assert_close(given[i], expected[which][i])


def test_a_missing_caption_model_names_its_setting(tiny_base, tmp_path):
    missing = str(tmp_path / "nowhere")
    settings = RefineSettings(model=str(tiny_base), caption_model=missing)
    with pytest.raises(ArtifactError, match=r"nowhere' cannot be .* --set refine.caption_model="):
        load_refiner(settings, device=CPU)


def test_the_size_condition_is_that_of_diffusers(tiny_base, refine, rng):
    """Pooled text, then original size, crop and target size: as diffusers' own interface."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet").eval()
    x, tokens = torch.randn(1, 4, 8, 8, generator=rng), torch.randn(1, 3, 16, generator=rng)
    pooled = torch.randn(1, 8, generator=rng)
    sizes = torch.tensor([[64, 64, 0, 0, 1024, 1024]])
    given = {"text_embeds": pooled, "time_ids": sizes}
    with torch.no_grad():
        theirs = unet(x, 7, tokens, added_cond_kwargs=given, return_dict=False)[0]
    embedded = refine.sdxl.size_vector(original_size=(64, 64), target_size=(1024, 1024))
    vector = torch.cat([pooled, embedded], dim=1)
    ours = refine.sdxl.unet(x, 7, tokens, class_labels=vector, return_dict=False)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_unet_that_takes_the_vector_is_unchanged_and_others_are_refused():
    settings = UnetSettings(
        widths=(32, 32), n_layers=1, depths=(0, 1), head_channels=16, n_features=6, vector_width=8
    )
    unet = build_unet(settings)
    assert take_vector(unet) is unet
    unet.register_to_config(class_embed_type=None)
    with pytest.raises(ValueError, match=r"not SDXL's: its addition_embed_type is None"):
        take_vector(unet)


def test_smaller_images_are_enlarged_first(refine, images):
    small = torch.nn.functional.avg_pool2d(images, 4)
    assert refine(small, ["a", "b"], seeds=[1, 2]).shape == (2, 3, 64, 64)


def test_refinement_starts_from_the_reduced_image_as_published(refine, images, monkeypatch):
    """By a factor of three, bilinear reduction without antialiasing is every third pixel."""
    encoded = []

    def spy(images, **_):
        encoded.append(images)
        raise KeyboardInterrupt

    monkeypatch.setattr(refine.sdxl, "encode_images", spy)
    large = images[..., :63, :63]
    for size in (None, 21):
        monkeypatch.setattr(
            refine, "settings", refine.settings.model_copy(update={"input_size": size})
        )
        with pytest.raises(KeyboardInterrupt):
            refine(large, ["a", "b"], seeds=[1, 2])
    enlarge = partial(F.interpolate, size=(64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(encoded[0], enlarge(large))
    torch.testing.assert_close(encoded[1], enlarge(large[..., 1::3, 1::3]))


def test_each_image_needs_a_caption_and_a_seed(refine, images):
    with pytest.raises(ValueError, match=r"got 2 images, 1 captions and 2 seeds"):
        refine(images, ["a"], seeds=[1, 2])


def test_a_missing_base_model_names_the_setting_that_skips_it(tmp_path):
    settings = RefineSettings(model=str(tmp_path / "nowhere"))
    with pytest.raises(ArtifactError, match=r"cannot be loaded: .* or skip .*refine=null"):
        load_refiner(settings, device=CPU)
