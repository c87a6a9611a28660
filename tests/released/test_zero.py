"""DeepSpeed ZeRO folders, written here as DeepSpeed lays them out."""

import math

import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.released.checkpoints import read_checkpoint


@pytest.fixture
def weights(rng):
    """Return two groups of parameters, of sizes that no number of processes divides."""
    shapes = [{"a.weight": (3, 5), "a.bias": (3,)}, {"b.weight": (7, 2), "c": ()}]
    return [{n: torch.randn(s, generator=rng) for n, s in group.items()} for group in shapes]


def write_folder(folder, groups, *, stage, count, extra=None):
    """Write shards as DeepSpeed does: rows cut over processes, or each parameter cut."""
    inner = folder / "last"
    inner.mkdir(parents=True)
    module = {n: v.half() for group in groups for n, v in group.items()}
    module["norm.running"] = torch.arange(4.0)
    model = {
        "module": module,
        "param_shapes": [{n: v.shape for n, v in group.items()} for group in groups],
        "buffer_names": ["norm.running"],
        "shared_params": {"tied": "a.bias"},
        **(extra or {}),
    }
    torch.save(model, inner / "mp_rank_00_model_states.pt")
    for rank in range(count):
        parts = []
        for group in groups:
            if stage < 3:
                row = torch.cat([v.flatten() for v in group.values()])
                each = math.ceil(len(row) / count)
                padded = torch.cat([row, torch.zeros(each * count - len(row))])
                parts.append(padded[rank * each : (rank + 1) * each].clone())
            else:
                cuts = []
                for value in group.values():
                    each = math.ceil(value.numel() / count)
                    padded = torch.cat(
                        [value.flatten(), torch.zeros(each * count - value.numel())]
                    )
                    cuts.append(padded[rank * each : (rank + 1) * each])
                parts.append(torch.cat(cuts))
        flat = "single_partition_of_fp32_groups" if stage < 3 else "fp32_flat_groups"
        optimizer = {"zero_stage": stage, "partition_count": count, flat: parts}
        shard = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        torch.save({"optimizer_state_dict": optimizer}, inner / shard)
    return folder


def whole(state):
    return {n: v if isinstance(v, torch.Tensor) else v.whole() for n, v in state.items()}


@pytest.mark.parametrize("count", [1, 2, 11])
@pytest.mark.parametrize("stage", [2, 3])
def test_shards_are_put_together_in_float32(tmp_path, weights, stage, count):
    folder = write_folder(tmp_path, weights, stage=stage, count=count)
    got = whole(read_checkpoint(folder).content["model_state_dict"])
    want = {n: v for group in weights for n, v in group.items()}
    want |= {"norm.running": torch.arange(4.0), "tied": want["a.bias"]}
    torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_the_folder_of_a_tag_and_the_latest_tag_are_found(tmp_path, weights):
    folder = write_folder(tmp_path, weights, stage=2, count=2)
    (folder / "last").rename(folder / "step100")
    (folder / "latest").write_text("step100\n")
    for given in (folder, folder / "step100"):
        assert "a.weight" in read_checkpoint(given).content["model_state_dict"]


def test_a_missing_or_foreign_shard_is_named(tmp_path, weights):
    folder = write_folder(tmp_path, weights, stage=2, count=3)
    (folder / "last" / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(ArtifactError, match="2 shards, but 3 processes wrote it"):
        read_checkpoint(folder)


def test_a_shard_that_is_too_short_is_named(tmp_path, weights):
    larger = {"param_shapes": [{"a.weight": torch.Size((30, 5)), "a.bias": torch.Size((3,))}]}
    folder = write_folder(tmp_path, weights, stage=2, count=2, extra=larger)
    with pytest.raises(ArtifactError, match=r"before a\.weight"):
        read_checkpoint(folder)
