"""What `manage.py doctor` looks at: every part that Parley stands on, and what an operator does about it."""

from realtime.diagnosis.findings import Finding, Level, examine, worst
from realtime.diagnosis.plan import CHECKS
from realtime.diagnosis.start import tell_at_start

__all__ = ["CHECKS", "Finding", "Level", "examine", "tell_at_start", "worst"]
