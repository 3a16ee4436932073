"""The arithmetic of the benchmark of operations: fits, recoveries, and a simulation that can be checked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.operations.calling import Outcomes
from benchmarks.operations.plan import Load, Seen, fit
from benchmarks.operations.simulation import FACES, FPS, MOVING, Layout, simulate
from tessera.domain.capacity import Costs, busy_cores

COSTS = Costs("a machine", 0.03, 0.02, 0.01, 0.005, 0.002, 0.004, 0.0005, 0.05, 5e-9, 0.0001)


def _seen(load: Load, faces_a_frame: float = 0.3) -> Seen:
    """What a machine with exactly these costs would show."""
    frames_hz = load.cameras * load.fps
    faces_hz = frames_hz * faces_a_frame + load.verifies_hz
    blank = Seen(load, {}, frames_hz, faces_hz, load.verifies_hz)
    cores = busy_cores(blank.demand, replace(COSTS, search_template_s=0.0, search_s=0.0))
    return replace(blank, cores=cores)


def test_a_fit_finds_the_costs_that_made_the_loads() -> None:
    """From five loads of a machine without noise the costs come out, and foretell a sixth."""
    loads = [Load(0, 0.0), Load(1, 1.0), Load(3, 2.0), Load(1, 5.0), Load(0, 0.0, 4.0)]
    found = fit(
        [_seen(load, faces) for load, faces in zip(loads, (0, 0.2, 0.4, 0.3, 0), strict=True)],
        [(1000, 1.05e-4), (2000, 1.1e-4)],
    )
    assert (found.search_s, found.search_template_s) == (pytest.approx(1e-4), pytest.approx(5e-9))
    assert found.ingest_frame_s == pytest.approx(COSTS.ingest_frame_s, rel=0.05)
    other = _seen(Load(2, 3.0, 1.0))
    told = sum(busy_cores(other.demand, replace(found, search_template_s=0.0, search_s=0.0)).values())
    assert told == pytest.approx(sum(other.cores.values()), rel=0.05)


def test_goodput_is_back_when_a_whole_second_has_its_answers() -> None:
    """Ten good answers a second, none between 5 s and 6.5 s: back 1.5 s after the fault, give or take an answer."""
    times = [number / 10 for number in range(200) if not 50 <= number < 65]
    outcomes = Outcomes([(at_s, 0.01, "") for at_s in times])
    assert outcomes.back_after_s(5.0, 10.0) == pytest.approx(1.4, abs=0.11)
    assert outcomes.back_after_s(19.9, 10.0) == math.inf


def test_failed_calls_are_no_goodput() -> None:
    """An answer that is an error does not count."""
    outcomes = Outcomes([(number / 10, 0.01, "ServiceUnavailable") for number in range(100)])
    assert outcomes.back_after_s(0.0, 10.0) == math.inf
    assert outcomes.failed.total() == 100


def test_a_layout_with_room_decides_everything_at_once() -> None:
    """With far more cores than are needed a decision takes the service times and the ways, and nothing waits."""
    result = simulate(Layout("roomy", 500, 64, 6), COSTS, 2.0, cameras=100, templates=100_000)
    assert result.offered == pytest.approx(100 * FPS * MOVING * 2.0, rel=0.2)
    assert len(result.took_s) == pytest.approx(result.offered * FACES, rel=0.35)
    assert result.replaced < 0.05 * result.offered
    assert result.quantile(0.5) < 0.15
    assert result.waiting == 0


def test_too_few_encoders_show_in_frames_and_not_in_queues_behind_them() -> None:
    """Half a core for what ten need: newer frames take the place of older ones, and the store idles."""
    result = simulate(Layout("starved", 1, 4, 1), COSTS, 12.0, cameras=100, templates=1000)
    assert result.busy["encoders"] > 0.95
    assert result.replaced > 0.5 * result.offered
    assert result.busy["store"] < 0.1


def test_too_few_shards_leave_searches_waiting() -> None:
    """A search that takes longer than the next one takes to come is where this bends."""
    result = simulate(Layout("few shards", 500, 1, 6), COSTS, 4.0, cameras=200, templates=50_000_000)
    assert result.busy["shards"] > 0.95
    assert result.waiting > 10


def test_the_same_seed_gives_the_same_world() -> None:
    """A simulation can be repeated."""
    layout = Layout("any", 10, 4, 2)
    one, other = (simulate(layout, COSTS, 1.0, cameras=50, templates=1000) for _ in range(2))
    assert one.took_s == other.took_s
