"""Conclusions of the battery: one sentence per check, and whether it warns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import scipy

from mindeye2.stages.evaluate.battery_controls import NEAREST, RANDOM, RUN, SHUFFLED

__all__ = ["Finding", "find_artefacts"]

ALPHA = 0.05
"""Level of the tests of one check, divided by their number (Bonferroni)."""

FEW_DIMENSIONS = 0.1
"""Effective rank of predicted tokens, as a fraction of that of the true ones, below which output
has collapsed."""

RECOVERED = 0.9
"""Fraction of the run's gain over shuffled betas that a bottleneck must keep to be named."""


@dataclass(frozen=True)
class Finding:
    """Conclusion of one check."""

    check: str
    """Name."""
    level: Literal["ok", "warning"]
    """Whether it casts doubt on the scores."""
    text: str
    """One or two sentences with the numbers."""


def find_artefacts(result: Mapping[str, Any]) -> list[Finding]:
    """Draw the conclusions of the content of ``battery.json``."""
    return [
        *_brain(result),
        *_random(result),
        *_lookup(result),
        *_bottleneck(result),
        *_clusters(result),
        *_dimensions(result),
        *_copies(result),
    ]


def _compare(result: Mapping[str, Any], control: str) -> dict[str, list[str]] | None:
    """Sort metrics by whether the run is better than a control, worse, or neither."""
    row = next((r for r in result["controls"] if r["name"] == control), None)
    if row is None or not row["scores"]:
        return None
    verdicts: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    for name, score in row["scores"].items():
        metric, gap = result["metrics"][name], score["run_minus_this"]
        significant = gap["p"] * len(row["scores"]) < ALPHA
        better = (gap["mean"] > 0) == metric["higher_is_better"]
        verdict = ("better" if better else "worse") if significant else "undecided"
        verdicts[verdict].append(metric["title"])
    return verdicts


def _brain(result: Mapping[str, Any]) -> Iterator[Finding]:
    """Conclude whether reconstructions are nearer to their own images than to others'."""
    verdicts = _compare(result, SHUFFLED)
    if verdicts is None:
        return
    if verdicts["better"]:
        names = "; ".join(verdicts["better"])
        yield Finding(
            "brain", "ok", f"The run beats its own output shuffled over images by {names}."
        )
        return
    order = result["order"]
    # If predictions fit no test image, test and training images match them best equally often.
    matched = (
        order
        and scipy.stats.binom.sf(order["test_first"] * order["n"] - 1, order["n"], 0.5) < ALPHA
    )
    text = "The run does no better than its own output shuffled over images, by any score: "
    if matched:
        text += (
            f"but {order['test_first']:.0%} of its predictions are nearer to some test image than "
            "to any of as many training images (50 % by chance). Its rows are probably in another "
            "order than its images. 'mindeye2 doctor DATA' checks the order of trials."
        )
    else:
        text += "nothing of it depends on the seen image, so it ignores the brain."
    yield Finding("brain", "warning", text)


def _random(result: Mapping[str, Any]) -> Iterator[Finding]:
    verdicts = _compare(result, RANDOM)
    if verdicts is None:
        return
    names = "; ".join(verdicts["better"])
    yield (
        Finding(
            "random betas", "ok", f"The run beats its own decoding of random betas by {names}."
        )
        if names
        else Finding(
            "random betas",
            "warning",
            "Random betas are decoded as well as measured ones: the scores are the generator's.",
        )
    )


def _lookup(result: Mapping[str, Any]) -> Iterator[Finding]:
    verdicts = _compare(result, NEAREST)
    if verdicts is None:
        return
    phrases = [f"{word} by {'; '.join(names)}" for word, names in verdicts.items() if names]
    yield Finding(
        "nearest training image",
        "ok" if verdicts["better"] else "warning",
        f"Compared with showing the nearest training image, the run is {'; '.join(phrases)}.",
    )


def _bottleneck(result: Mapping[str, Any]) -> Iterator[Finding]:
    """Name, for each metric, the smallest bottleneck that keeps most of the run's gain."""
    rows = {r["name"]: r["scores"] for r in result["controls"]}
    curve = {
        int(name.removeprefix("bottleneck_")): scores
        for name, scores in rows.items()
        if name.startswith("bottleneck_")
    }
    if not curve or SHUFFLED not in rows:
        return
    phrases = []
    for name, metric in result["metrics"].items():
        floor, top = (rows[r].get(name, {}).get("mean") for r in (SHUFFLED, RUN))
        if floor is None or metric["title"] not in (_compare(result, SHUFFLED) or {})["better"]:
            continue
        kept = {
            k: (scores[name]["mean"] - floor) / (top - floor)
            for k, scores in curve.items()
            if name in scores
        }
        enough = [k for k, fraction in sorted(kept.items()) if fraction >= RECOVERED]
        phrases.append(
            f"{enough[0] if enough else f'more than {max(kept)}'} for {metric['title']}"
        )
    if phrases:
        yield Finding(
            "bottleneck",
            "ok",
            f"Dimensions of the brain's signal that keep {RECOVERED:.0%} of the run's gain over "
            f"shuffled betas: {'; '.join(phrases)}. A score that few dimensions reach measures "
            "the generator more than the brain.",
        )


def _clusters(result: Mapping[str, Any]) -> Iterator[Finding]:
    clusters = result["clusters"]
    if clusters is None or clusters["within_interval"] is None:
        return
    low, high = clusters["within_interval"]
    k = len(clusters["clusters"])
    numbers = (
        f"Two-way identification by tokens among images of the same of {k} clusters: "
        f"{clusters['within']:.1%} [{low:.1%}, {high:.1%}]"
    )
    if clusters["across"] is not None:
        numbers += f", among those of other clusters: {clusters['across']:.1%}"
    if low > 0.5:
        yield Finding("clusters", "ok", f"{numbers}.")
    else:
        yield Finding(
            "clusters",
            "warning",
            f"{numbers}. Within a cluster it is at chance: at most the kind of image is decoded.",
        )


def _dimensions(result: Mapping[str, Any]) -> Iterator[Finding]:
    dimensions = result["dimensions"]
    if "backbone" not in dimensions:
        return
    mine, true = (dimensions[n]["effective_rank"] for n in ("backbone", "true"))
    text = (
        f"Predicted tokens of {result['n_images']} images span {mine:.1f} dimensions (effective "
        f"rank), the true ones {true:.1f}."
    )
    if mine >= FEW_DIMENSIONS * true:
        yield Finding("dimensions", "ok", text)
    else:
        yield Finding(
            "dimensions",
            "warning",
            f"{text} The output has collapsed: it can be right about few properties only.",
        )


def _copies(result: Mapping[str, Any]) -> Iterator[Finding]:
    copies = result["copies"]
    if not copies:
        text = f"None of {result['n_images']} test images is among the training images, "
        yield Finding("copies", "ok", text + "exactly, nearly or mirrored.")
        return
    n_copied = len({pair["test"] for pair in copies})
    first = ", ".join(f"{p['test']} ({p['how']} as {p['training']})" for p in copies[:5])
    text = (
        f"{n_copied} of {result['n_images']} test images have a copy among the training images: "
        f"{first}{', ...' if len(copies) > 5 else ''}."
    )
    scores = [
        f"{result['metrics'][name]['title']} {value:.3f}"
        for name, value in result["without_copies"].items()
        if name in result["metrics"]
    ]
    if scores:
        text += f" Without them: {', '.join(scores)}."
    yield Finding("copies", "warning", text)
