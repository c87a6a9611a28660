"""How to read a report, and what not to conclude from it: the words that hold for every run."""

from mindeye2.reporting.content import Note

__all__ = ["default_notes"]


def default_notes(*, simulated: bool) -> tuple[Note, ...]:
    """Return the notes that every report carries.

    Parameters
    ----------
    simulated
        Whether the brain responses are computed.

    Returns
    -------
    tuple of Note
        For `ReportContent.notes`; add what holds for one run only.
    """
    return (*COMMON, SIMULATED if simulated else MEASURED)


COMMON = (
    Note(
        title="Chance, floor and ceiling first",
        text="A score means something only beside what guessing gives (chance), what an answer "
        "without any brain gives (floor) and what perfect tokens would give (ceiling). A low "
        "number close to its ceiling can be the better one.",
    ),
    Note(
        title="Judge by the random sample",
        text="The gallery opens in an order drawn with a fixed seed. Best first shows what the "
        "decoder manages at times; the random sample and the worst show what to expect.",
    ),
    Note(
        title="A likeness is not a measurement",
        text="The image decoder learned what photographs look like, and draws plausible ones even "
        "from noise. Detail may be made up. Where the answer resembles the nearest training "
        "picture more than the seen one, it may be copied.",
    ),
    Note(
        title="Identification depends on the pool",
        text="Finding one of a hundred is harder than one of two, and harder among lookalikes. "
        "Compare such numbers only where the candidates are the same.",
    ),
    Note(
        title="What the intervals cover",
        text="They resample test images. They say nothing about another person, another scanner "
        "or another run of the training with another seed.",
    ),
)

SIMULATED = Note(
    title="Simulated brains test the software",
    text="They show that every stage works and what it gains under known conditions. How well "
    "real brains can be decoded, and which method is best for them, does not follow from it.",
)
MEASURED = Note(
    title="What it takes",
    text="Every person lay still in a scanner, looked at the pictures and was recorded for the "
    "decoder's sake. Nothing here reads thoughts, or works on a person who does not take part.",
)
