"""Too little disk or memory is said before starting."""

import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.released import room
from mindeye2.released.room import check_disk, check_memory, free_disk, readable


def test_a_full_disk_is_named_with_both_sizes(tmp_path):
    inside = tmp_path / "not" / "there" / "yet"
    assert free_disk(inside) > 0
    check_disk(inside, 1, what="importing")
    with pytest.raises(
        ArtifactError, match=r"importing needs 1000000000.0 GB.* are free.*nothing"
    ):
        check_disk(inside, 10**18, what="importing")


def test_little_memory_is_named_with_both_sizes(monkeypatch):
    check_memory(1, what="it")
    with pytest.raises(ArtifactError, match=r"it needs 1000000000.0 GB of memory"):
        check_memory(10**18, what="it")
    monkeypatch.setattr(room, "_available_memory", lambda: None)
    check_memory(10**18, what="it")


def test_sizes_are_readable():
    assert [readable(n) for n in (12, 6.8e6, 1.8e10)] == ["12 bytes", "6.8 MB", "18.0 GB"]
