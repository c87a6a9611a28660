"""Analyse: a finished reconstruction -> tables, a figure and findings in a few lines."""

from mindeye2.stages.analyse.analysis import Point, Steps
from mindeye2.stages.analyse.decoding_folder import Decoding
from mindeye2.stages.analyse.run import ANALYSES, analyse

__all__ = ["ANALYSES", "Decoding", "Point", "Steps", "analyse"]
