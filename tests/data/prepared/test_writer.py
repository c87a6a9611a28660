import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared.writer import write_images, write_rows


class CountedRows:
    """Rows whose reads are counted."""

    def __init__(self, values):
        self.values, self.shape, self.n_reads = values, values.shape, 0

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        self.n_reads += 1
        return self.values[rows]


@pytest.fixture
def trials():
    shown = np.arange(20) % 15
    return pd.DataFrame({"image": shown, "source_image": shown + 100})


def test_images_are_written_once_and_again_where_they_differ(trials, tmp_path):
    images = CountedRows(np.random.default_rng(0).integers(0, 256, (15, 4, 4, 3), dtype=np.uint8))
    written = write_images(tmp_path / "images.npy", images, trials=trials)
    np.testing.assert_array_equal(written, images.values)
    before = images.n_reads
    write_images(tmp_path / "images.npy", images, trials=trials)
    assert images.n_reads == before + 1  # one row, for its type
    other = trials.assign(source_image=trials["source_image"] + 1)
    write_images(tmp_path / "images.npy", images, trials=other)
    assert images.n_reads > before + 2


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 4, 3))],
)
def test_images_of_another_kind_are_refused(trials, tmp_path, images):
    with pytest.raises(
        ArtifactError, match=r"they must be \(images, height, width, 3\) and uint8"
    ):
        write_images(tmp_path / "images.npy", images, trials=trials)


def test_an_incomplete_array_never_has_the_name_of_a_complete_one(tmp_path):
    def blocks():
        yield slice(0, 2), np.ones((2, 3))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_rows(tmp_path / "a.npy", blocks(), shape=(4, 3), dtype=np.float16)
    assert not (tmp_path / "a.npy").exists()
