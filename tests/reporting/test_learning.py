import pytest

from mindeye2.reporting import learning_panels

LOG = [{"step": n, "loss": float(n % 2)} for n in range(60)]
VALIDATED = [{**e, "validation_two_way": 0.7} if e["step"] % 30 == 0 else e for e in LOG]


def test_losses_are_running_means_of_twenty_steps():
    (panel,) = learning_panels({"adaptation": LOG})
    (curve,) = panel.curves
    assert curve.x == list(range(60))
    assert curve.y[:3] == pytest.approx([0, 1 / 2, 1 / 3])
    assert curve.y[19:] == pytest.approx([0.5] * 41)


def test_validated_steps_have_a_panel_of_their_own_with_chance():
    loss, validation = learning_panels({"a": VALIDATED, "b": LOG})
    assert [c.name for c in loss.curves] == ["a", "b"]
    assert [(c.name, c.x, c.y) for c in validation.curves] == [("a", [0, 30], [0.7, 0.7])]
    assert validation.chance == 0.5


def test_a_run_without_steps_has_no_curve():
    assert learning_panels({"ridge": []}) == []
