"""The fraction of a device's peak arithmetic that a training reaches (MFU)."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Utilisation"]


class Utilisation:
    """Model FLOPs utilisation: arithmetic counted in one step, over time and peak.

    As in PaLM (Chowdhery et al. 2022, arXiv:2204.02311, appendix B), what is computed twice to
    save memory counts once.

    Parameters
    ----------
    peak
        Most FLOP/s of the device; None counts nothing.
    """

    def __init__(self, peak: float | None) -> None:
        self.peak = peak
        self.flops: int | None = None
        """Of a step of this rank, once it is counted."""
        self._counter: FlopCounterMode | None = None
        self._repeated = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a step, the first time."""
        if self.peak is None or self.flops is not None:
            yield
            return
        with FlopCounterMode(display=False) as self._counter:
            yield
        self.flops, self._counter = self._total() - self._repeated, None

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Leave out what is computed in a block, because it is computed elsewhere too."""
        before = self._total()
        try:
            yield
        finally:
            self._repeated += self._total() - before

    def _total(self) -> int:
        return 0 if self._counter is None else int(self._counter.get_total_flops())

    def of_step(self, seconds: float) -> dict[str, float]:
        """Return ``mfu`` of a step that took so long, where the peak is known."""
        if self.peak is None or self.flops is None:
            return {}
        return {"mfu": round(self.flops / (self.peak * max(seconds, 1e-9)), 4)}
