import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.data.image_collection import open_image_collection


def image(level, size=(40, 30)):
    return Image.new("RGB", size, (level, 0, 255 - level))


def content(level, kind="PNG"):
    stream = io.BytesIO()
    image(level).save(stream, kind)
    return stream.getvalue()


def add(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path):
    for number in range(2):
        with tarfile.open(tmp_path / f"{number:05d}.tar", "w") as archive:
            for item in range(2):
                add(archive, f"{item}.txt", b"a caption")
                add(archive, f"{item}.png", content(100 * number + 10 * item))
    return tmp_path


def test_images_are_read_from_shards_by_number(shards):
    source = open_image_collection(shards)
    assert len(source) == 4
    reds = [source.read(n, size=32).pixels[0, 0, 0] for n in (3, 0, 2, 1)]
    assert reds == [110, 0, 100, 10]


def test_a_folder_is_searched_for_image_files(tmp_path):
    (tmp_path / "inner").mkdir()
    image(7).save(tmp_path / "b.png")
    image(9).convert("L").save(tmp_path / "inner" / "a.JPG", "JPEG")
    (tmp_path / "notes.txt").write_text("no image")
    source = open_image_collection(tmp_path)
    assert len(source) == 2
    assert source.read(0, size=32).pixels[5, 5].tolist() == [7, 0, 248]
    assert source.read(1, size=32).pixels.shape == (32, 32, 3)


def test_of_a_prepared_data_set_only_training_images_are_used(tmp_path):
    import pandas as pd

    images = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2)
    np.save(tmp_path / "images.npy", images.repeat(3, 3))
    splits = pd.DataFrame({"image": [0, 1, 2], "split": ["train", "test", "train"]})
    splits.to_parquet(tmp_path / "trials.parquet")
    write_manifest(tmp_path, stage="prepare", config={}, subjects={})
    source = open_image_collection(tmp_path)
    assert [source.read(n, size=32).pixels.max() for n in range(len(source))] == [0, 2]


def test_the_sizes_of_the_original_are_kept_with_the_square(tmp_path):
    wide = np.arange(80, dtype=np.uint8)[None, :, None].repeat(40, 0).repeat(3, 2)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    found = open_image_collection(tmp_path).read(0, size=20)
    assert found.pixels.shape == (20, 20, 3)
    assert found.original_size == (40, 80)
    assert found.crop == (0, 10)
    assert 18 <= found.pixels[0, 0, 0] <= 23  # the column that was at 20 of 80


def test_a_source_without_images_is_refused_with_what_is_accepted(tmp_path):
    with pytest.raises(ArtifactError, match=r"holds no image: .*nor \.tar shards.*--source"):
        open_image_collection(tmp_path)


def test_a_compressed_shard_is_refused(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w:gz") as archive:
        add(archive, "0.png", content(1))
    with pytest.raises(ArtifactError, match=r"0.tar is truncated, compressed or not a tar"):
        open_image_collection(tmp_path)


def test_a_damaged_image_is_named_with_its_shard_and_offset(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        add(archive, "0.png", content(1)[:20])
    source = open_image_collection(tmp_path / "0.tar")
    with pytest.raises(ArtifactError, match=r"image 0 in .*0.tar \(at byte 512\) cannot be read"):
        source.read(0, size=32)
