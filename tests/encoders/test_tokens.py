import pytest
import torch
from torch import nn

from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.bank import ImageEncoder
from mindeye2.encoders.tokens import Lite0Tokens, TokenProjection, cells


@pytest.fixture
def projection(rng):
    """Project block 10 (24 numbers per cell) to 3 and block 4 (4 per cell) to 2 features."""
    return TokenProjection(
        blocks=(10, 4),
        shift={10: torch.randn(24, generator=rng), 4: torch.randn(4, generator=rng)},
        components={10: torch.randn(24, 3, generator=rng), 4: torch.randn(4, 2, generator=rng)},
        mean=torch.randn(49, 5, generator=rng),
        std=torch.rand(49, 5, generator=rng) + 0.5,
    )


@pytest.fixture
def maps(rng):
    return [torch.randn(2, 6, 14, 14, generator=rng), torch.randn(2, 4, 7, 7, generator=rng)]


def test_a_map_of_the_grid_s_size_is_laid_out_row_by_row(rng):
    maps = torch.randn(2, 5, 7, 7, generator=rng)
    tokens = cells(maps)
    assert tokens.shape == (2, 49, 5)
    torch.testing.assert_close(tokens[1, 2 * 7 + 3], maps[1, :, 2, 3])


def test_a_finer_map_keeps_four_positions_of_each_cell(rng):
    maps = torch.randn(1, 1, 28, 28, generator=rng)
    tokens = cells(maps)
    assert tokens.shape == (1, 49, 4)
    torch.testing.assert_close(tokens[0, 8, 0], maps[0, 0, 4:6, 4:6].mean())
    torch.testing.assert_close(tokens[0, 8, 3], maps[0, 0, 6:8, 6:8].mean())


def test_a_token_is_the_z_scored_projection_of_its_cell(projection, maps):
    cell = maps[0][1, :, 2:4, 4:6].flatten()  # row 1, column 2 of the grid
    scores = (cell - projection.shift[10]) @ projection.components[10]
    expected = (scores - projection.mean[9, :3]) / projection.std[9, :3]
    torch.testing.assert_close(projection(maps)[1, 9, :3], expected)
    assert projection(maps).shape == (2, 49, 5)


def test_a_stored_projection_gives_the_same_tokens(projection, maps, tmp_path):
    projection.save(tmp_path / "tokens.safetensors")
    loaded = TokenProjection.load(tmp_path / "tokens.safetensors")
    assert loaded.blocks == (10, 4)
    torch.testing.assert_close(loaded(maps), projection(maps))


def test_a_missing_projection_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nothing\.safetensors is missing"):
        TokenProjection.load(tmp_path / "nothing.safetensors")


def test_the_shipped_encoder_gives_49_tokens_of_128(rng):
    encode = Lite0Tokens()
    assert isinstance(encode, ImageEncoder)
    assert encode.key == "lite0-224-bb42acf2abd5a13c"
    tokens = encode(torch.rand(1, 3, 64, 64, generator=rng))
    assert tokens.shape == (1, 49, 128)
    assert tokens.isfinite().all()


def test_the_key_changes_with_every_array_of_the_projection(projection, monkeypatch):
    monkeypatch.setattr("mindeye2.encoders.tokens.LiteFeatures", lambda _: nn.Identity())
    first = Lite0Tokens(projection).key
    assert Lite0Tokens(projection).key == first
    for array in ("shift", "components"):
        value = getattr(projection, array)[4].clone()
        getattr(projection, array)[4].add_(1)
        assert Lite0Tokens(projection).key != first, array
        getattr(projection, array)[4].copy_(value)
    for array in ("mean", "std"):
        getattr(projection, array).add_(1)
        assert Lite0Tokens(projection).key != first, array
        getattr(projection, array).sub_(1)
