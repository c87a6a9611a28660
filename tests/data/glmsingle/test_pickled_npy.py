import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.glmsingle.pickled_npy import read_pickled_npy

RNG = np.random.default_rng(0)

CONTENT = {
    "betasmd": np.asfortranarray(RNG.normal(size=(2, 3, 4, 5)).astype("f4")),
    "big_endian": np.arange(4, dtype=">f8"),
    "mask": np.array([True, False]),
    "words": np.array(["a", "bcd"]),
    "empty": np.zeros((0, 3)),
    "ragged": [np.arange(2), np.arange(3)],
    "objects": np.array([np.arange(2), None], dtype=object),
    "params": {"tr": 1.6, "n": np.int64(7), "x": np.float32(0.5), "on": [True, None, "text"]},
    "bytes": b"\x00\xff",
}


def write(path, found, protocol):
    """Write as numpy.save does, with any protocol of the pickle."""
    with path.open("wb") as stream:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(stream, header)
        if isinstance(found, bytes):
            stream.write(found)
        else:
            pickle.dump(np.array(found, dtype=object), stream, protocol=protocol)
    return path


def check(found):
    assert set(found) == set(CONTENT)
    for name in ("betasmd", "big_endian", "mask", "words", "empty"):
        np.testing.assert_array_equal(found[name], CONTENT[name])
        assert found[name].dtype.newbyteorder("=") == CONTENT[name].dtype.newbyteorder("=")
    for name in ("ragged", "objects"):
        for one, other in zip(found[name], CONTENT[name], strict=True):
            np.testing.assert_array_equal(one, other)
    assert found["params"] == CONTENT["params"]
    assert found["bytes"] == CONTENT["bytes"]


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_values_are_read_as_numpy_reads_them(tmp_path, protocol):
    check(read_pickled_npy(write(tmp_path / "a.npy", CONTENT, protocol)))


def test_what_numpy_itself_saves_is_read(tmp_path):
    np.save(tmp_path / "a.npy", CONTENT)
    check(read_pickled_npy(tmp_path / "a.npy"))


def test_names_of_numpy_1_are_read(tmp_path):
    """NumPy 2 moved numpy.core to numpy._core; older files name the former."""
    raw = pickle.dumps(np.array(CONTENT, dtype=object), protocol=2)
    old = raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != raw
    check(read_pickled_npy(write(tmp_path / "a.npy", old, 2)))


class Runs:
    """Something that leaves a trace where it is unpickled in good faith."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("position", ["value", "key", "in an array"])
def test_a_malicious_file_is_refused_without_running(tmp_path, protocol, position):
    bad = Runs(os.mkdir, str(tmp_path / "ran"))
    content = {
        "value": {"betasmd": bad},
        "key": {(bad,): 1},
        "in an array": {"betasmd": np.array([bad, None], dtype=object)},
    }[position]
    path = write(tmp_path / "a.npy", content, protocol)
    with pytest.raises(ArtifactError, match=r"holds the name .*mkdir, which could run code"):
        read_pickled_npy(path)
    assert not (tmp_path / "ran").exists()
    np.load(path, allow_pickle=True)  # the trap works
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "bad",
    [
        Runs(eval, "1"),
        Runs(getattr, "a", "upper"),
        Runs(np.load, "x.npy"),
        Runs(np.frombuffer, b"1234"),
        Path("a"),
        np.zeros(2, dtype=[("x", "f4")]),
    ],
    ids=["eval", "getattr", "numpy.load", "frombuffer", "path", "structured"],
)
def test_anything_but_arrays_and_plain_containers_is_refused(tmp_path, bad):
    path = write(tmp_path / "a.npy", {"betasmd": bad}, 4)
    with pytest.raises(ArtifactError, match="could run code when it is read; only arrays"):
        read_pickled_npy(path)


def test_an_array_with_fewer_bytes_than_its_shape_says_is_refused(tmp_path):
    raw = pickle.dumps(np.arange(5, dtype="f8"), protocol=2)
    forged = raw.replace(b"K\x05\x85", b"K\x09\x85")
    assert forged != raw
    with pytest.raises(ArtifactError, match=r"a\.npy is truncated or damaged"):
        read_pickled_npy(write(tmp_path / "a.npy", forged, 2))


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_named(tmp_path, fraction):
    path = write(tmp_path / "a.npy", CONTENT, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(ArtifactError, match=r"a\.npy is truncated"):
        read_pickled_npy(path)


def test_a_plain_array_and_another_content_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(ArtifactError, match=r"type int64, not a pickled dictionary"):
        read_pickled_npy(tmp_path / "a.npy")
    write(tmp_path / "b.npy", [1, 2], 4)
    with pytest.raises(ArtifactError, match=r"holds a (list|ndarray); a dictionary is needed"):
        read_pickled_npy(tmp_path / "b.npy")
