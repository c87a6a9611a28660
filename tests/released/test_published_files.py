"""The table of published files."""

from pathlib import Path

import pytest

from mindeye2.released.kinds import KINDS
from mindeye2.released.published_files import PUBLISHED, find_published, published_file


def test_every_file_has_a_purpose_an_address_a_size_and_a_licence():
    for name, file in PUBLISHED.items():
        assert file.licence, name
        assert file.purpose, name
        assert 0 < file.gigabytes < 30, name
        assert file.kind is None or file.kind in KINDS, name
        assert file.url.startswith("https://huggingface.co/"), name
    assert {file.kind for file in PUBLISHED.values()} - {None} == set(KINDS)


def test_files_of_the_data_set_and_of_models_have_their_addresses():
    hub = "https://huggingface.co/"
    own = f"{hub}datasets/pscotti/mindeyev2/resolve/main/unclip6_epoch0_step110000.ckpt"
    assert PUBLISHED["unclip6"].url == own
    assert PUBLISHED["bigG"].url.startswith(f"{hub}laion/CLIP-ViT-bigG-14")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/final_subj01_pretrained_40sess_24bs/last.pth", "final_subj01_pretrained_40sess_24bs"),
        ("x/final_multisubject_subj02/fp32/pytorch_model.bin", "final_multisubject_subj02"),
        ("gnet_multisubject.pt", "gnet"),
        ("own/last.pth", None),
    ],
)
def test_a_file_is_recognised_by_its_name(path, name):
    assert find_published(Path(path)) == (PUBLISHED[name] if name else None)


def test_the_nearest_name_is_offered():
    with pytest.raises(ValueError, match=r"--released must be one of.*Did you mean 'unclip6'"):
        published_file("unclip")
