"""Gallery of the page as the plain values that its script reads."""

import math
from typing import Any

from mindeye2.reporting.content import ImageScore, ReportContent
from mindeye2.reporting.images import ImageStore

__all__ = ["gallery_values"]


def gallery_values(content: ReportContent, *, image_budget: int) -> dict[str, Any] | None:
    """Return the gallery as JSON values, with images by number; None without items.

    Raises ValueError if an item names a column or a gallery image that does not exist, or an image
    is not RGB in uint8.
    """
    if not content.items:
        return None
    store = ImageStore(budget_bytes=image_budget)
    scores = _image_scores(content)
    pool = [store.add(p, name=f"gallery image {i}") for i, p in enumerate(content.pool)]
    if not pool:
        pool = [store.add(item.seen, name=f"seen {item.name}") for item in content.items]
    items = []
    for row, item in enumerate(content.items):
        for label in item.images:
            if label not in content.columns:
                raise ValueError(
                    f"{item.name} has an image {label!r}, but the columns are "
                    f"{list(content.columns)}. Name it in ReportContent.columns."
                )
        outside = [i for i in item.retrieved if not 0 <= i < len(pool)]
        if outside:
            raise ValueError(
                f"{item.name} retrieves gallery image {outside[0]}, "
                f"but the gallery has 0 to {len(pool) - 1}."
            )
        if item.rank is not None and not 1 <= item.rank <= len(pool):
            raise ValueError(
                f"{item.name} has rank {item.rank}, but the gallery has {len(pool)} images. "
                "Give the whole gallery as ReportContent.pool."
            )
        items.append(
            {
                "name": item.name,
                "seen": store.add(item.seen, name=f"seen {item.name}"),
                "images": [
                    store.add(item.images[label], name=f"{label!r} of {item.name}")
                    if label in item.images
                    else None
                    for label in content.columns
                ],
                "variants": [
                    [label, store.add(image, name=f"{label!r} of {item.name}")]
                    for label, image in item.variants.items()
                ],
                "caption": item.caption,
                "truth": item.true_caption,
                "scores": [_finite(item.scores.get(score.name)) for score in scores],
                "retrieved": [int(i) for i in item.retrieved],
                "target": _whole(row if not content.pool and item.target is None else item.target),
                "rank": _whole(item.rank),
                "seed": _whole(item.seed),
            }
        )
    return {
        "seed": content.sample_seed,
        "captionNote": content.caption_note,
        "columns": [{"label": label, "note": note} for label, note in content.columns.items()],
        "scores": [
            {
                "name": s.name,
                "higher": s.higher_is_better,
                "percent": s.percent,
                "digits": s.digits,
                "note": s.explanation,
            }
            for s in scores
        ],
        "items": items,
        "pool": pool,
        "captions": [item.true_caption for item in content.items] if not content.pool else [],
        "images": store.encode(),
    }


def _image_scores(content: ReportContent) -> list[ImageScore]:
    """Return the listed scores that any item has, then those that only items name."""
    used = dict.fromkeys(name for item in content.items for name in item.scores)
    listed = [score for score in content.image_scores if score.name in used]
    names = {score.name for score in listed}
    return listed + [ImageScore(name=name) for name in used if name not in names]


def _whole(value: int | None) -> int | None:
    """Return NumPy's integers as plain ones, which JSON can hold."""
    return None if value is None else int(value)


def _finite(value: float | None) -> float | None:
    """Return a number that JSON can hold."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None
