import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.bank import ImageEncoder
from mindeye2.encoders.tokens import Lite0Tokens, cells, fit_projection, load_projection

KEPT = {10: 3, 4: 2}
"""Components by block, not in the order of the blocks."""


@pytest.fixture
def maps(rng):
    return {
        10: torch.randn(20, 6, 14, 14, generator=rng),
        4: torch.randn(20, 4, 7, 7, generator=rng),
    }


@pytest.fixture
def projection(maps):
    return fit_projection({b: cells(m) for b, m in maps.items()}, n_components=KEPT)


def test_a_map_of_the_grid_s_size_is_laid_out_row_by_row(rng):
    maps = torch.randn(2, 5, 7, 7, generator=rng)
    tokens = cells(maps)
    assert tokens.shape == (2, 49, 5)
    torch.testing.assert_close(tokens[1, 2 * 7 + 3], maps[1, :, 2, 3])


def test_a_finer_map_keeps_four_places_of_each_cell(rng):
    maps = torch.randn(1, 1, 28, 28, generator=rng)
    tokens = cells(maps)
    assert tokens.shape == (1, 49, 4)
    torch.testing.assert_close(tokens[0, 8, 0], maps[0, 0, 4:6, 4:6].mean())
    torch.testing.assert_close(tokens[0, 8, 3], maps[0, 0, 6:8, 6:8].mean())


def test_tokens_of_the_fitted_pictures_are_z_scored(projection, maps):
    tokens = projection(list(maps.values()))
    assert tokens.shape == (20, 49, 5)
    torch.testing.assert_close(tokens.mean(dim=0), torch.zeros(49, 5), rtol=0, atol=1e-4)
    torch.testing.assert_close(tokens.std(dim=0), torch.ones(49, 5), rtol=1e-3, atol=0)


def test_axes_are_sklearn_s_principal_components(projection, maps):
    reference = PCA(n_components=3).fit(cells(maps[10]).flatten(0, 1).numpy())
    cosines = (torch.from_numpy(reference.components_) @ projection.axes[10]).abs()
    torch.testing.assert_close(cosines, torch.eye(3), rtol=0, atol=2e-3)


def test_a_stored_projection_gives_the_same_tokens(projection, maps, tmp_path):
    projection.save(tmp_path / "tokens.safetensors")
    loaded = load_projection(tmp_path / "tokens.safetensors")
    assert loaded.blocks == (10, 4)
    first = projection([maps[b] for b in projection.blocks])
    torch.testing.assert_close(loaded([maps[b] for b in loaded.blocks]), first)


def test_a_missing_projection_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nothing\.safetensors is missing"):
        load_projection(tmp_path / "nothing.safetensors")


def test_the_shipped_encoder_gives_49_tokens_of_128(rng):
    encode = Lite0Tokens()
    assert isinstance(encode, ImageEncoder)
    tokens = encode(torch.rand(1, 3, 64, 64, generator=rng))
    assert tokens.shape == (1, 49, 128)
    assert tokens.isfinite().all()


def test_the_key_changes_with_every_part_of_the_projection(projection, monkeypatch):
    monkeypatch.setattr("mindeye2.encoders.tokens.LiteFeatures", lambda _: nn.Identity())
    first = Lite0Tokens(projection).key
    assert Lite0Tokens(projection).key == first
    for part in ("shift", "axes"):
        value = getattr(projection, part)[4].clone()
        getattr(projection, part)[4].add_(1)
        assert Lite0Tokens(projection).key != first, part
        getattr(projection, part)[4].copy_(value)
    for part in ("mean", "std"):
        getattr(projection, part).add_(1)
        assert Lite0Tokens(projection).key != first, part
        getattr(projection, part).sub_(1)
