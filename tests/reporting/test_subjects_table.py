import numpy as np
import pytest
import scipy.stats

from mindeye2.reporting.subjects_table import subjects_table

VALUES = {"subj01": 0.41, "subj02": 0.58, "subj05": 0.35, "subj07": 0.3}


def summaries(*, chances=(0.1,) * 4):
    return {
        name: {"top1": {"title": "Top-1", "value": value, "chance": chance}}
        for (name, value), chance in zip(VALUES.items(), chances, strict=True)
    }


def test_the_mean_has_scipy_s_interval_over_subjects():
    [row] = subjects_table(summaries(), ["top1"], caption="-", n_resamples=9999).rows
    values = np.array(list(VALUES.values()))
    wanted = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert row.values["mean"] == pytest.approx(values.mean())
    assert row.values["low"] == pytest.approx(wanted.low, abs=0.01)
    assert row.values["high"] == pytest.approx(wanted.high, abs=0.01)
    assert {k: row.values[k] for k in VALUES} == VALUES


def test_two_subjects_have_a_mean_and_a_message():
    two = dict(list(summaries().items())[:2])
    table = subjects_table(two, ["top1"], caption="-")
    assert table.rows[0].values["mean"] == pytest.approx(0.495)
    assert "low" not in table.rows[0].values
    assert table.notes == ["No interval over subjects: it needs 3 subjects, and there are 2."]


def test_chance_is_left_out_where_galleries_differ():
    [row] = subjects_table(
        summaries(chances=(0.1, 0.1, 0.1, 0.05)), ["top1"], caption="-", n_resamples=200
    ).rows
    assert row.values["chance"] is None
