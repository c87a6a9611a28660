"""Notes on how to read a report, and what not to conclude from it."""

from mindeye2.reporting.content import Note

__all__ = ["NOISE_CEILING", "default_notes"]

NOISE_CEILING = (
    "The noise ceiling is what would be scored if only the noise of the measurement were left, "
    "estimated from the repeats of each test image. Identification: as if the gallery held what "
    "this decoder says of each image on average. Brain correlation: as if responses were "
    "predicted without error. From: one half of the repeats stands for that knowledge. To: all "
    "repeats, corrected for their noise. What lies between a score and its noise ceiling is "
    "systematic error."
)
"""Explanation of the bounds, for tables and pages."""


def default_notes(
    *, simulated: bool, noise_ceiling: bool = False, borrowed_detail: bool = False
) -> tuple[Note, ...]:
    """Return the notes of every report, and those on what only some have."""
    borrowed = (BORROWED,) if borrowed_detail else ()
    ceiling = (Note(title="Noise ceiling", text=NOISE_CEILING),) if noise_ceiling else ()
    return (*borrowed, *COMMON, *ceiling, SIMULATED if simulated else MEASURED)


COMMON = (
    Note(
        title="Compare with chance, floor and ceiling",
        text="Chance is the score of guessing, the floor that of a method without brain "
        "responses, the ceiling that of perfect tokens. A low score near its ceiling can be "
        "better than a high one far below it.",
    ),
    Note(
        title="Assess the random sample",
        text="The gallery opens in a random order with a fixed seed. Best first shows the best "
        "cases only; the random sample and the worst cases show what to expect.",
    ),
    Note(
        title="A plausible image is not evidence",
        text="The image decoder was trained on photographs and generates plausible ones even from "
        "noise, so detail may be invented. A reconstruction that resembles the nearest training "
        "image more than the seen image may be a copy of it.",
    ),
    Note(
        title="Identification depends on the gallery",
        text="Retrieval from one hundred images is harder than from two, and harder among similar "
        "images. Compare such scores only for the same gallery.",
    ),
    Note(
        title="Scope of the intervals",
        text="Intervals are 95 % BCa bootstrap intervals over test images. They do not cover "
        "other subjects, other scanners or other training seeds.",
    ),
)

BORROWED = Note(
    title="Fine detail is borrowed",
    text="A reconstruction has the fine detail of a reference scene: the one of 8,000 scenes of "
    "training photographs whose visual features are nearest to those expected from the decoded "
    "tokens. Kinds of things, place, light and colours are decoded; the particular object and "
    "building are the reference scene's. The unCLIP image is what is decoded without it.",
)
SIMULATED = Note(
    title="Simulated responses test the software",
    text="They show that every stage works, and its effect under known conditions. They do not "
    "show how well measured responses can be decoded, nor which method is best for them.",
)
MEASURED = Note(
    title="Cooperation of the participants",
    text="Participants lay still in a scanner, looked at the stimuli and were recorded for this "
    "purpose. The decoder does not work on a participant who does not cooperate.",
)
