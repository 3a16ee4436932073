"""The calibration report on LFW: how long it takes, how large the page is, and that it needs nothing else.

The page stays under build/decisions, to be looked at.
"""

from __future__ import annotations

import re
import time

from benchmarks.decisions.data import KEPT, faces
from benchmarks.decisions.plan import Plan, Story
from tessera.domain.embedding import Modality
from tessera.domain.fitting import Provenance
from tessera.domain.ids import CalibrationId
from tessera.report import EnrolmentFailures, render
from tessera.report.measuring import ReportOptions, report_on_embeddings

DATA_NAME = "LFW deep-funneled, View 2 folds 1-5 and cohort"
_LOADS = re.compile(r"<(?:script|link|img|iframe|object)\b|\b(?:href|src)=|url\(|@import")


def calibration_report(plan: Plan) -> Story:
    """From embeddings to the page."""
    people, story = faces(), Story()
    rows = slice(None, plan.count(people.subjects.size, people.subjects.size // 10))
    options = ReportOptions(
        written="2026-11-22",
        enrolment=EnrolmentFailures(len(people.names) + len(people.without_face), people.without_face),
    )
    provenance = Provenance(
        CalibrationId("lfw"), people.model_id, Modality.FACE, "2026-11-22", DATA_NAME, people.data_digest
    )
    started_s = time.process_time()
    told = report_on_embeddings(people.vectors[rows], people.people[rows], provenance, options)
    measured_s = time.process_time()
    page = render(told)
    written_s = time.process_time()
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / "report.html").write_text(page, encoding="utf-8")
    story.add("report: measured on LFW", measured_s - started_s, "s of processor time")
    story.add("report: page written", 1000.0 * (written_s - measured_s), "ms of processor time")
    story.add("report: page", len(page.encode()) / 1000.0, "kB")
    loads = len(_LOADS.findall(page))
    story.add("report: scripts, links and addresses that the page would load", loads, "count", "none", holds=loads == 0)
    stated = sum(row.point is not None for row in told.target_rows())
    story.add("report: target FMRs that LFW carries", stated, f"of {len(told.target_rows())}")
    return story
