"""Whole studies: a grid of recipes, subjects, amounts of data and seeds, run by Snakemake."""

from mindeye2.study.study_check import check_study
from mindeye2.study.study_folder import WORKFLOW, init_study, load_study
from mindeye2.study.study_grid import Study

__all__ = ["WORKFLOW", "Study", "check_study", "init_study", "load_study"]
