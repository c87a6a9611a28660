"""Doctor: looks for what silently ruins a study, and says how to mend it."""

from mindeye2.doctor.diagnose import Diagnosis, doctor
from mindeye2.doctor.finding import LEVELS, Finding
from mindeye2.doctor.table import print_findings

__all__ = ["LEVELS", "Diagnosis", "Finding", "doctor", "print_findings"]
