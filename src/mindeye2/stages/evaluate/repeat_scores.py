"""How often a response identifies another response to the same image, without any decoder."""

from mindeye2.metrics import top_k_hits, two_way_identification
from mindeye2.metrics.retrieval import similarity
from mindeye2.stages.evaluate.decoded import Decoded, Scores
from mindeye2.stages.evaluate.presentations import measured_halves

__all__ = ["repeat_scores"]


def repeat_scores(decoded: Decoded) -> Scores:
    """Identify the mean of every second presentation of an image by the mean of the others.

    Nothing where an image was shown once, or the data set lacks the betas. Each half has half of
    the presentations: a decoder that averages all of them can score higher.
    """
    halves = measured_halves(decoded)
    if halves is None or len(decoded.images) < 2:
        return Scores()
    # Over the test images: the data set's responses are compared with each other only.
    first, second = (half - half.mean(dim=0) for half in (halves.first, halves.second))
    return Scores(
        {
            "repeat_top1": top_k_hits(similarity(first, second), k=1),
            "repeat_two_way": two_way_identification(first, second),
        }
    )
