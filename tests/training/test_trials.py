import numpy as np
import pandas as pd
import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared
from mindeye2.training.trials import (
    BetaRows,
    SubjectTrials,
    TargetBank,
    TargetRows,
    all_images,
    average_halves,
    load_targets,
    load_trials,
)


@pytest.fixture
def prepared(tmp_path):
    """Return one subject: 2 sessions of 6 trials, 4 training and 2 test images in each."""
    images = [0, 1, 2, 3, 8, 9, 3, 2, 1, 0, 9, 8]
    trials = pd.DataFrame(
        {
            "subject": "subj01",
            "session": [1] * 6 + [2] * 6,
            "image": images,
            "split": ["test" if i > 7 else "train" for i in images],
        }
    )
    (tmp_path / "betas").mkdir()
    betas = np.arange(24, dtype=np.float16).reshape(12, 2)
    np.save(tmp_path / "betas" / "subj01.npy", betas)
    (tmp_path / "targets" / "lite0").mkdir(parents=True)
    np.save(tmp_path / "targets" / "lite0" / "values.npy", np.ones((10, 3), np.float16))
    trials.to_parquet(tmp_path / "trials.parquet", index=False)
    return Prepared(folder=tmp_path, manifest={"subjects": {"subj01": 2}})


def test_trials_come_with_their_own_betas(prepared):
    own = load_trials(prepared, "subj01", ["train"], sessions=[2])
    assert own.images.tolist() == [3, 2, 1, 0]
    assert own.betas[:][:, 0].tolist() == [12, 14, 16, 18]
    assert own.betas[torch.tensor([3, 1])].tolist() == [[18, 19], [14, 15]]
    assert own.betas[:].dtype == torch.float32
    assert own.sessions.tolist() == [2] * 4
    assert len(own) == 4


def test_only_the_first_trials_are_taken_where_a_number_is_given(prepared):
    own = load_trials(prepared, "subj01", ["train"], n_trials=5)
    assert own.images.tolist() == [0, 1, 2, 3, 3]


def test_several_splits_stay_in_the_order_of_the_data_set(prepared):
    own = load_trials(prepared, "subj01", ["test", "train"], sessions=[1])
    assert own.images.tolist() == [0, 1, 2, 3, 8, 9]


def test_a_session_that_is_not_there_meets_those_that_are(prepared):
    message = r"subj01 has no trial of the splits \['train'\] in the sessions \[7\].*\[1, 2\]"
    with pytest.raises(ArtifactError, match=message):
        load_trials(prepared, "subj01", ["train"], sessions=[7])


def test_presentations_of_one_image_are_averaged(prepared):
    averaged = load_trials(prepared, "subj01", ["train"]).averaged()
    assert averaged.images.tolist() == [0, 1, 2, 3]
    assert averaged.betas[:1].tolist() == [[(0 + 18) / 2, (1 + 19) / 2]]


def test_halves_are_every_second_presentation(rng):
    """Against a count by hand, with three or four presentations of each image in any order."""
    images = torch.tensor([5, 2, 9] * 3 + [9])[torch.randperm(10, generator=rng)]
    betas = torch.randn(10, 4, generator=rng)
    trials = SubjectTrials(BetaRows(betas.numpy()), images, torch.ones_like(images))
    wanted = torch.tensor([9, 2, 5])
    found = average_halves(trials, wanted)
    for start, means, counts in (
        (0, found.first, found.n_first),
        (1, found.second, found.n_second),
    ):
        own = [betas[images == image][start::2] for image in wanted]
        torch.testing.assert_close(means, torch.stack([x.mean(dim=0) for x in own]))
        assert counts.tolist() == [len(x) for x in own]
    assert average_halves(trials, torch.tensor([9, 3])) is None
    once = trials.rows((images != 2) | (torch.arange(10) == int((images == 2).nonzero()[0])))
    assert average_halves(once, wanted) is None
    assert average_halves(once, torch.tensor([5])) is not None


def test_rows_are_chosen_by_number_or_by_mask(prepared):
    own = load_trials(prepared, "subj01", ["train"], sessions=[1])
    assert own.rows(torch.tensor([2, 0])).images.tolist() == [2, 0]
    assert own.rows(own.images > 1).images.tolist() == [2, 3]


def test_targets_stay_on_disk_until_their_rows_are_read(prepared):
    bank = load_targets(prepared, "lite0")
    assert isinstance(bank.values, np.memmap)
    rows = bank[torch.tensor([4, 1])]
    assert rows.dtype == torch.float32
    assert rows.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_the_images_of_several_subjects_are_listed_once():
    def subject(*images):
        shown = torch.tensor(images)
        betas = BetaRows(np.zeros((len(images), 1)))
        return SubjectTrials(betas=betas, images=shown, sessions=shown)

    assert all_images({"a": subject(5, 1), "b": subject(1, 3)}).tolist() == [1, 3, 5]


def test_betas_stay_on_disk_until_their_rows_are_read(prepared, monkeypatch):
    read, stored = [], Prepared.betas

    class Spy(np.memmap):
        def __getitem__(self, rows):
            read.append(rows.tolist())
            return np.asarray(self)[rows]

    monkeypatch.setattr(Prepared, "betas", lambda *given: stored(*given).view(Spy))
    own = load_trials(prepared, "subj01", ["train"])
    averaged = own.rows(own.images > 0).averaged().rows(torch.tensor([2, 0]))
    assert read == []
    assert averaged.betas[:].tolist() == [[(6 + 12) / 2, (7 + 13) / 2], [(2 + 16) / 2, 10]]
    assert read == [[3, 6, 1, 8]]


@pytest.mark.parametrize("n_images", [1, 5, 40])
def test_rows_of_averages_are_numpy_s(n_images, rng):
    images = torch.randint(n_images, (60,), generator=rng)
    betas = torch.randn(60, 3, generator=rng).numpy().astype(np.float16)
    averaged = SubjectTrials(betas=BetaRows(betas), images=images, sessions=images).averaged()
    expected = [betas[images == i].astype(np.float32).mean(axis=0) for i in averaged.images]
    rows = torch.randperm(len(expected), generator=rng)
    np.testing.assert_allclose(
        averaged.betas[rows], np.stack(expected)[rows.numpy()], rtol=1e-5, atol=1e-6
    )
    assert torch.equal(torch.cat([*averaged.betas.split(7)]), averaged.betas[:])


def test_averages_are_not_averaged_again(prepared):
    averaged = load_trials(prepared, "subj01", ["train"]).averaged()
    with pytest.raises(ValueError, match="averaged already"):
        averaged.averaged()


def test_at_most_so_many_trials_are_taken_in_their_order(prepared):
    own = load_trials(prepared, "subj01", ["train"])
    few = own.at_most(4, seed=0)
    assert own.at_most(8, seed=0) is own
    assert len(few) == 4
    order = [own.betas[:].tolist().index(row) for row in few.betas[:].tolist()]
    assert order == sorted(order)
    assert few.images.tolist() == own.images[torch.tensor(order)].tolist()


def test_a_block_of_columns_of_some_targets_is_read(rng):
    values = torch.randn(9, 4, 5, generator=rng).numpy()
    flat = TargetBank(values).flat
    rows = torch.tensor([7, 2])
    assert flat.shape == (9, 20)
    np.testing.assert_array_equal(flat[rows, 3:8], values.reshape(9, 20)[[7, 2], 3:8])
    trials = TargetRows(flat, torch.tensor([2, 2, 7]))
    assert trials.shape == (3, 20)
    np.testing.assert_array_equal(trials[torch.tensor([2, 0])], flat[rows])
