"""What a calibration measured, as one page of HTML that people read and print.

Takes values of the domain and writes text; measures nothing of pictures, decides nothing, and needs no network.
"""

from tessera.report.page import render
from tessera.report.values import CalibrationReport, EnrolmentFailures, ScoreHistogram, SearchRow

__all__ = ["CalibrationReport", "EnrolmentFailures", "ScoreHistogram", "SearchRow", "render"]
