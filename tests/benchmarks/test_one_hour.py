import pytest


@pytest.mark.parametrize("n_trials", [None, 75])
def test_every_arm_has_settings_that_exist(load_benchmark, n_trials):
    """The arms name settings in strings, which a renamed setting would leave behind."""
    found = load_benchmark("one_hour").arms(0, n_trials)
    assert found["adapted, closed form"][0].levels == ("closed_form",)
    assert found["scratch"][0].n_trials == n_trials
    assert ("all sessions, ridge" in found) == (n_trials is None)
