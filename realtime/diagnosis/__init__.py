"""What `manage.py doctor` looks at: every part that Parley stands on, and what an operator does about it."""

from realtime.diagnosis.findings import Finding, Level, examine, worst
from realtime.diagnosis.plan import CHECKS

__all__ = ["CHECKS", "Finding", "Level", "examine", "worst"]
