"""Calibrations on the terminal: the same numbers and words as on the report's page."""

from __future__ import annotations

from tessera.client.calibrations import StoredCalibration
from tessera.report import CalibrationReport, numbers
from tessera.report.values import TargetRow

_COLUMNS = f"{'FMR':>16} {'threshold':>10} {'measured':>12} {'95 %':>24} {'FNMR':>8} {'95 %':>18}"


def line_text(stored: StoredCalibration) -> str:
    """One calibration on one line."""
    calibration, data = stored.calibration, stored.calibration.data
    state = "decides" if stored.active else ""
    size = f"{numbers.count(data.subjects)} subjects, {numbers.count(data.non_mated)} non-mated"
    return f"{calibration.calibration_id:<36} {state:<8} {stored.source.lower():<8} {calibration.created:<10} {size}"


def list_text(found: tuple[StoredCalibration, ...]) -> str:
    """All of them, by model."""
    lines: list[str] = []
    for stored in found:
        heading = stored.calibration.model_id
        if heading not in lines:
            lines.append(heading)
        lines.append(f"  {line_text(stored)}")
    return "\n".join(lines)


def show_text(stored: StoredCalibration) -> str:
    """One calibration, what it was measured on, and its thresholds."""
    calibration, data = stored.calibration, stored.calibration.data
    rows = CalibrationReport(calibration, calibration.created).target_rows()
    sizes = sorted({point.gallery_size for point in calibration.searches})
    searched = (
        f"searches of {numbers.count(sizes[0])} to {numbers.count(sizes[-1])} subjects" if sizes else "no searches"
    )
    state = "decides" if stored.active else "does not decide"
    return "\n".join([
        f"{calibration.calibration_id} of {calibration.model_id}",
        f"  state      {state}, {stored.source.lower()}, {calibration.created}",
        f"  data       {data.name}, sha256 {data.digest}",
        f"  subjects   {numbers.count(data.subjects)}, {numbers.counted(data.samples, 'sample', 'samples')}",
        f"  pairs      {numbers.count(data.mated)} mated, {numbers.count(data.non_mated)} non-mated; {searched}",
        f"  intervals  {calibration.interval_method}",
        _COLUMNS,
        *[_row_text(row, data.non_mated) for row in rows],
    ])  # fmt: skip


def _row_text(row: TargetRow, have: int) -> str:
    name = f"{numbers.one_in(row.target_fmr):>16}"
    if row.point is None:
        return f"{name}   needs {numbers.count(row.needed)} non-mated comparisons; there are {numbers.count(have)}"
    point = row.point
    return (
        f"{name} {point.threshold:>10.4f} {numbers.percent(point.fmr):>12} "
        f"{numbers.percent_between(point.fmr_interval):>24} {numbers.percent(point.fnmr):>8} "
        f"{numbers.percent_between(point.fnmr_interval):>18}"
    )
