"""Notes on how to read a report, and what not to conclude from it."""

from mindeye2.reporting.content import Note

__all__ = ["default_notes"]


def default_notes(*, simulated: bool) -> tuple[Note, ...]:
    """Return the notes of every report, and that on simulated or measured responses."""
    return (*COMMON, SIMULATED if simulated else MEASURED)


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
