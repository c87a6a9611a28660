"""Retrieval in other galleries and pools: a table that is folded away, and a warning."""

from collections.abc import Mapping
from typing import Any

from mindeye2.reporting.content import Column, Table, TableRow

__all__ = ["gallery_warnings", "retrieval_table"]


def retrieval_table(result: Mapping[str, Any]) -> Table:
    """Arrange the content of ``retrieval.json``."""
    rows = [
        TableRow(
            label=f"{row['scaling']}, top-{row['k']} of {row['pool']}",
            values={
                "value": row["mean"],
                "low": row["low"],
                "high": row["high"],
                "chance": row["chance"],
            },
        )
        for row in result["rows"]
    ]
    return Table(
        caption=f"Image given brain. The gallery holds {result['n_gallery']} images.",
        columns=[
            Column(key="value", title="Score", percent=True, arrow=False),
            Column(key="low", title="95 % from", percent=True, arrow=False),
            Column(key="high", title="to", percent=True, arrow=False),
            Column(key="chance", title="Chance", percent=True, arrow=False),
        ],
        rows=rows,
        notes=["A smaller pool is scored exactly: the mean over all samples of distractors."],
    )


def gallery_warnings(result: Mapping[str, Any] | None) -> list[str]:
    """Return a warning where the gallery of the variants holds images of training."""
    if result is None or not result["training_images"]:
        return []
    return [
        f"The retrieval gallery of {result['n_gallery']} images ({result['gallery']}) holds "
        f"{result['training_images']} images that were shown in training. Held-out images differ "
        "from them by not having been trained on, which makes them easier or harder to find: "
        "scores in it are no measure of decoding. The headline is of the test images alone."
    ]
