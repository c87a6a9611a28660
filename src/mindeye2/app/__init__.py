"""Web page of a decoder: choose a trial or drop betas, see what is decoded."""

from mindeye2.app.layout import build_app
from mindeye2.app.trial_view import TrialView

__all__ = ["TrialView", "build_app"]
