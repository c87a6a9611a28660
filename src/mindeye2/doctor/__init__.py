"""Checks of the environment, data sets, runs and scores for errors that raise no exception."""

from mindeye2.doctor.diagnose import Diagnosis, doctor
from mindeye2.doctor.finding import Finding
from mindeye2.doctor.print_findings import print_findings

__all__ = ["Diagnosis", "Finding", "doctor", "print_findings"]
