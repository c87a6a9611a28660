from mindeye2.data.nsd.facts import SESSIONS, TERMS, TRIALS, VOXELS, old_sessions, runs


def test_the_counts_of_the_release_add_up():
    assert sum(SESSIONS.values()) * TRIALS == 213_000  # trials of all subjects, Allen et al. 2022
    assert list(VOXELS) == list(SESSIONS)
    assert sum(runs()) == TRIALS
    assert len(runs()) == 12


def test_the_older_protocol_has_three_sessions_less():
    assert {old_sessions(subject) for subject in SESSIONS} == {37, 29, 27}


def test_terms_name_both_places_to_agree():
    assert "Terms-and-Conditions" in TERMS
    assert "forms.gle" in TERMS
