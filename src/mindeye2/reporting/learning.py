"""Training and validation curves from the step logs of runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mindeye2.reporting.content import Curve, CurvePanel

__all__ = ["learning_panels"]

WINDOW = 20
"""Steps of the running mean: single batches vary too much to compare losses."""


def learning_panels(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[CurvePanel]:
    """Return the loss panel and the validation panel of runs, each where a run has values.

    `logs` holds the entries of ``steps.jsonl`` by the name to show: ``step``, ``loss``, and
    ``validation_two_way`` at the steps that were validated.
    """
    losses, scores = [], []
    for name, entries in logs.items():
        if entries:
            losses.append(_loss(name, entries))
        validated = [e for e in entries if "validation_two_way" in e]
        if len(validated) > 1:
            scores.append(
                Curve(
                    name=name,
                    x=[float(e["step"]) for e in validated],
                    y=[e["validation_two_way"] for e in validated],
                )
            )
    panels = []
    if losses:
        panels.append(
            CurvePanel(
                title="Training loss",
                x_label="step",
                y_label="loss",
                curves=losses,
                explanation=f"Running mean of {WINDOW} steps.",
            )
        )
    if scores:
        panels.append(
            CurvePanel(
                title="Validation: two-way identification",
                x_label="step",
                y_label="fraction",
                curves=scores,
                chance=0.5,
                percent=True,
                explanation="On images of the validation split, never on test images.",
            )
        )
    return panels


def _loss(name: str, entries: Sequence[Mapping[str, Any]]) -> Curve:
    losses = pd.Series([e["loss"] for e in entries]).rolling(WINDOW, min_periods=1).mean()
    return Curve(name=name, x=[float(e["step"]) for e in entries], y=losses.tolist())
