"""GNet's readout against a plain sum; its golden numbers are tested in tests/released."""

import torch

from mindeye2.encoders import gnet
from mindeye2.encoders.gnet import GNetReadout, build_gnet


@torch.no_grad()
def test_a_voxel_with_a_one_position_field_reads_that_position(rng):
    readout = GNetReadout(2, sizes=(3, 2), n_features=5)
    readout.rf0[0, 1, 2] = 1e4
    readout.rf1[0, 0, 1] = 1e4
    readout.w.copy_(torch.randn(2, 5, generator=rng))
    fine, coarse = torch.rand(1, 3, 3, 3, generator=rng), torch.rand(1, 2, 2, 2, generator=rng)
    pixels = torch.cat([fine[0, :, 1, 2], coarse[0, :, 0, 1]])
    for _ in range(2):  # compressed before and after pooling
        pixels = torch.log1p(pixels) * torch.tanh(pixels)
    torch.testing.assert_close(readout((fine, coarse))[0, 0], (pixels * readout.w[0]).sum())


@torch.no_grad()
def test_the_number_of_voxels_per_block_does_not_matter(rng, monkeypatch):
    readout = GNetReadout(7, sizes=(3, 2), n_features=5)
    for parameter in readout.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng))
    maps = torch.rand(2, 3, 3, 3, generator=rng), torch.rand(2, 2, 2, 2, generator=rng)
    whole = readout(maps)
    monkeypatch.setattr(gnet, "_VOXELS_AT_ONCE", 3)
    torch.testing.assert_close(readout(maps), whole)


def test_the_published_size_gives_maps_of_25_and_13_positions():
    with torch.device("meta"):
        net = build_gnet(
            trunk_width=64, block_width=256, n_voxels=15_724, size=227, sizes=(25, 13)
        )
        fine, coarse = net.trunk(torch.empty(1, 3, 227, 227))
    assert fine.shape == (1, 256, 25, 25)
    assert coarse.shape == (1, 256, 13, 13)
    assert net.readout.w.shape == (15_724, 512)
