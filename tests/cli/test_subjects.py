from functools import partial

import pytest

from mindeye2.cli.subjects import load_with_subjects, subjects_of_source
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.settings import load_settings
from mindeye2.recipes import PREPARATION, TRAINING


@pytest.fixture
def data_of(tmp_path):
    def write(*subjects):
        write_manifest(tmp_path, stage="prepare", config={}, subjects=dict.fromkeys(subjects, 7))
        return tmp_path

    return write


def load(recipe, data, *assignments, chosen=None):
    given = partial(load_settings, assignments=assignments)
    return load_with_subjects(TRAINING[recipe](), given, data=data, chosen=chosen)


def test_the_only_subject_of_the_data_is_the_default(data_of):
    assert load("adapt", data_of("sub-01")).subject == "sub-01"
    assert load("ridge", data_of("sub-01"), "per_subject=8").subjects == ("sub-01",)


def test_the_subject_of_the_recipe_stays_where_the_data_have_it(data_of):
    assert load("adapt", data_of("subj01", "subj08")).subject == "subj08"


def test_among_several_subjects_one_must_be_chosen(data_of):
    message = r"has the subjects \['a', 'b'\]: choose one, e\.g\. --subject a\."
    with pytest.raises(ValueError, match=message):
        load("adapt", data_of("a", "b"))
    assert load("adapt", data_of("a", "b"), "subject=b").subject == "b"


def test_a_chosen_subject_is_never_replaced(data_of):
    message = r"the setting subject must be one of \['subj01'\], got 'subj2'\. Did you mean"
    with pytest.raises(ValueError, match=message):
        load("adapt", data_of("subj01"), "subject=subj2")
    with pytest.raises(ValueError, match=r"the setting subjects must be one of .* got 'subj08'"):
        load("ridge", data_of("subj01"), "subjects=[subj08]")


def test_images_without_subjects_are_no_data_to_adapt_with(data_of):
    with pytest.raises(ValueError, match=r"has no subjects, only images"):
        load("adapt", data_of())


def test_image_decoders_need_no_subjects(tmp_path):
    assert load("autoencoder", tmp_path / "nowhere") == TRAINING["autoencoder"]()


def test_the_option_chooses_subjects_before_any_setting(data_of):
    data = data_of("subj01", "subj02", "subj08")
    assert load("adapt", data, "subject=subj08", chosen=["sub-02"]).subject == "subj02"
    chosen = load("standard", data, chosen=["sub-01", "subj08"])
    assert chosen.subjects == ("subj01", "subj08")


def test_the_option_is_refused_in_its_own_name(data_of):
    data = data_of("subj01", "subj02")
    with pytest.raises(ValueError, match=r"--subject must be one of \['subj01', 'subj02'\]"):
        load("adapt", data, chosen=["subj05"])
    with pytest.raises(ValueError, match=r"--subject may be given once here"):
        load("adapt", data, chosen=["subj01", "subj02"])
    with pytest.raises(ValueError, match=r"--subject subj01 has no effect"):
        load("autoencoder", data, chosen=["subj01"])


def test_prepare_takes_subjects_of_sources_that_hold_several():
    assignments = subjects_of_source("nsd", PREPARATION["nsd"](), ["subj01", "subj02"])
    chosen = load_settings(PREPARATION["nsd"](), assignments=assignments)
    assert chosen.nsd.subjects == ("subj01", "subj02")
    assert subjects_of_source("table", PREPARATION["table"](), None) == []
    with pytest.raises(ValueError, match=r"--subject sub-01 has no effect: 'prepare table' takes"):
        subjects_of_source("table", PREPARATION["table"](), ["sub-01"])
