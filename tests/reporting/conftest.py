"""A small report with every part present."""

import numpy as np
import pytest

from mindeye2.reporting import (
    Arm,
    Comparison,
    Curve,
    CurvePanel,
    Difference,
    GalleryItem,
    ImageScore,
    ReportContent,
    ResponseSource,
    RoiCeiling,
    ScoreRow,
    StageCost,
    default_notes,
)

N_ITEMS = 14


def photograph(number, *, side=24):
    """Return an image that is different for every number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((side // 4, side // 4, 1), np.uint8))


def item(number):
    return GalleryItem(
        name=f"image {number:02d}",
        seen=photograph(number),
        images={
            "Reconstruction": photograph(100 + number, side=16),
            "Nearest training": photograph(number % 3 + 200),
        },
        caption=f"a decoded caption {number}",
        true_caption=f"a true caption {number}",
        scores={"PixCorr": ((number * 5) % N_ITEMS) / 20, "distance": number / 10},
        retrieved=[(number + 1) % N_ITEMS, number, (number + 2) % N_ITEMS],
        rank=2,
        seed=1000 + number,
        variants={"trial 1": photograph(300 + number, side=16)},
    )


TOP1 = ScoreRow(
    metric="Image given brain, top-1", value=0.4137, low=0.3219, high=0.5061, chance=0.01,
    ceiling=0.98, n=100, percent=True, group="Retrieval", explanation="Of one hundred.",
)  # fmt: skip
PIXCORR = ScoreRow(
    metric="PixCorr, blended", value=0.2431, low=0.2172, high=0.2683, floor=0.1734,
    ceiling=0.5612, n=100, group="Images",
)  # fmt: skip


@pytest.fixture(scope="session")
def content():
    pretrained = Arm(name="pretrained", rows=[TOP1], emphasis=True)
    scratch = Arm(
        name="from scratch",
        rows=[ScoreRow(metric=TOP1.metric, value=0.32, low=0.24, high=0.41, percent=True)],
    )
    gap = Difference(
        a="pretrained", b="from scratch", metric=TOP1.metric, value=0.0937, low=0.0311,
        high=0.1563, percent=True, n=100,
    )  # fmt: skip
    return ReportContent(
        title="Images of eight subjects",
        summary="A decoder was adapted to a new subject. It reconstructs the seen images.",
        responses=ResponseSource(label="Simulated subjects", simulated=True, explanation="-"),
        warnings=["Only fourteen images were decoded."],
        headline=[TOP1, PIXCORR],
        columns={"Reconstruction": "The answer.", "Nearest training": "Shows copying."},
        items=[item(number) for number in range(N_ITEMS)],
        image_scores=[
            ImageScore(name="PixCorr", digits=2),
            ImageScore(name="distance", higher_is_better=False),
        ],
        scores=[TOP1, PIXCORR],
        comparisons=[
            Comparison(title="Pretraining", arms=[pretrained, scratch], differences=[gap])
        ],
        learning=[
            CurvePanel(
                title="Token loss", x_label="step", y_label="squared error", chance=1.0,
                curves=[Curve(name="training", x=[0, 1, 2], y=[1.0, 0.7, 0.5])],
            )
        ],
        ceilings=[
            RoiCeiling(roi="V1", n_voxels=210, median=0.13, low=0.07, high=0.2, averaged=0.325)
        ],
        notes=default_notes(simulated=True),
        provenance={"Recipe": "demo", "Machine": "two cores"},
        stages=[StageCost(stage="train", seconds=93.0, peak_gib=2.9)],
        config="training:\n  steps: 500\n",
    )  # fmt: skip
