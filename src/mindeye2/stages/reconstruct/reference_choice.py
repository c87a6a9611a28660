"""Reference scenes chosen for decoded tokens: detail of the images, and captions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.generation.reference_scenes import DescribedScene, ReferenceScenes, add_detail
from mindeye2.models.training_bank import TrainingBank

__all__ = ["ChosenScenes", "choose_scenes"]

_SIZE = 224
"""Side of the rendered scenes in pixels."""


@dataclass(frozen=True, kw_only=True)
class ChosenScenes:
    """The scene nearest to each decoded image, and what kinds of things images show."""

    scenes: ReferenceScenes
    """What was chosen from."""

    nearest: Int[Tensor, " images"]
    """Number of the scene nearest to each image."""

    described: Sequence[DescribedScene]
    """Kinds of object, number, setting and light of each image."""

    def captions(self) -> list[str]:
        """Describe each image by what is more likely than not."""
        return [scene.caption() for scene in self.described]

    def refine(
        self, decoded: Float[Tensor, "batch rgb _ _"], *, images: Sequence[int] | slice
    ) -> Float[Tensor, "batch rgb height width"]:
        """Give decoded images, RGB in [0, 1], the detail of the scenes nearest to them."""
        detailed = self.scenes.render(self.nearest[images], size=_SIZE)
        return add_detail(decoded, detailed.to(decoded))


def choose_scenes(
    scenes: ReferenceScenes | None,
    preds: Float[Tensor, "images tokens features"],
    *,
    bank: TrainingBank | None,
    forward_model: Callable[[Tensor], Tensor],
    whiten: Callable[[Tensor], Tensor],
) -> ChosenScenes | None:
    """Choose the scenes nearest to decoded tokens; none without scenes or a training bank."""
    if scenes is None or bank is None:
        return None
    mean = bank.preds.mean(dim=0)
    evidence = scenes.weigh(preds, mean=mean, forward_model=forward_model, whiten=whiten)
    return ChosenScenes(
        scenes=scenes,
        nearest=scenes.rank(evidence, k=1)[:, 0],
        described=scenes.describe(evidence),
    )
