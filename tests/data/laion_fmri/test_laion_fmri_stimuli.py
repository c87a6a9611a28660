import h5py
import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.laion_fmri.laion_fmri_stimuli import (
    open_embedding,
    open_images,
    read_laion_captions,
)


def write_embedding(path, *, shape=(3, 1024), names=("a", "b", "c"), valid=(1, 1, 1)):
    with h5py.File(path, "w") as file:
        file["embedding"] = np.ones(shape, "f2")
        file.create_dataset("image_ids", data=list(names), dtype=h5py.string_dtype())
        file["valid"] = np.array(valid, bool)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid": (1, 0, 1)}, r"no valid embedding of 1 images .* first is 'b'.*leave CLIP out"),
        ({"names": ("a", "x", "c")}, r"no valid embedding of 1 images"),
        ({"shape": (3, 768)}, r"shape \(3, 768\) and 3 names; those of CLIP are \(images, 1024\)"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(tmp_path, change, message):
    path = write_embedding(tmp_path / "clip.h5", **change)
    with pytest.raises(ArtifactError, match=message):
        open_embedding(path, name="CLIP", images=["a", "b"])


def test_an_embedding_file_that_was_cut_off_is_named(tmp_path):
    path = write_embedding(tmp_path / "clip.h5")
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ArtifactError, match=r"clip\.h5 \(900 bytes\) is damaged or was not down"):
        open_embedding(path, name="CLIP", images=["a"])


def test_images_of_another_release_are_refused(laion):
    path = laion.root / "stimuli/task-images_stimuli.h5"
    n = len(laion.names)
    with pytest.raises(ArtifactError, match=rf"has {n} images, but .*lists {n + 1}: row by row"):
        open_images(path, rows=np.arange(2), n=n + 1, size=32)


def test_an_image_without_a_human_caption_has_none(tmp_path):
    rows = [("a", 0, "ai", "ai"), ("b", 3, "human", "third "), ("b", 2, "human", "the  second")]
    table = pd.DataFrame(rows, columns=["image_name", "caption_idx", "source", "caption"])
    table.to_csv(tmp_path / "captions.csv", index=False)
    assert read_laion_captions(tmp_path / "captions.csv", ["a", "b"]) == ["", "the second"]
