"""The shipped photographs: licences, the table, the two splits, sizes."""

import collections
import re
from pathlib import Path

import numpy as np
import pytest

from mindeye2.data.scenes.photographs import load_photographs, photographs_folder, read_credits

ALLOWED = re.compile(r"public domain|CC0-1\.0|CC-BY-\d\.\d")
FOLDER = Path(str(photographs_folder()))


def test_only_free_licences_without_share_alike_are_shipped():
    assert all(ALLOWED.fullmatch(row.licence) for row in read_credits())


def test_every_shipped_file_is_credited_once_and_every_credit_has_its_file():
    shipped = {p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*.webp")}
    credited = [row.file for row in read_credits()]
    assert len(credited) == len(set(credited))
    assert shipped == set(credited)


def test_every_credit_names_author_package_and_path():
    assert all(row.author and row.package and row.path for row in read_credits())


def test_attribution_licences_say_where_the_photograph_is_from_or_who_took_it():
    rows = [row for row in read_credits() if row.licence.startswith("CC-BY")]
    assert rows
    assert all(not row.author.startswith("unknown") for row in rows)


@pytest.mark.parametrize("kind", ["cutout", "background"])
def test_no_source_is_in_both_halves(kind):
    sides = collections.defaultdict(set)
    for row in read_credits():
        if row.kind == kind:
            sides[row.source].add(row.split)
    assert all(len(splits) == 1 for splits in sides.values())


def test_no_photograph_is_in_both_halves():
    sides = collections.defaultdict(set)
    for row in read_credits():
        sides[row.package, row.path].add(row.split)
    assert all(len(splits) == 1 for splits in sides.values())


@pytest.mark.parametrize(("kind", "least"), [("cutout", 150), ("background", 60)])
def test_a_quarter_of_each_kind_is_kept_for_testing(kind, least):
    splits = [row.split for row in read_credits() if row.kind == kind]
    assert len(splits) >= least
    assert 0.2 < splits.count("test") / len(splits) < 0.3


def test_large_categories_are_in_both_splits():
    counts = collections.Counter((row.kind, row.category) for row in read_credits())
    halves = {(row.kind, row.category, row.split) for row in read_credits()}
    for (kind, category), count in counts.items():
        if count >= 4:
            assert {(kind, category, "train"), (kind, category, "test")} <= halves


def test_captions_carry_what_a_sentence_needs():
    for row in read_credits():
        assert row.caption == row.caption.strip()
        assert bool(row.preposition) == (row.kind == "background")


def test_the_files_stay_under_eight_megabytes():
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 8_000_000


@pytest.mark.parametrize("split", ["train", "test"])
def test_cutouts_have_an_object_and_a_transparent_surrounding(split):
    for cutout in load_photographs(split=split).cutouts:
        assert cutout.rgba.dtype == np.uint8
        assert cutout.rgba.shape[2] == 4
        assert 60 <= max(cutout.rgba.shape[:2]) <= 200
        alpha = cutout.rgba[..., 3]
        assert 0.05 < (alpha > 128).mean() < 0.995


@pytest.mark.parametrize("split", ["train", "test"])
def test_backgrounds_are_square_images_with_content(split):
    for background in load_photographs(split=split).backgrounds:
        assert background.rgb.shape == (256, 256, 3)
        assert background.rgb.dtype == np.uint8
        assert background.rgb.std() > 10


def test_the_library_is_decoded_once_and_cannot_be_written_to():
    library = load_photographs(split="test")
    assert load_photographs(split="test") is library
    with pytest.raises(ValueError, match="read-only"):
        library.backgrounds[0].rgb[0] = 0


def test_an_unknown_split_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"\['test', 'train'\], got 'tests'.*'test'"):
        load_photographs(split="tests")
