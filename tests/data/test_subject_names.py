import pytest

from mindeye2.data.subject_names import find_subject

NSD = ["subj01", "subj02", "subj10"]


@pytest.mark.parametrize("name", ["subj01", "sub-01", "sub-1", "S1", "1", "subject_001"])
def test_a_subject_is_found_by_its_number(name):
    assert find_subject(name, NSD) == "subj01"


def test_an_exact_name_is_taken_before_one_of_the_same_number():
    assert find_subject("s1", ["sub-01", "s1"]) == "s1"


@pytest.mark.parametrize(
    ("name", "known"),
    [("sub-03", NSD), ("anna", NSD), ("1", ["sub-01", "s1"]), ("sub-01", ["pilot01", "anna"])],
)
def test_other_names_are_refused_with_those_there_are(name, known):
    with pytest.raises(ValueError, match=rf"--subject must be one of .* got '{name}'"):
        find_subject(name, known, what="--subject")
