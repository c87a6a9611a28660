"""Prepare: a source -> one folder with pictures, trials, z-scored betas and target tokens."""

from mindeye2.stages.prepare.adapters import KINDS
from mindeye2.stages.prepare.run import prepare
from mindeye2.stages.prepare.settings import PrepareSettings
from mindeye2.stages.prepare.targets import ENCODERS

__all__ = ["ENCODERS", "KINDS", "PrepareSettings", "prepare"]
