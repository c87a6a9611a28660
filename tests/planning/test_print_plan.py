from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from mindeye2 import recipes
from mindeye2.planning import plan_training, print_plan
from mindeye2.planning.data_size import nsd_size


@pytest.fixture(scope="module")
def plan():
    laptop = recipes.laptop()
    return plan_training(laptop, data=nsd_size([800, 900]), gpu="4090", utilisation=0.25)


def shown(plan):
    text = StringIO()
    print_plan(plan, Console(file=text, width=200))
    return text.getvalue()


def test_every_need_has_a_row(plan):
    text = shown(plan)
    rows = ("parameters", "batch", "GPU memory", "host memory", "disk", "a step", "an epoch")
    assert [row for row in (*rows, "training") if row not in text] == []
    assert f"{plan.n_parameters:,}" in text
    assert "1 x 4090, float32" in text
    assert "25 % of the peak (measured)" in text
    assert "Does not fit" not in text


def test_what_does_not_fit_is_said_with_a_way_out(plan):
    text = shown(replace(plan, fits=False))
    assert "Does not fit" in text
    assert (
        "Plan with more or larger GPUs, or optimizer.precision=bfloat16, or a smaller "
        "model.n_latent." in text
    )
